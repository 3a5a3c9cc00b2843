/// What Tercet's targets say of themselves in the vendor specific bytes of Identify Controller (from byte 3072 on): which
/// run of the target this is, and what it can do that others cannot.
///
/// Other targets have zeroes, or something of their own, there.
public struct TercetIdentity: Equatable, Sendable {
    /// Where it begins in the Identify Controller data structure.
    public static let offset = 3072
    static let byteCount = 24
    private static let magic: UInt64 = 0x7465_6372_6574_3031

    /// Never the same for two runs of a target: it changes whenever a volatile write cache behind the controller may have
    /// been lost.
    public var bootInstance: UInt64
    public var abilities: Abilities

    /// Bits of the word behind the boot instance; zero in targets that are older than it.
    public struct Abilities: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        /// `QuiesceCommand` is executed.
        public static let quiesce = Abilities(rawValue: 1 << 0)
    }

    public init(bootInstance: UInt64, abilities: Abilities = []) {
        self.bootInstance = bootInstance
        self.abilities = abilities
    }

    /// Reads it from an Identify Controller data structure; `nil` where another target made that.
    public init?(identifyController page: [UInt8]) {
        guard page.count >= Self.offset + Self.byteCount, Self.word(page, Self.offset) == Self.magic else { return nil }
        bootInstance = Self.word(page, Self.offset + 8)
        abilities = Abilities(rawValue: Self.word(page, Self.offset + 16))
    }

    /// Writes it into an Identify Controller data structure.
    public func store(into page: inout [UInt8]) {
        for (position, word) in [Self.magic, bootInstance, abilities.rawValue].enumerated() {
            for byte in 0..<8 {
                page[Self.offset + position * 8 + byte] = UInt8(truncatingIfNeeded: word >> UInt64(8 * byte))
            }
        }
    }

    private static func word(_ page: [UInt8], _ offset: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(page[offset + $1]) << UInt64(8 * $1) }
    }
}
