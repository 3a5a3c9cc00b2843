import Base

/// A region that has been copied and not yet flushed on its destinations.
struct CopiedRegion: BitwiseCopyable {
    var region: RegionIndex
    var source: MemberIndex
    var destinations: MemberSet
    var reconciles: Bool
    var isFlushing = false
}

/// The regions copied since the last flush: their bits are cleared when a flush has followed (invariants 3 and 8).
struct CopiedRegions: BitwiseCopyable {
    static let capacity = 64
    private(set) var entries = InlineArray<64, CopiedRegion>(
        repeating: CopiedRegion(region: 0, source: 0, destinations: [], reconciles: false))
    private(set) var count = 0

    /// Room is left for the copies that run.
    var isFull: Bool { count >= Self.capacity - VolumeConfiguration.maximumCopyConcurrency }

    func contains(_ region: RegionIndex) -> Bool {
        for index in 0..<count where entries[index].region == region { return true }
        return false
    }

    func contains(to member: MemberIndex) -> Bool {
        for index in 0..<count where entries[index].destinations.contains(member) { return true }
        return false
    }

    mutating func append(_ entry: CopiedRegion) {
        invariant(count < Self.capacity, "copies stop before their list is full")
        entries[count] = entry
        count += 1
    }

    /// A flush starts, which covers all that has been copied by now.
    mutating func markFlushing() { for index in 0..<count { entries[index].isFlushing = true } }

    /// Copies to a lost member count no more, and neither do those from it: where members in sync differed,
    /// another may be what they go by now.
    mutating func forget(_ member: MemberIndex) {
        for index in 0..<count {
            entries[index].destinations.remove(member)
            if entries[index].source == member {
                entries[index].destinations = []
                entries[index].reconciles = false
            }
        }
    }

    /// A region's copies have become stale: a write went to some members and not to others after it was copied.
    mutating func invalidate(_ regions: ClosedRange<RegionIndex>) {
        for index in 0..<count where regions.contains(entries[index].region) {
            entries[index].destinations = []
            entries[index].reconciles = false
        }
    }

    /// Removes an entry that a flush has covered; `nil` when there is none.
    mutating func popFlushed() -> CopiedRegion? {
        for index in 0..<count where entries[index].isFlushing {
            let entry = entries[index]
            count -= 1
            entries[index] = entries[count]
            return entry
        }
        return nil
    }
}
