/// The places in a volume that a world's I/O goes to: its beginning and, behind a gap that nobody writes, its end.
///
/// With a gap the volume's bitmaps have several pages, and the world costs little more than one without.
struct BlockPlaces {
    /// Blocks before the gap.
    var low = Int.max
    /// Blocks of the gap.
    var gap = 0

    /// The volume's logical block of a block of the history.
    func address(of block: Int) -> Int { block < low ? block : block + gap }

    /// As many blocks of `count` from `block` on as lie next to each other in the volume.
    func adjoining(_ block: Int, count: Int) -> Int { block < low ? min(count, low - block) : count }

    /// The blocks of the history in a volume of so many logical blocks.
    func count(in dataBlocks: UInt64) -> Int { Int(dataBlocks) - gap }

    /// Logical blocks that may have been written, of a volume that has so many.
    func written(in dataBlocks: UInt64) -> [Range<UInt64>] {
        gap == 0 ? [0..<dataBlocks] : [0..<UInt64(low), UInt64(low + gap)..<dataBlocks]
    }
}
