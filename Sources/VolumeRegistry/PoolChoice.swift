import Base

/// How the members of a volume lie on pools.
public enum PoolSpread: String, CaseIterable, Sendable {
    /// In three failure domains, or not at all.
    case required
    /// In three pools, and in as many failure domains as there are.
    case preferred
}

/// A pool that could hold a member.
public struct PoolOffer: Equatable, Sendable {
    public var name: String
    public var domain: String
    /// Bytes that no namespace has.
    public var unallocated: UInt64
    /// Bytes of a logical block; members of a volume have one size.
    public var blockSize: UInt32

    public init(name: String, domain: String, unallocated: UInt64, blockSize: UInt32) {
        self.name = name
        self.domain = domain
        self.unallocated = unallocated
        self.blockSize = blockSize
    }
}

/// The choice of three pools for a volume: values in, values out.
public struct PoolChoice: Sendable {
    private static let members = 3
    public let offers: [PoolOffer]
    public let spread: PoolSpread
    /// Failure domains whose pools come first, in this order.
    private let preferred: [String]

    public init(_ offers: [PoolOffer], _ spread: PoolSpread, preferring domains: [String] = []) {
        self.offers = offers
        self.spread = spread
        preferred = domains
    }

    /// Three pools with so much room each, those of preferred domains and then those with the most room first; `nil` if there are none.
    ///
    /// - Parameter bytes: what a member takes, by the size of a pool's blocks; `nil` where blocks of that size cannot be used.
    public func pools(_ bytes: (_ blockSize: UInt32) -> UInt64?) -> [PoolOffer]? {
        let choices = blockSizes.compactMap { blockSize -> [PoolOffer]? in
            guard let bytes = bytes(blockSize) else { return nil }
            return ranked(blockSize).filter { $0.unallocated >= bytes }.chosen(spread, Self.members)
        }
        func least(_ offers: [PoolOffer]) -> UInt64 { offers.map(\.unallocated).min() ?? 0 }
        return choices.max { least($0) < least($1) }
    }

    /// The largest member that three pools could hold, and the size of their blocks; `nil` if there are no three.
    public var largest: (bytes: UInt64, blockSize: UInt32)? {
        blockSizes.compactMap { blockSize in
            ranked(blockSize).chosen(spread, Self.members).map { chosen in
                (bytes: chosen.map(\.unallocated).min() ?? 0, blockSize: blockSize)
            }
        }.max { $0.bytes < $1.bytes }
    }

    /// Bytes of all members that could still be made, divided by three: volumes need one in each of three domains, or pools.
    public var total: UInt64 {
        blockSizes.reduce(0) { sum, blockSize in
            let offers = ranked(blockSize)
            let domains = Dictionary(grouping: offers, by: \.domain).mapValues { $0.reduce(0) { $0 &+ $1.unallocated } }
            let usesDomains = spread == .required || domains.count >= Self.members
            let parts = usesDomains ? Array(domains.values) : offers.map(\.unallocated)
            return sum &+ Self.together(parts)
        }
    }

    /// The most units of three that parts hold, where no two of a unit come from one part.
    static func together(_ parts: [UInt64]) -> UInt64 {
        guard parts.count >= members else { return 0 }
        func fits(_ units: UInt64) -> Bool {
            let (all, overflow) = units.multipliedReportingOverflow(by: UInt64(members))
            if overflow { return false }
            // Each part gives one to a unit.
            var left = all
            for part in parts { left -= min(left, min(part, units)) }
            return left == 0
        }
        var (low, high): (UInt64, UInt64) = (0, parts.reduce(0) { $0 &+ $1 / 3 } &+ 2)
        while low < high {
            let middle = low + (high - low + 1) / 2
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        return low
    }

    private var blockSizes: [UInt32] { Set(offers.map(\.blockSize)).sorted() }

    private func ranked(_ blockSize: UInt32) -> [PoolOffer] {
        func rank(_ offer: PoolOffer) -> Int { preferred.firstIndex(of: offer.domain) ?? preferred.count }
        return offers.filter { $0.blockSize == blockSize }.sorted {
            let (one, other) = (rank($0), rank($1))
            guard one == other else { return one < other }
            return $0.unallocated == $1.unallocated ? $0.name < $1.name : $0.unallocated > $1.unallocated
        }
    }
}

extension [PoolOffer] {
    /// The first of each domain, and of the others as many as are needed if that is allowed; `nil` if they do not suffice.
    fileprivate func chosen(_ spread: PoolSpread, _ count: Int) -> [PoolOffer]? {
        var (domains, first, others): (Set<String>, [PoolOffer], [PoolOffer]) = ([], [], [])
        for offer in self {
            if domains.insert(offer.domain).inserted { first.append(offer) } else { others.append(offer) }
        }
        let all = spread == .required ? first : first + others
        return all.count >= count ? Array(all.prefix(count)) : nil
    }
}
