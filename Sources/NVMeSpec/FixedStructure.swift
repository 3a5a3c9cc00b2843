import Base

/// A structure of fixed size on the wire, such as a page of Identify data.
///
/// `layout` names each field once, with its offset; encoding and decoding both follow it, so they cannot disagree. For
/// the control plane; what the I/O path reads has hand-written loads.
public protocol FixedStructure: Sendable {
    /// Size on the wire, in bytes.
    static var byteCount: Int { get }

    /// A structure of zeroes, or of what the specification sets.
    init()

    /// Passes every field to `fields`, which writes it to the bytes or reads it from them.
    mutating func layout(_ fields: FieldCoder)

    /// Refuses decoded values that contradict each other, so that nobody trips over them later.
    func validate() throws(MalformedStructure)
}

extension FixedStructure {
    /// Every value is taken, unless a structure says otherwise.
    public func validate() throws(MalformedStructure) {}

    /// Decodes the first `byteCount` bytes.
    ///
    /// - Throws: when there are fewer, or when `validate` finds them contradictory.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        guard let base = bytes.baseAddress, bytes.count >= Self.byteCount else {
            throw MalformedStructure("\(Self.self)", "\(bytes.count) bytes instead of \(Self.byteCount)")
        }
        self.init()
        layout(FieldCoder(decoding: base, byteCount: Self.byteCount))
        try validate()
    }

    /// Decodes the first `byteCount` bytes of an array.
    public init(decoding bytes: [UInt8]) throws(MalformedStructure) {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(MalformedStructure) in try Self(decoding: bytes) }
        }
        self = try result.get()
    }

    /// Writes the first `byteCount` bytes of `bytes`; reserved ones become 0. A shorter buffer traps.
    public func encode(into bytes: UnsafeMutableRawBufferPointer) {
        invariant(bytes.count >= Self.byteCount, "a structure is encoded into a buffer that holds it")
        guard let base = bytes.baseAddress else { return }
        base.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
        var copy = self
        copy.layout(FieldCoder(encoding: base, byteCount: Self.byteCount))
    }

    /// The structure as an array of `byteCount` bytes.
    public var encoded: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            encode(into: UnsafeMutableRawBufferPointer(buffer))
            count = Self.byteCount
        }
    }
}

/// Bytes that are not the structure that they should be.
public struct MalformedStructure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The structure that was expected.
    public let structure: String
    /// The problem with it.
    public let problem: String

    init(_ structure: String, _ problem: String) {
        self.structure = structure
        self.problem = problem
    }

    /// Structure and problem, in one line.
    public var description: String { "\(structure): \(problem)" }
}

/// A value with a fixed-width raw value that takes all of them: an option set, or a code whose unknown values are kept.
protocol OpenValue {
    associatedtype RawValue: FixedWidthInteger
    init(rawValue: RawValue)
    var rawValue: RawValue { get }
}

/// Writes fields to bytes, or reads them from bytes; see `FixedStructure`.
public struct FieldCoder {
    private let bytes: UnsafeMutableRawPointer
    private let byteCount: Int
    private let isEncoding: Bool

    init(encoding bytes: UnsafeMutableRawPointer, byteCount: Int) {
        self.bytes = bytes
        self.byteCount = byteCount
        isEncoding = true
    }

    /// The bytes are read only.
    init(decoding bytes: UnsafeRawPointer, byteCount: Int) {
        self.bytes = UnsafeMutableRawPointer(mutating: bytes)
        self.byteCount = byteCount
        isEncoding = false
    }

    /// A little-endian integer.
    func field<T: FixedWidthInteger & BitwiseCopyable>(_ value: inout T, at offset: Int) {
        invariant(offset + MemoryLayout<T>.size <= byteCount, "a field lies within its structure")
        if isEncoding {
            bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        } else {
            value = T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
    }

    /// An option set or a code.
    func field<T: OpenValue>(_ value: inout T, at offset: Int) where T.RawValue: BitwiseCopyable {
        var raw = value.rawValue
        field(&raw, at: offset)
        value = T(rawValue: raw)
    }

    /// 16 bytes in their own order.
    func field(_ value: inout UUIDBytes, at offset: Int) {
        invariant(offset + UUIDBytes.byteCount <= byteCount, "a field lies within its structure")
        if isEncoding { value.store(to: bytes + offset) } else { value = UUIDBytes(from: bytes + offset) }
    }

    /// A status, as bits 15:1 of a 16-bit field.
    func field(_ value: inout Status, at offset: Int) {
        var raw = value.field
        field(&raw, at: offset)
        value = Status(field: raw)
    }

    /// A little-endian integer of 24 bits.
    func threeBytes(_ value: inout UInt32, at offset: Int) {
        var low = UInt16(truncatingIfNeeded: value)
        var high = UInt8(truncatingIfNeeded: value >> 16)
        field(&low, at: offset)
        field(&high, at: offset + 2)
        value = UInt32(low) | UInt32(high) << 16
    }

    /// An EUI64: 8 bytes in their own order, the highest first.
    func bigEndian(_ value: inout UInt64, at offset: Int) {
        var raw = value.bigEndian
        field(&raw, at: offset)
        value = UInt64(bigEndian: raw)
    }

    /// Text of at most `count` bytes, padded with spaces or zeroes. Longer text is cut, at a character's end. Read back,
    /// it ends before the first zero and before trailing spaces; what is no UTF-8 is read as U+FFFD.
    func text(_ value: inout String, at offset: Int, count: Int, padding: TextPadding) {
        invariant(offset + count <= byteCount, "a field lies within its structure")
        if isEncoding {
            let fill: UInt8 = padding == .spaces ? 0x20 : 0
            (bytes + offset).initializeMemory(as: UInt8.self, repeating: fill, count: count)
            var position = offset
            for character in value.unicodeScalars {
                let encoded = UTF8.encode(character) ?? UTF8.encodedReplacementCharacter
                guard position + encoded.count <= offset + count else { break }
                for byte in encoded {
                    bytes.store8(byte, at: position)
                    position += 1
                }
            }
        } else {
            var content = UnsafeRawBufferPointer(start: bytes + offset, count: count)[...]
            if let end = content.firstIndex(of: 0) { content = content[..<end] }
            while content.last == 0x20 { content.removeLast() }
            value = String(decoding: content, as: UTF8.self)
        }
    }
}

/// The filling of the rest of a text field.
enum TextPadding {
    /// ASCII strings (NVMe Base, "ASCII string").
    case spaces
    /// NQNs and other UTF-8 strings, ended by a zero if there is room.
    case zeroes
}
