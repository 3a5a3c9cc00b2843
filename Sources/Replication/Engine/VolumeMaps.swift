import Base

/// The volume's bitmaps in memory, and what is known of their pages on the members. A trivial value; its owner frees it.
///
/// A bitmap's page has a number of its own: `kind * pagesPerMap + page`, where kinds 0 to 2 are "that member may lack
/// writes here" and kind 3 is "a write may be in flight or unflushed here".
struct VolumeMaps: BitwiseCopyable {
    static let intentKind = 3
    static let kindCount = 4

    let geometry: VolumeGeometry
    let regionCount: Int
    let pagesPerMap: Int
    let wordsPerPage: Int
    /// Kinds 0 to 3 as they are to be on the members.
    let wanted: UnsafeMutablePointer<RegionMap>
    /// Bits that are on every active member and stay there.
    let durable: UnsafeMutablePointer<RegionMap>
    /// Regions written since the last housekeeping flush started, and in the period before it.
    let unflushed: RegionMap
    let unflushedBefore: RegionMap
    /// Regions in which members in sync may differ: read only after they have been copied from one (invariant 7).
    let unreconciled: RegionMap
    /// Regions that a member in sync could not read, to be written again.
    let repair: PerMember<RegionMap>
    /// Regions in which a scrub found members to differ.
    let quarantine: RegionMap
    /// Per page: members whose copy is older than `wanted`.
    let pageNeeds: UnsafeMutablePointer<MemberSet>
    /// Per page: whether a write of it is on its way.
    let pageInFlight: UnsafeMutablePointer<Bool>
    /// Bitmap over pages: those with needs.
    let dirtyPages: RegionMap

    var pageCount: Int { Self.kindCount * pagesPerMap }

    var intents: RegionMap { wanted[Self.intentKind] }
    var intentsDurable: RegionMap { durable[Self.intentKind] }
    func behind(_ member: MemberIndex) -> RegionMap { wanted[member.number] }
    func behindDurable(_ member: MemberIndex) -> RegionMap { durable[member.number] }

    init(_ geometry: VolumeGeometry) {
        self.geometry = geometry
        regionCount = geometry.regionCount
        pagesPerMap = geometry.pagesPerMap
        wordsPerPage = geometry.bitsPerPage / 64
        let words = pagesPerMap * wordsPerPage
        func maps(_ count: Int) -> UnsafeMutablePointer<RegionMap> {
            let maps = UnsafeMutablePointer<RegionMap>.allocate(capacity: count)
            for index in 0..<count { (maps + index).initialize(to: RegionMap(wordCount: words)) }
            return maps
        }
        wanted = maps(Self.kindCount)
        durable = maps(Self.kindCount)
        repair = PerMember { _ in RegionMap(wordCount: words) }
        unflushed = RegionMap(wordCount: words)
        unflushedBefore = RegionMap(wordCount: words)
        unreconciled = RegionMap(wordCount: words)
        quarantine = RegionMap(wordCount: words)
        let pages = Self.kindCount * pagesPerMap
        pageNeeds = .allocate(capacity: pages)
        pageNeeds.initialize(repeating: [], count: pages)
        pageInFlight = .allocate(capacity: pages)
        pageInFlight.initialize(repeating: false, count: pages)
        dirtyPages = RegionMap(wordCount: (pages + 63) / 64)
    }

    func free() {
        for kind in 0..<Self.kindCount {
            wanted[kind].free()
            durable[kind].free()
        }
        for member in MemberSet.all { repair[member].free() }
        wanted.deallocate()
        durable.deallocate()
        unflushed.free()
        unflushedBefore.free()
        unreconciled.free()
        quarantine.free()
        pageNeeds.deallocate()
        pageInFlight.deallocate()
        dirtyPages.free()
    }

    @inline(__always)
    func page(kind: Int, region: Int) -> Int { kind * pagesPerMap + (region >> 6) / wordsPerPage }

    /// The words of a page in `map`, which is of the page's kind.
    func words(_ map: RegionMap, page: Int) -> UnsafeMutableBufferPointer<UInt64> {
        UnsafeMutableBufferPointer(start: map.words + page % pagesPerMap * wordsPerPage, count: wordsPerPage)
    }
}
