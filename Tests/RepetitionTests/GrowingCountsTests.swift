import Repetition
import Testing

/// A log of the failures of devices, by looks of the test's own.
@Suite("Counts that grow")
struct GrowingCountsTests {
    /// The growth that is told of one count, by look.
    private static func told(_ counts: [UInt64]) -> [[UInt64]] {
        var growing = GrowingCounts<Int>()
        return counts.enumerated().compactMap { look, count in
            growing.look(at: count > 0 ? [0: count] : [:])[0].map { [UInt64(look), $0] }
        }
    }

    @Test("A device that goes on failing is told at once, and then once in 61 looks with what has come since")
    func intervals() {
        // Seven failures a look, from the third look on.
        let counts = (0..<200).map { look in UInt64(max(0, look - 2) * 7) }
        #expect(Self.told(counts) == [[3, 7], [64, 427], [125, 427], [186, 427]])
    }

    @Test("Nothing is told of what does not grow, however long that takes")
    func rest() {
        #expect(Self.told(Array(repeating: 5, count: 300)) == [[0, 5]])
        #expect(Self.told(Array(repeating: 5, count: 300) + [6]) == [[0, 5], [300, 1]])
    }

    @Test("A device in the place of another one is told at once")
    func anew() {
        #expect(Self.told([1000, 1000, 0, 3]) == [[0, 1000], [3, 3]])
        #expect(Self.told([1000, 1000, 3]) == [[0, 1000], [2, 3]])
    }

    @Test("Each device has intervals of its own")
    func apart() {
        var growing = GrowingCounts<String>()
        func look(_ a: UInt64, _ b: UInt64) -> [String: UInt64] {
            growing.look(at: b > 0 ? ["a": a, "b": b] : ["a": a])
        }
        #expect(look(1, 0) == ["a": 1])
        #expect(look(2, 9) == ["b": 9])
        for _ in 0..<59 { #expect(look(2, 9).isEmpty) }
        #expect(look(2, 10) == ["a": 1])
        #expect(look(2, 10) == ["b": 1])
    }
}
