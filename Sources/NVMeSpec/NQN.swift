import Base

/// Rules and well-known values of NVMe Qualified Names (NVMe Base, "NVMe Qualified Names").
public enum NQN {
    /// The discovery subsystem that every discovery port answers to.
    public static let discovery = "nqn.2014-08.org.nvmexpress.discovery"
    /// The beginning of names made from a UUID.
    public static let uuidPrefix = "nqn.2014-08.org.nvmexpress:uuid:"
    /// Longest name, in bytes of UTF-8 without the terminating zero.
    public static let maxByteCount = 223
    /// Size of a field that holds a name.
    public static let fieldByteCount = 256

    /// The name made from a UUID.
    public static func uuid(_ uuid: UUIDBytes) -> String { "\(uuidPrefix)\(uuid)" }

    /// Checks that `name` has one of the forms of the specification: the discovery name,
    /// `nqn.2014-08.org.nvmexpress:uuid:UUID`, or `nqn.YYYY-MM.REVERSE.DOMAIN:STRING`.
    public static func validate(_ name: String) throws(InvalidNQN) {
        let count = name.utf8.count
        guard count <= maxByteCount else { throw .tooLong(byteCount: count) }
        if name == discovery { return }
        guard !name.utf8.contains(0) else { throw .zeroByte }
        guard name.utf8.starts(with: "nqn.".utf8) else { throw .noPrefix }
        if name.utf8.starts(with: uuidPrefix.utf8) {
            guard UUIDBytes(String(name.dropFirst(uuidPrefix.count))) != nil else { throw .invalidUUID }
            return
        }
        try validateDate(Array(name.utf8.dropFirst(4).prefix(8)))
        let rest = name.utf8.dropFirst(12)
        guard let colon = rest.firstIndex(of: UInt8(ascii: ":")) else { throw .noString }
        try validateDomain(rest[..<colon])
        guard rest.index(after: colon) != rest.endIndex else { throw .noString }
    }

    /// `YYYY-MM.`
    private static func validateDate(_ date: [UInt8]) throws(InvalidNQN) {
        guard date.count == 8, date[4] == UInt8(ascii: "-"), date[7] == UInt8(ascii: "."),
            [0, 1, 2, 3, 5, 6].allSatisfy({ isDigit(date[$0]) })
        else { throw .invalidDate }
        let month = (date[5] - UInt8(ascii: "0")) * 10 + date[6] - UInt8(ascii: "0")
        guard (1...12).contains(month) else { throw .invalidDate }
    }

    /// Labels of letters, digits and inner hyphens, parted by dots (RFC 1034, section 3.5, as RFC 1123 relaxed it).
    private static func validateDomain(_ domain: Substring.UTF8View.SubSequence) throws(InvalidNQN) {
        for label in domain.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard (1...63).contains(label.count), label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-"),
                label.allSatisfy({ isDigit($0) || isLetter($0) || $0 == UInt8(ascii: "-") })
            else { throw .invalidDomain }
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}

/// Why a name is not an NVMe Qualified Name.
public enum InvalidNQN: Error, Hashable, Sendable, CustomStringConvertible {
    case tooLong(byteCount: Int)
    case noPrefix
    case zeroByte
    case invalidUUID
    case invalidDate
    case invalidDomain
    case noString

    /// The name can be sent all the same: only its form is another. Names such as `testnqn` are in use in the field.
    public var isOfForm: Bool {
        switch self {
        case .tooLong, .zeroByte: false
        case .noPrefix, .invalidUUID, .invalidDate, .invalidDomain, .noString: true
        }
    }

    /// The problem, for the person who wrote the name.
    public var description: String {
        switch self {
        case .tooLong(let byteCount): "\(byteCount) bytes; an NQN has at most \(NQN.maxByteCount)"
        case .noPrefix: "an NQN begins with \"nqn.\""
        case .zeroByte: "an NQN contains no zero byte"
        case .invalidUUID: "a UUID belongs after \"\(NQN.uuidPrefix)\""
        case .invalidDate: "a date YYYY-MM and a dot belong after \"nqn.\""
        case .invalidDomain: "a reversed domain name belongs after the date"
        case .noString: "a colon and a string belong after the domain name"
        }
    }
}
