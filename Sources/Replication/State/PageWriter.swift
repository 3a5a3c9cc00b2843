import Base

/// Which of the places for pages that are on their way.
struct PageIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// A place for a copy of a bitmap page that is on its way to members: a page's contents must not change under the device that
/// reads it.
struct StagedPage: BitwiseCopyable {
    var page = MapPageIndex.none
    var pending: MemberSet = []
    /// A member has to be sent the page once more.
    var isIncomplete = false
    var issuedAt = MonotonicTime(nanoseconds: 0)
}

/// Writes bitmap pages to the members that lack them.
struct PageWriter: ~Copyable {
    private var staged = SlotTable<PageIndex, StagedPage>(capacity: ArenaLayout.stagingPages, initial: StagedPage())
    private var sequence: UInt64 = 0

    /// No page is on its way.
    var isIdle: Bool { staged.available == staged.capacity }

    /// Whether a page is on its way to a member.
    func isWriting(to member: MemberIndex) -> Bool {
        for place in places where staged[place].pending.contains(member) { return true }
        return false
    }

    var places: SlotIndices<PageIndex> { staged.usedIndices }

    /// Members that have not answered a page for longer than `timeout` nanoseconds.
    func late(_ place: PageIndex, now: MonotonicTime, timeout: UInt64) -> MemberSet {
        let page = staged[place]
        return page.pending != [] && now.nanoseconds(since: page.issuedAt) > timeout ? page.pending : []
    }

    /// A time in which this process stood still does not count.
    mutating func forgive(_ later: (MonotonicTime) -> MonotonicTime) {
        for place in places where staged[place].pending != [] { staged[place].issuedAt = later(staged[place].issuedAt) }
    }

    /// Takes the next page that members lack, as far as there is staging memory. A page has one write on its way at a time, so
    /// that writes of it cannot overtake each other.
    mutating func next(
        from first: MapPageIndex, _ maps: inout RegionMaps, _ arena: Arena, volume: UUIDBytes, now: MonotonicTime
    ) -> (place: PageIndex, page: RegionMaps.Page, targets: MemberSet)? {
        guard let page = maps.nextDirtyPage(from: first), let place = staged.take() else { return nil }
        sequence += 1
        let offset = arena.layout.staging(place.offset)
        let targets = maps.stage(page, into: arena.bits(at: offset))
        staged[place] = StagedPage(page: page.number, pending: targets, issuedAt: now)
        BitmapPage.seal(
            arena.page(at: offset), volume: volume, sequence: sequence, kind: page.kind.number, number: page.place)
        return (place, page, targets)
    }

    /// A member has answered for a page. It is written again with the next round where it was not taken.
    mutating func answered(_ number: Int, _ member: MemberIndex, needsAgain: Bool, _ maps: inout RegionMaps) {
        let place = staged.index(at: UInt32(truncatingIfNeeded: number))
        invariant(staged[place].pending.contains(member), "a page's completion names a staging slot")
        staged[place].pending.remove(member)
        guard needsAgain else { return }
        staged[place].isIncomplete = true
        maps.needs(staged[place].page, member)
    }

    /// Gives a place back whose page all members have answered. False while one has not.
    mutating func settle(_ number: Int, _ maps: inout RegionMaps, _ arena: Arena) -> Bool {
        let place = staged.index(at: UInt32(truncatingIfNeeded: number))
        guard staged[place].pending == [] else { return false }
        let isEverywhere = !staged[place].isIncomplete
        maps.written(
            staged[place].page, isEverywhere ? arena.bits(at: arena.layout.staging(place.offset)) : nil)
        staged.give(place)
        return true
    }
}
