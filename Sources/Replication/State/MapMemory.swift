import Base

/// Which of the maps that members hold a bitmap is: what a member may lack, or what is in flight.
struct MapKind: Equatable, BitwiseCopyable {
    /// As the pages on the members number it.
    let number: Int

    init(number: Int) { self.number = number }

    /// "A write may be in flight or unflushed here."
    static var inFlight: MapKind { MapKind(number: BitmapPage.inFlightKind) }
    /// "That member may lack writes here."
    static func behind(_ member: MemberIndex) -> MapKind { MapKind(number: member.number) }

    static let count = memberCount + 1

    /// The member that may lack writes; `nil` for what is in flight.
    var member: MemberIndex? { self == .inFlight ? nil : MemberIndex(number) }
}

/// Which of the bitmaps' pages: its kind's number times the pages of a map, and its place within the map.
struct MapPageIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
    init(_ number: Int) { position = UInt32(number) }
}

/// The memory of `RegionMaps`, for one geometry. A trivial value; its owner frees it.
struct MapMemory: BitwiseCopyable {
    let geometry: VolumeGeometry
    let regionCount: Int
    let pagesPerMap: Int
    let wordsPerPage: Int
    /// By kind: the maps as they are to be on the members.
    let wanted: UnsafeMutablePointer<RegionMap>
    /// By kind: bits that are on every active member and stay there.
    let durable: UnsafeMutablePointer<RegionMap>
    let unflushed: RegionMap
    let unflushedBefore: RegionMap
    let unreconciled: RegionMap
    let repair: PerMember<RegionMap>
    let unwritten: PerMember<RegionMap>
    let quarantine: RegionMap
    /// Per page: members whose copy is older than `wanted`.
    let pageNeeds: UnsafeMutablePointer<MemberSet>
    /// Per page: whether a write of it is on its way.
    let pageInFlight: UnsafeMutablePointer<Bool>
    /// Bitmap over pages: those with needs.
    let dirtyPages: BitTable<MapPageIndex>

    var pageCount: Int { MapKind.count * pagesPerMap }
    var allPages: some Sequence<MapPageIndex> { (0..<pageCount).lazy.map { MapPageIndex($0) } }

    /// The page of a map that has this place in it.
    @inline(__always)
    func page(_ kind: MapKind, place: Int) -> MapPageIndex { MapPageIndex(kind.number * pagesPerMap + place) }

    init(_ geometry: VolumeGeometry) {
        self.geometry = geometry
        regionCount = geometry.regionCount
        pagesPerMap = geometry.pagesPerMap
        wordsPerPage = geometry.bitsPerPage / 64
        let words = pagesPerMap * wordsPerPage
        func maps() -> UnsafeMutablePointer<RegionMap> {
            let maps = UnsafeMutablePointer<RegionMap>.allocate(capacity: MapKind.count)
            for index in 0..<MapKind.count { (maps + index).initialize(to: RegionMap(wordCount: words)) }
            return maps
        }
        wanted = maps()
        durable = maps()
        repair = PerMember { _ in RegionMap(wordCount: words) }
        unwritten = PerMember { _ in RegionMap(wordCount: words) }
        unflushed = RegionMap(wordCount: words)
        unflushedBefore = RegionMap(wordCount: words)
        unreconciled = RegionMap(wordCount: words)
        quarantine = RegionMap(wordCount: words)
        let pages = MapKind.count * pagesPerMap
        pageNeeds = .allocate(capacity: pages)
        pageNeeds.initialize(repeating: [], count: pages)
        pageInFlight = .allocate(capacity: pages)
        pageInFlight.initialize(repeating: false, count: pages)
        dirtyPages = BitTable(wordCount: (pages + 63) / 64)
    }

    func free() {
        for kind in 0..<MapKind.count {
            wanted[kind].free()
            durable[kind].free()
        }
        for member in MemberSet.all {
            repair[member].free()
            unwritten[member].free()
        }
        wanted.deallocate()
        durable.deallocate()
        for map in [unflushed, unflushedBefore, unreconciled, quarantine] { map.free() }
        dirtyPages.free()
        pageNeeds.deallocate()
        pageInFlight.deallocate()
    }
}
