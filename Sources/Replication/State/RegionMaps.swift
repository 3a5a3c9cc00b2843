import Base

/// The volume's bitmaps in memory, and what is known of their pages on the members.
///
/// A bitmap's page has a number of its own: `MapPageIndex`.
struct RegionMaps: ~Copyable {
    private var memory: MapMemory
    /// Members whose pages are kept up to date: all that are active, or are joining.
    private(set) var holders: MemberSet = []

    init(_ geometry: VolumeGeometry) { memory = MapMemory(geometry) }
    deinit { memory.free() }

    // MARK: Reading

    var geometry: VolumeGeometry { memory.geometry }
    var regionCount: Int { memory.regionCount }
    /// Regions with writes in flight or unflushed, as they are to be on the members.
    var intents: RegionBits { memory.wanted[MapKind.inFlight.number].bits }
    /// Regions of which a member may lack writes, as they are to be on the others.
    func behind(_ member: MemberIndex) -> RegionBits { memory.wanted[member.number].bits }
    /// Those of them that every active member has noted.
    func behindDurable(_ member: MemberIndex) -> RegionBits { memory.durable[member.number].bits }
    /// Regions written since the last flush of housekeeping started.
    var unflushed: RegionBits { memory.unflushed.bits }
    /// Regions in which members in sync may differ: read only after they have been copied from one (invariant 7).
    var unreconciled: RegionBits { memory.unreconciled.bits }
    /// How many they are.
    private(set) var unreconciledCount = 0
    /// Regions that a member in sync could not read, to be written again.
    func repair(_ member: MemberIndex) -> RegionBits { memory.repair[member].bits }
    /// Regions that a member in sync holds and could not write again: they may be on none of its media.
    func unwritten(_ member: MemberIndex) -> RegionBits { memory.unwritten[member].bits }
    /// How many they are.
    private(set) var unwrittenCount = PerMember<Int>(repeating: 0)
    /// Regions in which a scrub found members to differ.
    var quarantine: RegionBits { memory.quarantine.bits }

    /// Whether members may still differ in a region without a durable bit that says so: the record names it until then.
    func isUnderRepair(_ region: RegionIndex) -> Bool {
        if unreconciled[region] { return true }
        for member in MemberSet.all {
            if repair(member)[region] || behind(member)[region] && !behindDurable(member)[region] { return true }
        }
        return false
    }

    /// Whether the bits that data to `regions` needs are on every active member (invariant 3).
    @inline(__always)
    func areMarked(_ regions: ClosedRange<RegionIndex>) -> Bool {
        memory.durable[MapKind.inFlight.number].bits.hasAll(regions)
    }

    // MARK: Bits for the members

    /// Asks for bits that are not wanted yet.
    mutating func request(_ kind: MapKind, _ regions: ClosedRange<RegionIndex>) {
        for region in regions where !memory.wanted[kind.number][region] {
            memory.wanted[kind.number][region] = true
            mark(page: page(kind, region))
        }
    }

    /// Adds bits to a map.
    mutating func add(_ bits: RegionBits, to kind: MapKind) {
        let wanted = memory.wanted[kind.number].words
        for page in 0..<memory.pagesPerMap {
            var hasChanged = false
            for word in words(of: page) where bits.word(word) & ~wanted[word] != 0 {
                wanted[word] |= bits.word(word)
                hasChanged = true
            }
            if hasChanged { mark(page: memory.page(kind, place: page)) }
        }
    }

    /// Adds all regions to what a member may lack.
    mutating func addEverything(to member: MemberIndex) {
        let everything = RegionMap(wordCount: memory.unflushed.wordCount)
        everything.setAll(count: regionCount)
        add(everything.bits, to: .behind(member))
        everything.free()
    }

    /// Adds what a member had in flight, by its own map, to what it may lack.
    mutating func addOwn(_ intents: RegionBits, of member: MemberIndex) {
        let own = RegionMap(wordCount: memory.unflushed.wordCount)
        own.add(intents)
        own.truncate(to: regionCount)
        add(own.bits, to: .behind(member))
        own.free()
    }

