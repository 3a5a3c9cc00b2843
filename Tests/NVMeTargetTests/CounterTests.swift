import NVMeTarget
import Testing

/// Latency buckets, from their definition: four for each power of two.
@Suite struct CounterTests {
    @Test func bucketsFollowEachOther() {
        let bounds = LatencyCounts.upperNanoseconds
        #expect(bounds.count == 96)
        // A microsecond and a quarter, 1.5, 1.75, 2, and so on to 17 seconds.
        #expect(bounds[..<5] == [1279, 1535, 1791, 2047, 2559])
        #expect(bounds.last == 17_179_869_183)
        #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 })
    }
}
