import Base

/// The place in the volume where regions to copy are searched next: round and round, so that none waits for ever.
struct RegionCursor: BitwiseCopyable {
    private var place: RegionIndex = 0

    /// The next region that is set in one of the first `count` maps, unless it is being copied or has just been.
    mutating func next(
        of maps: [4 of RegionBits], _ count: Int, unless table: borrowing CopyTable, _ copied: CopiedRegions
    ) -> RegionIndex? {
        let words = maps[0].wordCount
        var word = place.offset / 64
        var mask: UInt64 = ~0 << UInt64(place.offset % 64)
        for _ in 0...words {
            var bits: UInt64 = 0
            for index in 0..<count { bits |= maps[index].word(word) }
            bits &= mask
            mask = ~0
            while bits != 0 {
                let region = RegionBits.index(word: word, bit: bits.trailingZeroBitCount)
                bits &= bits - 1
                if table.isCopying(region) || copied.contains(region) { continue }
                place = region.offset + 1 < words * 64 ? region.next : 0
                return region
            }
            word += 1
            if word == words { word = 0 }
        }
        return nil
    }
}