    /// Clears bits of a map that are no longer needed. They stop to count as durable at once, and leave the members with the
    /// page's next write.
    mutating func clear(_ bits: RegionBits, of kind: MapKind) {
        let (wanted, durable) = (memory.wanted[kind.number].words, memory.durable[kind.number].words)
        for page in 0..<memory.pagesPerMap {
            var hasChanged = false
            for word in words(of: page) where bits.word(word) != 0 {
                if wanted[word] & bits.word(word) != 0 { hasChanged = true }
                wanted[word] &= ~bits.word(word)
                durable[word] &= ~bits.word(word)
            }
            if hasChanged { mark(page: memory.page(kind, place: page)) }
        }
    }

    /// A member lacks nothing of a region any more.
    mutating func clearBehind(_ member: MemberIndex, _ region: RegionIndex) {
        guard memory.wanted[member.number][region] else { return }
        memory.wanted[member.number][region] = false
        memory.durable[member.number][region] = false
        mark(page: page(.behind(member), region))
    }

    private func words(of page: Int) -> Range<Int> { page * memory.wordsPerPage..<(page + 1) * memory.wordsPerPage }

    @inline(__always)
    private func page(_ kind: MapKind, _ region: RegionIndex) -> MapPageIndex {
        memory.page(kind, place: (region.offset >> 6) / memory.wordsPerPage)
    }

    /// A page's bits have changed: all who hold the page need it anew.
    private mutating func mark(page: MapPageIndex) {
        var needs = holders
        if let member = kind(ofPage: page).member { needs.remove(member) }
        memory.pageNeeds[page.offset].formUnion(needs)
        if memory.pageNeeds[page.offset] != [] { memory.dirtyPages[page] = true }
    }

    private func kind(ofPage page: MapPageIndex) -> MapKind { MapKind(number: page.offset / memory.pagesPerMap) }

    // MARK: Bits in memory only

    /// Data is being written to `regions`, or has just been.
    @inline(__always)
    mutating func noteWritten(_ regions: ClosedRange<RegionIndex>) {
        for region in regions { memory.unflushed[region] = true }
    }

    /// A flush of housekeeping starts: what is written from now on, it does not cover.
    mutating func startFlushPeriod() {
        memory.unflushedBefore.copy(from: memory.unflushed.bits)
        memory.unflushed.clear()
    }

    mutating func setUnreconciled(_ region: RegionIndex, _ isSet: Bool) {
        guard memory.unreconciled[region] != isSet else { return }
        memory.unreconciled[region] = isSet
        unreconciledCount += isSet ? 1 : -1
    }
    mutating func setRepair(_ member: MemberIndex, _ region: RegionIndex, _ isSet: Bool) {
        memory.repair[member][region] = isSet
    }
    mutating func clearRepair(_ member: MemberIndex) { memory.repair[member].clear() }
    mutating func setUnwritten(_ member: MemberIndex, _ region: RegionIndex, _ isSet: Bool) {
        guard memory.unwritten[member][region] != isSet else { return }
        memory.unwritten[member][region] = isSet
        unwrittenCount[member] += isSet ? 1 : -1
    }
    mutating func clearUnwritten(_ member: MemberIndex) {
        guard unwrittenCount[member] > 0 else { return }
        memory.unwritten[member].clear()
        unwrittenCount[member] = 0
    }
    mutating func setQuarantine(_ region: RegionIndex, _ isSet: Bool) { memory.quarantine[region] = isSet }

    /// A lost member alone was right in regions that a scrub had found to differ (`VolumeEngine.repairRegion`): none of the
    /// `others` in sync is to be believed there, nor copied to it. Regions that are repaired because they could not be read hold
    /// nothing wrong: `named` are those that a scrub has found, or `nil` where any may be one.
    mutating func quarantineOrphans(of others: MemberSet, named: [RegionIndex]?) {
        for word in 0..<memory.unreconciled.wordCount where memory.unreconciled.words[word] != 0 {
            var orphaned = memory.unreconciled.words[word]
            for other in others { orphaned &= memory.repair[other].words[word] }
            if let named {
                orphaned &= named.reduce(0) { $1.offset / 64 == word ? $0 | 1 << UInt64($1.offset % 64) : $0 }
            }
            memory.quarantine.words[word] |= orphaned
            memory.unreconciled.words[word] &= ~orphaned
            unreconciledCount -= orphaned.nonzeroBitCount
            for other in others { memory.repair[other].words[word] &= ~orphaned }
        }
    }

