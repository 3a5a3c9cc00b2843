import Base

/// The bitmaps read from one member. A trivial value; its owner frees it.
struct FoundMaps: BitwiseCopyable {
    let geometry: VolumeGeometry
    let intents: RegionMap
    /// By member; the one of the member itself stays empty.
    private let behind: PerMember<RegionMap>

    init(_ geometry: VolumeGeometry) {
        self.geometry = geometry
        let words = geometry.pagesPerMap * geometry.bitsPerPage / 64
        intents = RegionMap(wordCount: words)
        behind = PerMember { _ in RegionMap(wordCount: words) }
    }

    func behind(_ member: MemberIndex) -> RegionMap {
        behind[member]
    }

    func map(kind: Int) -> RegionMap { kind == BitmapPage.inFlightKind ? intents : behind[MemberIndex(kind)] }

    func free() {
        intents.free()
        for member in MemberSet.all { behind[member].free() }
    }
}
