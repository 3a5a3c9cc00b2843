import Base

/// The bitmaps read from one member. A trivial value; its owner frees it.
struct FoundMaps: BitwiseCopyable {
    let geometry: VolumeGeometry
    private let inFlight: RegionMap
    /// By member; the one of the member itself stays empty.
    private let lacking: PerMember<RegionMap>

    init(_ geometry: VolumeGeometry) {
        self.geometry = geometry
        let words = geometry.pagesPerMap * geometry.bitsPerPage / 64
        inFlight = RegionMap(wordCount: words)
        lacking = PerMember { _ in RegionMap(wordCount: words) }
    }

    func free() {
        inFlight.free()
        for member in MemberSet.all { lacking[member].free() }
    }

    var intents: RegionBits { inFlight.bits }
    func behind(_ member: MemberIndex) -> RegionBits { lacking[member].bits }

    private func map(_ kind: Int) -> RegionMap {
        MapKind(number: kind).member.map { lacking[$0] } ?? inFlight
    }

    /// Takes over a page that was read.
    func take(_ page: UnsafeMutableRawBufferPointer, kind: Int, number: Int) {
        let wordsPerPage = geometry.bitsPerPage / 64
        let words = map(kind).words + number * wordsPerPage
        for word in 0..<wordsPerPage {
            words[word] = UInt64(
                littleEndian: page.load(fromByteOffset: BitmapPage.headerSize + word * 8, as: UInt64.self))
        }
    }

    /// A page cannot be read, or is not what it should be: all its regions may be anything.
    func takeAsDirty(kind: Int, number: Int) {
        let first = number * geometry.bitsPerPage
        for region in first..<min(first + geometry.bitsPerPage, geometry.regionCount) {
            map(kind)[RegionIndex(region)] = true
        }
    }
}