    /// The in-flight bits that may be cleared after a flush: of regions whose writes are on every member, or noted durably
    /// for those that lack them. Regions written lately keep theirs where `keepsRecent`: they will probably be written again.
    /// `nil` for none. The caller frees it.
    func clearableIntents(inSync: MemberSet, active: MemberSet, keepsRecent: Bool) -> RegionMap? {
        let clearable = RegionMap(wordCount: intents.wordCount)
        var isAny = false
        for word in 0..<clearable.wordCount where intents.word(word) != 0 {
            var bits = intents.word(word) & ~unflushed.word(word) & ~unreconciled.word(word)
            if keepsRecent { bits &= ~memory.unflushedBefore.words[word] }
            for member in inSync where unwrittenCount[member] > 0 { bits &= ~unwritten(member).word(word) }
            for member in MemberSet.all.subtracting(inSync) {
                let (wanted, durable) = (behind(member).word(word), behindDurable(member).word(word))
                bits &= active.contains(member) ? ~wanted | durable : durable
            }
            clearable.words[word] = bits
            isAny = isAny || bits != 0
        }
        if isAny { return clearable }
        clearable.free()
        return nil
    }

    // MARK: Taking over

    /// The volume has another geometry. What is known stays known where `keepsBits`: regions keep their numbers when a volume
    /// grows.
    mutating func adopt(_ geometry: VolumeGeometry, keepsBits: Bool) {
        let larger = MapMemory(geometry)
        if keepsBits {
            for kind in 0..<MapKind.count { larger.wanted[kind].add(memory.wanted[kind].bits) }
            larger.quarantine.add(memory.quarantine.bits)
        }
        memory.free()
        memory = larger
        unreconciledCount = 0
        unwrittenCount = PerMember(repeating: 0)
        holders = []
    }

    /// The volume has been enlarged. What the namespaces hold behind the old end differs from member to member, the old
    /// metadata included.
    mutating func grow(to geometry: VolumeGeometry) {
        let old = memory
        let larger = MapMemory(geometry)
        larger.wanted[MapKind.inFlight.number].add(old.wanted[MapKind.inFlight.number].bits)
        larger.quarantine.add(old.quarantine.bits)
        // Writes that were under way, and were given back to a host that does not wait, are on some members only.
        larger.unreconciled.copy(from: larger.wanted[MapKind.inFlight.number].bits)
        for region in geometry.region(of: old.geometry.dataBlocks)..<geometry.allRegions.upperBound {
            larger.unreconciled[region] = true
            larger.wanted[MapKind.inFlight.number][region] = true
        }
        larger.unflushed.copy(from: larger.wanted[MapKind.inFlight.number].bits)
        old.free()
        memory = larger
        unreconciledCount = memory.unreconciled.bits.count
        unwrittenCount = PerMember(repeating: 0)
        holders = []
    }

    /// Takes over what was decided: who is in sync, and what is dirty. `lacking` gives what a member that is in sync says that
    /// another lacks, and `fresh` are members that hold nothing. What is dirty is copied before it is read where it `reconciles`.
    mutating func adopt(
        dirty: RegionBits, inSync: MemberSet, fresh: MemberSet, reconciles: Bool,
        lacking: (MemberIndex, MemberIndex) -> RegionBits?
    ) {
        for member in MemberSet.all {
            let behind = memory.wanted[member.number]
            if inSync.contains(member) {
                behind.clear()
                continue
            }
            for holder in inSync {
                if let found = lacking(holder, member) { behind.add(found) }
            }
            behind.add(dirty)
            if fresh.contains(member) { behind.setAll(count: regionCount) }
            behind.truncate(to: regionCount)
        }
        memory.wanted[MapKind.inFlight.number].copy(from: dirty)
        memory.unflushed.copy(from: dirty)
        memory.unflushedBefore.clear()
        memory.unreconciled.clear()
        if reconciles { memory.unreconciled.copy(from: dirty) }
        unreconciledCount = reconciles ? dirty.count : 0
        for kind in 0..<MapKind.count { memory.durable[kind].clear() }
        for member in MemberSet.all {
            memory.repair[member].clear()
            clearUnwritten(member)
        }
    }

