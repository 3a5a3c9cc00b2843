import Base

/// Namespace Identification Descriptor list, CNS 03h (NVMe Base, "Namespace Identification Descriptor").
public struct NamespaceDescriptors: Hashable, Sendable {
    /// IEEE Extended Unique Identifier, the first byte highest.
    public var eui64: UInt64?
    /// Namespace Globally Unique Identifier.
    public var nguid: UUIDBytes?
    /// Namespace UUID.
    public var uuid: UUIDBytes?
    /// Command Set Identifier; a controller with CC.CSS 110b reports it always.
    public var commandSet: CommandSetIdentifier?

    public init(
        eui64: UInt64? = nil, nguid: UUIDBytes? = nil, uuid: UUIDBytes? = nil, commandSet: CommandSetIdentifier? = nil
    ) {
        self.eui64 = eui64
        self.nguid = nguid
        self.uuid = uuid
        self.commandSet = commandSet
    }

    /// Namespace Identifier Type (NIDT).
    enum IdentifierType: UInt8 {
        case eui64 = 1
        case nguid = 2
        case uuid = 3
        case commandSet = 4

        /// Namespace Identifier Length (NIDL) of the type.
        var byteCount: Int {
            switch self {
            case .eui64: 8
            case .nguid, .uuid: 16
            case .commandSet: 1
            }
        }
    }

    /// Decodes a list, which ends with the bytes or at a descriptor of length 0. Types that are not known are skipped.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        self.init()
        guard let base = bytes.baseAddress else { return }
        var offset = 0
        while offset + 4 <= bytes.count {
            let length = Int(base.load8(at: offset + 1))
            guard length > 0 else { return }
            let identifier = base + offset + 4
            guard offset + 4 + length <= bytes.count else {
                throw MalformedStructure("Namespace Identification Descriptor", "\(length) bytes beyond the list's end")
            }
            if let type = IdentifierType(rawValue: base.load8(at: offset)) {
                guard length == type.byteCount else {
                    throw MalformedStructure("Namespace Identification Descriptor", "\(type) of \(length) bytes")
                }
                switch type {
                case .eui64: eui64 = UInt64(bigEndian: identifier.loadUnaligned(as: UInt64.self))
                case .nguid: nguid = UUIDBytes(from: identifier)
                case .uuid: uuid = UUIDBytes(from: identifier)
                case .commandSet: commandSet = CommandSetIdentifier(rawValue: identifier.load8(at: 0))
                }
            }
            offset += 4 + length
        }
    }

    /// The list, in 4096 bytes.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        func append(_ type: IdentifierType, _ identifier: [UInt8]) {
            bytes += [type.rawValue, UInt8(identifier.count), 0, 0] + identifier
        }
        if let eui64 { append(.eui64, (0..<8).map { UInt8(truncatingIfNeeded: eui64 >> (56 - 8 * UInt64($0))) }) }
        if let nguid { append(.nguid, nguid.bytes) }
        if let uuid { append(.uuid, uuid.bytes) }
        if let commandSet { append(.commandSet, [commandSet.rawValue]) }
        return bytes + [UInt8](repeating: 0, count: IdentifyStructure.byteCount - bytes.count)
    }
}

/// A list of namespace identifiers: Identify CNS 02h, 07h and 10h, and the Changed Namespace List log page (NVMe Base,
/// "Namespace List").
public struct NamespaceList: Hashable, Sendable {
    /// Identifiers that one list holds.
    public static let maxCount = 1024

    /// Ascending.
    public var identifiers: [UInt32]
    /// In a Changed Namespace List: more namespaces changed than the list holds.
    public var hasOverflowed = false

    /// A list of what `identifiers` holds above `nsid`, at most 1024: one answer to CNS 02h.
    public init(_ identifiers: some Sequence<UInt32>, after nsid: UInt32 = 0) {
        self.identifiers = Array(identifiers.filter { $0 > nsid }.sorted().prefix(NamespaceList.maxCount))
    }

    /// A list of identifiers that ascend already: as many of them as it holds.
    public init(ascending identifiers: some Sequence<UInt32>) {
        self.identifiers = Array(identifiers.prefix(NamespaceList.maxCount))
    }

    /// A Changed Namespace List: with more than 1024 identifiers it says only that there are too many.
    public init(changed identifiers: some Collection<UInt32>) {
        hasOverflowed = identifiers.count > NamespaceList.maxCount
        self.identifiers = hasOverflowed ? [] : identifiers.sorted()
    }

    /// Decodes a list, which ends with the bytes or at a 0.
    ///
    /// - Throws: when the identifiers do not ascend.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        identifiers = []
        guard let base = bytes.baseAddress else { return }
        for index in 0..<min(bytes.count / 4, NamespaceList.maxCount) {
            let identifier = base.load32(at: index * 4)
            if identifier == 0 { return }
            if index == 0 && identifier == .max {
                hasOverflowed = true
                return
            }
            if let last = identifiers.last, identifier <= last {
                throw MalformedStructure("Namespace List", "\(identifier) after \(last)")
            }
            identifiers.append(identifier)
        }
    }

    /// The list, in 4096 bytes.
    public var encoded: [UInt8] {
        invariant(identifiers.count <= NamespaceList.maxCount, "a namespace list holds 1024 identifiers")
        return words32(hasOverflowed ? [.max] : identifiers, byteCount: IdentifyStructure.byteCount)
    }
}

/// A list of controller identifiers: Identify CNS 12h and 13h (NVMe Base, "Controller List").
public struct ControllerList: Hashable, Sendable {
    /// Identifiers that one list holds.
    public static let maxCount = 2047

    /// Ascending.
    public var identifiers: [UInt16]

    /// A list of what `identifiers` holds from `first` on, at most 2047.
    public init(_ identifiers: some Sequence<UInt16>, from first: UInt16 = 0) {
        self.identifiers = Array(identifiers.filter { $0 >= first }.sorted().prefix(ControllerList.maxCount))
    }

    /// A list of identifiers that ascend already: as many of them as it holds.
    public init(ascending identifiers: some Sequence<UInt16>) {
        self.identifiers = Array(identifiers.prefix(ControllerList.maxCount))
    }

    /// Decodes a list. A count of more identifiers than there are bytes is refused.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        identifiers = []
        guard let base = bytes.baseAddress, bytes.count >= 2 else {
            throw MalformedStructure("Controller List", "\(bytes.count) bytes")
        }
        let count = Int(base.load16(at: 0))
        guard count <= ControllerList.maxCount, 2 + count * 2 <= bytes.count else {
            throw MalformedStructure("Controller List", "\(count) identifiers in \(bytes.count) bytes")
        }
        identifiers = (0..<count).map { base.load16(at: 2 + $0 * 2) }
    }

    /// The list, in 4096 bytes.
    public var encoded: [UInt8] {
        let words = [UInt16(identifiers.count)] + identifiers
        let bytes = words.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        return bytes + [UInt8](repeating: 0, count: IdentifyStructure.byteCount - bytes.count)
    }
}

/// Little-endian 32-bit words, and zeroes up to `byteCount`.
func words32(_ values: [UInt32], byteCount: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
        buffer.initialize(repeating: 0)
        let base = UnsafeMutableRawPointer(buffer.baseAddress)
        for (index, value) in values.enumerated() { base?.store32(value, at: index * 4) }
        count = byteCount
    }
}
