/// 16 bytes of identity, in the order of the wire: a UUID, a Host Identifier, or an NGUID (RFC 9562; NVMe Base,
/// "Host Identifier", "Namespace Globally Unique Identifier").
public struct UUIDBytes: BitwiseCopyable, Hashable, Sendable {
    /// Size on the wire, in bytes.
    @inlinable public static var byteCount: Int { 16 }

    /// Bytes 0 to 7, the first one highest.
    public var high: UInt64
    /// Bytes 8 to 15.
    public var low: UInt64

    /// All zeroes: "not given" in NVMe structures.
    @inlinable public init() { self.init(high: 0, low: 0) }

    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A random UUID (RFC 9562, version 4).
    public static func random() -> UUIDBytes {
        var generator = SystemRandomNumberGenerator()
        return UUIDBytes(
            high: generator.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: generator.next() & (1 << 62 - 1) | 1 << 63)
    }

    /// Copies 16 bytes at `bytes`, at any alignment.
    @inlinable
    public init(from bytes: UnsafeRawPointer) {
        high = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
        low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    /// Writes 16 bytes to `bytes`, at any alignment.
    @inlinable
    public func store(to bytes: UnsafeMutableRawPointer) {
        bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
        bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }

    /// From exactly 16 bytes; `nil` for any other count.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == UUIDBytes.byteCount else { return nil }
        self.init()
        for byte in bytes { append(nibbles: byte, bits: 8) }
    }

    /// The 16 bytes, in the order of the wire.
    public var bytes: [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? high : low) >> (56 - 8 * UInt64($0 % 8))) }
    }

    /// All bytes are 0: not given.
    @inlinable public var isZero: Bool { high | low == 0 }

    private mutating func append(nibbles value: UInt8, bits: UInt64) {
        high = high << bits | low >> (64 - bits)
        low = low << bits | UInt64(value)
    }
}

/// The order of the bytes on the wire.
extension UUIDBytes: Comparable {
    @inlinable
    public static func < (left: UUIDBytes, right: UUIDBytes) -> Bool {
        left.high == right.high ? left.low < right.low : left.high < right.high
    }
}

/// The text forms of 16 bytes.
extension UUIDBytes: CustomStringConvertible, LosslessStringConvertible {
    /// Parses "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", in either case; `nil` for anything else.
    public init?(_ text: String) {
        var text = text
        self.init()
        let isUUID: Bool? = text.withUTF8 { characters in
            guard characters.count == 36 else { return nil }
            for (position, character) in characters.enumerated() {
                if UUIDBytes.dashes.contains(position) {
                    guard character == UInt8(ascii: "-") else { return nil }
                } else {
                    guard let digit = hexadecimalDigit(character) else { return nil }
                    append(nibbles: digit, bits: 4)
                }
            }
            return true
        }
        guard isUUID != nil else { return nil }
    }

    /// Parses 32 hexadecimal digits, as NGUIDs are written; `nil` for anything else.
    public init?(hexadecimal text: String) {
        self.init()
        guard text.utf8.count == 32 else { return nil }
        for character in text.utf8 {
            guard let digit = hexadecimalDigit(character) else { return nil }
            append(nibbles: digit, bits: 4)
        }
    }

    private static let dashes: Set<Int> = [8, 13, 18, 23]

    /// "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", in lower case.
    public var description: String {
        var text = ""
        for (position, character) in hexadecimal.enumerated() {
            if [8, 12, 16, 20].contains(position) { text += "-" }
            text.append(character)
        }
        return text
    }

    /// 32 hexadecimal digits, in lower case, as NGUIDs are written.
    public var hexadecimal: String { hexadecimalText(high) + hexadecimalText(low) }
}

/// The value of a hexadecimal digit in ASCII, or `nil`.
func hexadecimalDigit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// 16 hexadecimal digits, in lower case.
func hexadecimalText(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