    // MARK: Pages

    /// A member joins: it needs all pages that it holds.
    mutating func admit(_ member: MemberIndex) {
        holders.insert(member)
        for page in memory.allPages where kind(ofPage: page).member != member {
            memory.pageNeeds[page.offset].insert(member)
            memory.dirtyPages[page] = true
        }
    }

    /// A member's metadata is not kept up to date any more.
    mutating func drop(_ member: MemberIndex) {
        holders.remove(member)
        for page in 0..<memory.pageCount { memory.pageNeeds[page].remove(member) }
    }

    /// Whether a member lacks no page.
    func isUpToDate(_ member: MemberIndex) -> Bool {
        for page in 0..<memory.pageCount where memory.pageNeeds[page].contains(member) { return false }
        return true
    }

    var hasDirtyPages: Bool { !memory.dirtyPages.bits.isEmpty }

    /// Pages that are to be written.
    var dirtyPageCount: Int { memory.dirtyPages.bits.count }
}

extension RegionMaps {
    /// A page of one of the maps.
    struct Page: BitwiseCopyable {
        var number: MapPageIndex
        var kind: MapKind
        var place: Int
    }

    /// The first page from `first` on that members lack and that is not on its way.
    mutating func nextDirtyPage(from first: MapPageIndex) -> Page? {
        var word = first.offset / 64
        while word < memory.dirtyPages.wordCount {
            defer { word += 1 }
            var bits = memory.dirtyPages.words[word]
            if word == first.offset / 64 { bits &= ~0 << UInt64(first.offset % 64) }
            while bits != 0 {
                let page = BitView<MapPageIndex>.index(word: word, bit: bits.trailingZeroBitCount)
                bits &= bits - 1
                if memory.pageNeeds[page.offset] == [] { memory.dirtyPages[page] = false }
                guard !memory.pageInFlight[page.offset], memory.pageNeeds[page.offset] != [] else { continue }
                let (kind, place) = page.offset.quotientAndRemainder(dividingBy: memory.pagesPerMap)
                return Page(number: page, kind: MapKind(number: kind), place: place)
            }
        }
        return nil
    }

    /// Copies a page for its way to the members that lack it, which are returned.
    mutating func stage(_ page: Page, into bits: UnsafeMutablePointer<UInt64>) -> MemberSet {
        let targets = memory.pageNeeds[page.number.offset]
        let first = page.place * memory.wordsPerPage
        let (wanted, durable) = (memory.wanted[page.kind.number].words, memory.durable[page.kind.number].words)
        for word in 0..<memory.wordsPerPage {
            bits[word] = wanted[first + word].littleEndian
            // A bit that is being cleared counts as clear from now on: the write may land at any time.
            durable[first + word] &= wanted[first + word]
        }
        memory.pageNeeds[page.number.offset] = []
        memory.dirtyPages[page.number] = false
        memory.pageInFlight[page.number.offset] = true
        return targets
    }

    /// A member has to be sent a page once more.
    mutating func needs(_ page: MapPageIndex, _ member: MemberIndex) {
        memory.pageNeeds[page.offset].insert(member)
        memory.dirtyPages[page] = true
    }

    /// A page is not on its way any more. Where it is on all that hold it, its `bits` are durable, except those that are no
    /// longer wanted.
    mutating func written(_ page: MapPageIndex, _ bits: UnsafeMutablePointer<UInt64>?) {
        memory.pageInFlight[page.offset] = false
        guard let bits else { return }
        let (kind, place) = page.offset.quotientAndRemainder(dividingBy: memory.pagesPerMap)
        let first = place * memory.wordsPerPage
        let (wanted, durable) = (memory.wanted[kind].words, memory.durable[kind].words)
        for word in 0..<memory.wordsPerPage {
            durable[first + word] = UInt64(littleEndian: bits[word]) & wanted[first + word]
        }
    }
}
