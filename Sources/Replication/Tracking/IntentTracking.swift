import Base

extension VolumeEngine {
    /// Asks for the bits that a write to `regions` needs: "in flight" on all active members, and for each member that is
    /// not active "it lacks writes here". True when all are durable (invariants 1 and 3).
    @inline(__always)
    mutating func requestBits(_ regions: ClosedRange<Int>) -> Bool {
        var isDurable = maps.intentsDurable.hasAll(regions)
        if !isDurable { request(VolumeMaps.intentKind, regions) }
        if active != .all {
            for member in MemberSet.all.subtracting(active) {
                if !requestBehind(member, regions) { isDurable = false }
            }
        }
        return isDurable
    }

    /// Asks for "the member may lack writes here". True when it is durable on every active member.
    mutating func requestBehind(_ member: MemberIndex, _ regions: ClosedRange<Int>) -> Bool {
        if !rules.mustMarkBehind { return true }
        if maps.behindDurable(member).hasAll(regions) { return true }
        request(member.number, regions)
        return false
    }

    private mutating func request(_ kind: Int, _ regions: ClosedRange<Int>) {
        for region in regions where !maps.wanted[kind][region] {
            maps.wanted[kind][region] = true
            markPage(maps.page(kind: kind, region: region))
        }
    }

    /// A page's bits have changed: all who hold the page need it anew.
    mutating func markPage(_ page: Int) {
        var needs = active
        for member in MemberSet.all where members[member].phase == .joining { needs.insert(member) }
        if page / maps.pagesPerMap < memberCount { needs.remove(MemberIndex(page / maps.pagesPerMap)) }
        maps.pageNeeds[page].formUnion(needs)
        if maps.pageNeeds[page] != [] { maps.dirtyPages[page] = true }
    }

    /// Adds `bits` to a map and marks the pages that changed.
    mutating func addAll(_ bits: RegionMap, kind: Int) {
        for page in 0..<maps.pagesPerMap {
            var hasChanged = false
            let range = page * maps.wordsPerPage..<(page + 1) * maps.wordsPerPage
            for word in range where bits.words[word] & ~maps.wanted[kind].words[word] != 0 {
                maps.wanted[kind].words[word] |= bits.words[word]
                hasChanged = true
            }
            if hasChanged { markPage(kind * maps.pagesPerMap + page) }
        }
    }

    /// The members' contents of a region may differ: it is read only after it was copied from one to the others.
    mutating func markUnreconciled(_ region: Int) {
        guard active.intersection(inSync).count > 1 else { return }
        maps.unreconciled[region] = true
        if reconcileSource == nil { reconcileSource = fastest(active.intersection(inSync)) }
        copies.mayStart = true
    }

    /// Sends the writes whose bits have become durable.
    mutating func reviewIntents() {
        reviewsIntents = false
        var list = awaitingIntent.takeAll()
        while let slot = list.popFirst(slots) {
            let index = Int(slot)
            if phase != .serving, phase != .detaching {
                dispatch(slot)
            } else if requestBits(slots[index].regions) {
                sendWrite(slot, to: writers)
            } else {
                awaitingIntent.append(slot, slots)
            }
        }
    }
}
