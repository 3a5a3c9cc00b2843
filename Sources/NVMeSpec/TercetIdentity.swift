/// What Tercet's targets say of themselves in the vendor specific bytes of Identify Controller (from byte 3072 on): which
/// run of the target this is. It changes whenever a volatile write cache behind the controller may have been lost.
///
/// Other targets have zeroes, or something of their own, there.
public struct TercetIdentity: Equatable, Sendable {
    /// Where it begins in the Identify Controller data structure.
    public static let offset = 3072
    static let byteCount = 16
    private static let magic: UInt64 = 0x7465_6372_6574_3031

    /// Never the same for two runs of a target.
    public var bootInstance: UInt64

    public init(bootInstance: UInt64) { self.bootInstance = bootInstance }

    /// Reads it from an Identify Controller data structure; `nil` where another target made that.
    public init?(identifyController page: [UInt8]) {
        guard page.count >= Self.offset + Self.byteCount, Self.word(page, Self.offset) == Self.magic else { return nil }
        bootInstance = Self.word(page, Self.offset + 8)
    }

    /// Writes it into an Identify Controller data structure.
    public func store(into page: inout [UInt8]) {
        for (position, word) in [Self.magic, bootInstance].enumerated() {
            for byte in 0..<8 {
                page[Self.offset + position * 8 + byte] = UInt8(truncatingIfNeeded: word >> UInt64(8 * byte))
            }
        }
    }

    private static func word(_ page: [UInt8], _ offset: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(page[offset + $1]) << UInt64(8 * $1) }
    }
}
