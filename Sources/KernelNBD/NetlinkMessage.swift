/// A message of generic netlink: a header, a generic header, and attributes (linux/netlink.h, linux/genetlink.h). Numbers are in the
/// machine's own order.
struct NetlinkMessage: Equatable, Sendable {
    static let headerSize = 16
    private static let genericHeaderSize = 4
    private static let attributeHeaderSize = 4
    private static let alignment = 4

    /// The family's number; 2 (NLMSG_ERROR) in an answer that is an error or an acknowledgement.
    var type: UInt16
    var flags: UInt16
    var sequence: UInt32
    /// The family's command, and its version.
    var command: UInt8
    var version: UInt8
    var attributes = NetlinkAttributes()

    /// The message as it is sent.
    var bytes: [UInt8] {
        let length = Self.headerSize + Self.genericHeaderSize + attributes.bytes.count
        var bytes: [UInt8] = []
        bytes.append(native: UInt32(length))
        bytes.append(native: type)
        bytes.append(native: flags)
        bytes.append(native: sequence)
        // The kernel fills in the port of the sender.
        bytes.append(native: UInt32(0))
        bytes += [command, version, 0, 0]
        return bytes + attributes.bytes
    }

    /// One message of an answer.
    enum Answer: Equatable {
        /// The end of a request: 0, or a negative errno value.
        case acknowledgement(sequence: UInt32, status: Int32)
        case message(NetlinkMessage)
    }

    /// The messages of a datagram; those that are cut off are left out.
    static func decode(_ bytes: [UInt8]) -> [Answer] {
        var answers: [Answer] = []
        var position = 0
        while let length = bytes.native(UInt32.self, position).map(Int.init), length >= headerSize,
            position + length <= bytes.count, let type = bytes.native(UInt16.self, position + 4),
            let flags = bytes.native(UInt16.self, position + 6), let sequence = bytes.native(UInt32.self, position + 8)
        {
            let body = position + headerSize
            let end = position + length
            if type == errorType {
                if end - body >= 4, let status = bytes.native(Int32.self, body) {
                    answers.append(.acknowledgement(sequence: sequence, status: status))
                }
            } else if end - body >= genericHeaderSize {
                var message = NetlinkMessage(
                    type: type, flags: flags, sequence: sequence, command: bytes[body], version: bytes[body + 1])
                message.attributes.bytes = Array(bytes[(body + genericHeaderSize)..<end])
                answers.append(.message(message))
            }
            position += (length + alignment - 1) / alignment * alignment
        }
        return answers
    }

    /// NLMSG_ERROR.
    static let errorType: UInt16 = 2
}

/// Attributes of a message, or those nested in one: type, length, and value each, at multiples of four bytes.
struct NetlinkAttributes: Equatable, Sendable {
    var bytes: [UInt8] = []
    private static let headerSize = 4
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    private static let flags: UInt16 = 0xc000
    private static let nested: UInt16 = 0x8000

    init() {}

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func add<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Int, _ number: Number) {
        var value: [UInt8] = []
        value.append(native: number)
        add(UInt16(truncatingIfNeeded: type), value)
    }

    /// A text, which ends with a zero.
    mutating func add(_ type: Int, _ text: String) {
        add(UInt16(truncatingIfNeeded: type), Array(text.utf8) + [0])
    }

    mutating func add(_ type: Int, _ attributes: NetlinkAttributes) {
        add(UInt16(truncatingIfNeeded: type) | Self.nested, attributes.bytes)
    }

    private mutating func add(_ type: UInt16, _ value: [UInt8]) {
        bytes.append(native: UInt16(Self.headerSize + value.count))
        bytes.append(native: type)
        bytes += value
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    /// The values in order; what is cut off is left out.
    var all: [(type: Int, value: [UInt8])] {
        var all: [(Int, [UInt8])] = []
        var position = 0
        while let length = bytes.native(UInt16.self, position).map(Int.init), length >= Self.headerSize,
            position + length <= bytes.count, let type = bytes.native(UInt16.self, position + 2)
        {
            all.append((Int(type & ~Self.flags), Array(bytes[(position + Self.headerSize)..<(position + length)])))
            position += (length + 3) / 4 * 4
        }
        return all
    }

    func number<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Int, _: Number.Type) -> Number? {
        all.first { $0.type == type }?.value.native(Number.self, 0)
    }

    func nested(_ type: Int) -> NetlinkAttributes? {
        all.first { $0.type == type }.map { NetlinkAttributes(bytes: $0.value) }
    }
}

extension [UInt8] {
    fileprivate mutating func append<Number: FixedWidthInteger>(native number: Number) {
        Swift.withUnsafeBytes(of: number) { append(contentsOf: $0) }
    }

    /// `nil` where so many bytes are not there.
    fileprivate func native<Number: FixedWidthInteger & BitwiseCopyable>(_: Number.Type, _ offset: Int) -> Number? {
        guard offset >= 0, count - offset >= MemoryLayout<Number>.size else { return nil }
        return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Number.self) }
    }
}
