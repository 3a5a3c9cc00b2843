import Base

/// The bitmaps read from one member. A trivial value; its owner frees it.
struct FoundMaps: BitwiseCopyable {
    let geometry: VolumeGeometry
    let intents: RegionMap
    /// By member; the one of the member itself stays empty.
    let behind: (RegionMap, RegionMap, RegionMap)

    init(_ geometry: VolumeGeometry) {
        self.geometry = geometry
        let words = geometry.pagesPerMap * geometry.bitsPerPage / 64
        intents = RegionMap(wordCount: words)
        behind = (RegionMap(wordCount: words), RegionMap(wordCount: words), RegionMap(wordCount: words))
    }

    func behind(_ member: MemberIndex) -> RegionMap {
        switch member {
        case 0: behind.0
        case 1: behind.1
        default: behind.2
        }
    }

    func map(kind: Int) -> RegionMap { kind == BitmapPage.inFlightKind ? intents : behind(kind) }

    func free() {
        intents.free()
        behind.0.free()
        behind.1.free()
        behind.2.free()
    }
}
