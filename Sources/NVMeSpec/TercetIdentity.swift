/// The identity of a Tercet target, in the vendor specific bytes of Identify Controller (from byte 3072 on): which run of
/// the target this is, and what it can do that others cannot.
///
/// Other targets have zeroes, or something of their own, there.
public struct TercetIdentity: Equatable, Sendable {
    /// Its place in the Identify Controller data structure.
    public static let offset = 3072
    static let byteCount = 24
    private static let magic: UInt64 = 0x7465_6372_6574_3031

    /// Never the same for two runs of a target.
    public var bootInstance: UInt64
    public var abilities: Abilities

    /// Bits of the word behind the boot instance; zero in targets that are older than it.
    public struct Abilities: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        /// `QuiesceCommand` is executed.
        public static let quiesce = Abilities(rawValue: 1 << 0)
        /// Reservation Report gives a registrant whose host has no controller FFFFh as its controller (NVMe Base 2.1, "Registered
        /// Controller data structure"): at the latest when the host's keep-alive timeout is over. Other targets, and those of
        /// earlier versions of NVMe, go on naming one, or never name any.
        public static let registrantPresence = Abilities(rawValue: 1 << 1)
        /// A pool's managers may say which UUID a namespace is to have (`NamespaceCreationData.uuid`), and let one grow
        /// (`NamespaceGrowthCommand`).
        public static let poolRequests = Abilities(rawValue: 1 << 2)
    }

    public init(bootInstance: UInt64, abilities: Abilities = []) {
        self.bootInstance = bootInstance
        self.abilities = abilities
    }

    /// Reads it from an Identify Controller data structure; `nil` if another target made that.
    public init?(identifyController page: [UInt8]) {
        guard page.count >= Self.offset + Self.byteCount, Self.word(page, Self.offset) == Self.magic else { return nil }
        bootInstance = Self.word(page, Self.offset + 8)
        abilities = Abilities(rawValue: Self.word(page, Self.offset + 16))
    }

    /// Writes it into an Identify Controller data structure.
    public func store(into page: inout [UInt8]) {
        for (position, word) in [Self.magic, bootInstance, abilities.rawValue].enumerated() {
            Self.store(word, into: &page, at: Self.offset + position * 8)
        }
    }
}

/// The identity of a Tercet target's namespace, in the vendor specific bytes of Identify Namespace (from byte 384 on): whether
/// it is still the same device, opened at the same time.
public struct TercetNamespaceIdentity: Equatable, Sendable {
    /// Its place in the Identify Namespace data structure.
    public static let offset = 384
    static let byteCount = 24
    private static let magic: UInt64 = 0x7465_6372_6574_3032

    /// Never the same for two openings of a device, in one run of a target or in several: it changes whenever the device's
    /// volatile write cache may have been lost, or another device may be in its place.
    public var instance: UInt64
    /// The instance at which the device was opened: what was cached since can be read, though a flush that failed may have left it
    /// on no media (then `instance` is greater). 0 where the target does not tell.
    public var opening: UInt64

    public init(instance: UInt64, opening: UInt64 = 0) {
        self.instance = instance
        self.opening = opening
    }

    /// Reads it from an Identify Namespace data structure; `nil` if another target made that.
    public init?(identifyNamespace page: [UInt8]) {
        guard page.count >= Self.offset + Self.byteCount,
            TercetIdentity.word(page, Self.offset) == Self.magic
        else { return nil }
        instance = TercetIdentity.word(page, Self.offset + 8)
        opening = TercetIdentity.word(page, Self.offset + 16)
    }

    /// Writes it into an Identify Namespace data structure.
    public func store(into page: inout [UInt8]) {
        TercetIdentity.store(Self.magic, into: &page, at: Self.offset)
        TercetIdentity.store(instance, into: &page, at: Self.offset + 8)
        TercetIdentity.store(opening, into: &page, at: Self.offset + 16)
    }
}

extension TercetIdentity {
    fileprivate static func word(_ page: [UInt8], _ offset: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(page[offset + $1]) << UInt64(8 * $1) }
    }

    fileprivate static func store(_ word: UInt64, into page: inout [UInt8], at offset: Int) {
        for byte in 0..<8 { page[offset + byte] = UInt8(truncatingIfNeeded: word >> UInt64(8 * byte)) }
    }
}
