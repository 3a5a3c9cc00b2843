import Base

/// A bit per region, in raw words. A trivial value: whoever makes it frees it.
struct RegionMap: BitwiseCopyable {
    let words: UnsafeMutablePointer<UInt64>
    let wordCount: Int

    init(wordCount: Int) {
        self.wordCount = wordCount
        words = .allocate(capacity: wordCount)
        words.initialize(repeating: 0, count: wordCount)
    }

    func free() { words.deallocate() }

    @inline(__always)
    subscript(region: Int) -> Bool {
        get { words[region >> 6] >> UInt64(region & 63) & 1 == 1 }
        nonmutating set {
            let bit: UInt64 = 1 << UInt64(region & 63)
            if newValue { words[region >> 6] |= bit } else { words[region >> 6] &= ~bit }
        }
    }

    /// True where all of `regions` are set.
    @inline(__always)
    func hasAll(_ regions: ClosedRange<Int>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if !self[region] { return false }
            region += 1
        }
        return true
    }

    @inline(__always)
    func hasAny(_ regions: ClosedRange<Int>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if self[region] { return true }
            region += 1
        }
        return false
    }

    func clear() { words.update(repeating: 0, count: wordCount) }

    func copy(from other: RegionMap) { words.update(from: other.words, count: wordCount) }

    func formUnion(_ other: RegionMap) { for index in 0..<wordCount { words[index] |= other.words[index] } }

    /// Sets the bits of the first `count` regions.
    func setAll(count: Int) { for region in 0..<count { self[region] = true } }

    var isEmpty: Bool {
        for index in 0..<wordCount where words[index] != 0 { return false }
        return true
    }

    /// Regions that are set.
    var count: Int {
        var sum = 0
        for index in 0..<wordCount { sum += words[index].nonzeroBitCount }
        return sum
    }
}
