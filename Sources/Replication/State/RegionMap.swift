import Base

/// A bit per region, in raw words. A trivial value: its maker frees it.
struct RegionMap: BitwiseCopyable {
    let words: UnsafeMutablePointer<UInt64>
    let wordCount: Int

    init(wordCount: Int) {
        self.wordCount = wordCount
        words = .allocate(capacity: wordCount)
        words.initialize(repeating: 0, count: wordCount)
    }

    func free() { words.deallocate() }

    /// The same bits, for looking at only.
    @inline(__always) var bits: RegionBits { RegionBits(map: self) }

    @inline(__always)
    subscript(region: Int) -> Bool {
        get { words[region >> 6] >> UInt64(region & 63) & 1 == 1 }
        nonmutating set {
            let bit: UInt64 = 1 << UInt64(region & 63)
            if newValue { words[region >> 6] |= bit } else { words[region >> 6] &= ~bit }
        }
    }

    func clear() { words.update(repeating: 0, count: wordCount) }

    /// Takes over the bits of a map of the same size.
    func copy(from other: RegionBits) { for word in 0..<wordCount { words[word] = other.word(word) } }

    /// Adds bits, as far as they have room.
    func add(_ other: RegionBits) {
        for word in 0..<min(wordCount, other.wordCount) { words[word] |= other.word(word) }
    }

    func setAll(count: Int) { for region in 0..<count { self[region] = true } }

    /// Clears the bits from a region on: those beyond the volume's last region are nobody's.
    func truncate(to count: Int) { for region in count..<wordCount * 64 { self[region] = false } }
}

/// The bits of a `RegionMap`, for looking at only: they change when its owner changes them.
struct RegionBits: BitwiseCopyable {
    private let map: RegionMap

    fileprivate init(map: RegionMap) { self.map = map }

    @inline(__always) var wordCount: Int { map.wordCount }
    @inline(__always) func word(_ index: Int) -> UInt64 { map.words[index] }
    @inline(__always) subscript(region: Int) -> Bool { map[region] }

    /// True where all of `regions` are set.
    @inline(__always)
    func hasAll(_ regions: ClosedRange<Int>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if !map[region] { return false }
            region += 1
        }
        return true
    }

    @inline(__always)
    func hasAny(_ regions: ClosedRange<Int>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if map[region] { return true }
            region += 1
        }
        return false
    }

    var isEmpty: Bool {
        for index in 0..<map.wordCount where map.words[index] != 0 { return false }
        return true
    }

    /// The first region that is set.
    var first: Int? {
        for index in 0..<map.wordCount where map.words[index] != 0 {
            return index * 64 + map.words[index].trailingZeroBitCount
        }
        return nil
    }

    /// Regions that are set.
    var count: Int {
        var sum = 0
        for index in 0..<map.wordCount { sum += map.words[index].nonzeroBitCount }
        return sum
    }
}
