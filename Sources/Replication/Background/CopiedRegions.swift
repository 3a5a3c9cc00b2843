import Base

/// A region that has been copied and not yet flushed on its destinations.
struct CopiedRegion: BitwiseCopyable {
    var region: Int
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

    func contains(_ region: Int) -> Bool {
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

    mutating func markFlushing() { for index in 0..<count { entries[index].isFlushing = true } }

    /// What was copied to a lost member counts no more, and nothing that was copied from it: where members in sync differed,
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
    mutating func invalidate(_ regions: ClosedRange<Int>) {
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

extension VolumeEngine {
    /// Clears the bits of regions whose copies have been flushed.
    mutating func settleCopied(_ done: MemberSet) {
        while let entry = copied.popFlushed() {
            let good = entry.destinations.intersection(done).intersection(active)
            let inSyncOthers = active.intersection(inSync).without(entry.source)
            let isReconciled = entry.reconciles && inSyncOthers.subtracting(good) == []
            // While members in sync may still differ, their source may be lost, and another be what all go by.
            let isCertain = isReconciled || !maps.unreconciled[entry.region]
            for member in good {
                if maps.repair[member][entry.region] {
                    maps.repair[member][entry.region] = false
                    statistics.regionsRepaired += 1
                }
                if !inSync.contains(member), isCertain { clearBit(member.number, entry.region) }
                members[member].copyRetryDelay = 0
            }
            if isReconciled, maps.unreconciled[entry.region] {
                maps.unreconciled[entry.region] = false
                reviewsReconcile = true
            }
        }
    }

    private mutating func clearBit(_ kind: Int, _ region: Int) {
        guard maps.wanted[kind][region] else { return }
        maps.wanted[kind][region] = false
        maps.durable[kind][region] = false
        markPage(maps.page(kind: kind, region: region))
    }

    /// Takes members into sync that lack nothing any more, and hold the valid record: the next one names them, and where they
    /// lack it, the one that they hold is believed.
    mutating func reviewReconciled() {
        guard phase == .serving else { return }
        var hasChanged = false
        for member in active where !inSync.contains(member) {
            let holdsRecord = record.isValid && members[member].confirmedVersion == record.version
            guard rules.mayTakeIntoSync(holdsRecord: holdsRecord) else { continue }
            guard maps.behind(member).isEmpty, !copies.isCopying(to: member), !copied.contains(to: member) else {
                continue
            }
            inSync.insert(member)
            freshMembers.remove(member)
            record.bootInstances[member] = members[member].bootInstance
            members[member].reconnectDelay = 0
            members[member].copyRetryDelay = 0
            notice(.memberInSync(member))
            hasChanged = true
        }
        if hasChanged { changeRecord() }
    }
}
