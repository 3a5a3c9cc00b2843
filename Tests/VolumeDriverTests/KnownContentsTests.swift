import BlockInterface
import Testing

@testable import VolumeDriver

/// Knowledge of a volume's contents, in regions of 64 KiB.
@Suite struct KnownContentsTests {
    private static let region: UInt64 = 64 << 10
    private final class Channel {}
    private let channel = Channel()

    private func request(_ operation: BlockOperation, _ regions: Range<UInt64>, cut: UInt64 = 0) -> BlockRequest {
        BlockRequest(
            tag: 0, operation: operation, offset: regions.lowerBound * Self.region,
            length: UInt64(regions.count) * Self.region - cut)
    }

    private func contents(isBlank: Bool = false, isChanged: Bool = false, regions: UInt64 = 1000) -> KnownContents {
        KnownContents(
            byteCount: regions * Self.region, regionSize: UInt32(Self.region), isBlank: isBlank, isChanged: isChanged)
    }

    private func write(_ known: KnownContents, _ regions: Range<UInt64>) { known.begin(request(.write, regions)) }

    private func zero(
        _ known: KnownContents, _ regions: Range<UInt64>, cut: UInt64 = 0, isContended: Bool = false,
        isDone: Bool = true,
        meanwhile: () -> Void = {}
    ) {
        let request = request(.writeZeroes, regions, cut: cut)
        known.begin(request)
        known.beginZeroing(request, tag: 7, owner: ObjectIdentifier(channel), isContended: isContended)
        meanwhile()
        known.endZeroing(tag: 7, owner: ObjectIdentifier(channel), isDone: isDone)
    }

    /// The extents of all of it: how many regions, and whether zero and changed.
    private func map(_ known: KnownContents) -> [String] {
        var extents: [String] = []
        var offset: UInt64 = 0
        let end = UInt64(known.regionCount) * Self.region
        while offset < end {
            let extent = known.extent(at: offset, length: end - offset)
            extents.append(
                "\(Double(extent.length) / Double(Self.region)) \(extent.isZero ? "zero" : "data")\(extent.isChanged ? " changed" : "")"
            )
            offset += extent.length
        }
        return extents
    }

    @Test func aBlankVolumeIsZeroUntilItIsWritten() {
        let known = contents(isBlank: true)
        #expect(map(known) == ["1000.0 zero"])
        write(known, 130..<131)
        #expect(map(known) == ["130.0 zero", "1.0 data changed", "869.0 zero"])
    }

    @Test func ofAWrittenVolumeNothingIsKnownAtFirst() {
        #expect(map(contents(isChanged: true)) == ["1000.0 data changed"])
        #expect(map(contents()) == ["1000.0 data"])
    }

    @Test func wholeRegionsBecomeZero() {
        let known = contents()
        zero(known, 10..<20)
        #expect(map(known) == ["10.0 data", "10.0 zero changed", "980.0 data"])
        zero(known, 30..<40, cut: 512)
        #expect(map(known)[3...] == ["9.0 zero changed", "1.0 data changed", "960.0 data"])
        write(known, 12..<13)
        #expect(map(known)[..<4] == ["10.0 data", "2.0 zero changed", "1.0 data changed", "7.0 zero changed"])
    }

    /// Nobody knows which came last.
    @Test func aRangeThatIsWrittenMeanwhileHoldsData() {
        for known in [contents(), contents(isBlank: true)] {
            zero(known, 0..<100) { write(known, 50..<51) }
            let extent = known.extent(at: 50 * Self.region, length: Self.region)
            #expect(!extent.isZero && extent.isChanged)
        }
        let known = contents()
        zero(known, 0..<100, isContended: true)
        #expect(map(known) == ["100.0 data changed", "900.0 data"])
        zero(known, 0..<100, isDone: false)
        #expect(map(known) == ["100.0 data changed", "900.0 data"])
        zero(known, 0..<100) { write(known, 100..<101) }
        #expect(map(known) == ["100.0 zero changed", "1.0 data changed", "899.0 data"])
    }

    @Test func anExtentBeginsWhereItIsAskedFor() {
        let known = contents(isBlank: true)
        let extent = known.extent(at: 100, length: 5000)
        #expect(extent == BlockExtent(length: 5000, isZero: true, isHole: true, isChanged: false))
        write(known, 1..<2)
        #expect(known.extent(at: 100, length: 1 << 30).length == Self.region - 100)
    }

    @Test func ofAGrownPartNothingIsKnown() {
        let known = contents(isBlank: true, regions: 100)
        let grown = known.grown(to: 200 * Self.region)
        #expect(map(grown) == ["99.0 zero", "101.0 data changed"])
    }

    /// The knowledge of a volume whose regions are many is told in parts: each question looks at so much.
    @Test func aQuestionLooksAtSoMuch() {
        let known = contents(isBlank: true, regions: 1 << 20)
        let extent = known.extent(at: 0, length: (1 << 20) * Self.region)
        #expect(extent.isZero && extent.length == 64 * 4096 * Self.region)
    }
}
