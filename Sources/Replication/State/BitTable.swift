import Base

/// A bit per index, in raw words. A trivial value: its maker frees it.
struct BitTable<Index: SlotIndex>: BitwiseCopyable {
    let words: UnsafeMutablePointer<UInt64>
    let wordCount: Int

    init(wordCount: Int) {
        self.wordCount = wordCount
        words = .allocate(capacity: wordCount)
        words.initialize(repeating: 0, count: wordCount)
    }

    func free() { words.deallocate() }

    /// The same bits, for looking at only.
    @inline(__always) var bits: BitView<Index> { BitView(table: self) }

    @inline(__always)
    subscript(index: Index) -> Bool {
        get { words[index.offset >> 6] >> UInt64(index.offset & 63) & 1 == 1 }
        nonmutating set {
            let bit: UInt64 = 1 << UInt64(index.offset & 63)
            if newValue { words[index.offset >> 6] |= bit } else { words[index.offset >> 6] &= ~bit }
        }
    }

    func clear() { words.update(repeating: 0, count: wordCount) }

    /// Takes over the bits of a table of the same size.
    func copy(from other: BitView<Index>) { for word in 0..<wordCount { words[word] = other.word(word) } }

    /// Adds bits, as far as they have room.
    func add(_ other: BitView<Index>) {
        for word in 0..<min(wordCount, other.wordCount) { words[word] |= other.word(word) }
    }

    /// Sets the bits of the first indices.
    func setAll(count: Int) {
        let whole = count >> 6
        words.update(repeating: .max, count: whole)
        if whole < wordCount { words[whole] |= Self.mask(count) }
    }

    /// Clears the bits from a place on: those beyond the last index are nobody's.
    func truncate(to count: Int) {
        let whole = count >> 6
        guard whole < wordCount else { return }
        words[whole] &= Self.mask(count)
        (words + whole + 1).update(repeating: 0, count: wordCount - whole - 1)
    }

    /// The bits of the last word of so many indices, where they do not fill it.
    private static func mask(_ count: Int) -> UInt64 { 1 << UInt64(count & 63) - 1 }
}

/// The bits of a `BitTable`, for looking at only: they change when its owner changes them.
struct BitView<Index: SlotIndex>: BitwiseCopyable {
    private let table: BitTable<Index>

    fileprivate init(table: BitTable<Index>) { self.table = table }

    @inline(__always) var wordCount: Int { table.wordCount }
    @inline(__always) func word(_ index: Int) -> UInt64 { table.words[index] }
    @inline(__always) subscript(index: Index) -> Bool { table[index] }

    /// The index that a bit of a word stands for.
    @inline(__always)
    static func index(word: Int, bit: Int) -> Index { Index(position: UInt32(truncatingIfNeeded: word * 64 + bit)) }

    var isEmpty: Bool {
        for index in 0..<table.wordCount where table.words[index] != 0 { return false }
        return true
    }

    /// The first index that is set.
    var first: Index? {
        for index in 0..<table.wordCount where table.words[index] != 0 {
            return Self.index(word: index, bit: table.words[index].trailingZeroBitCount)
        }
        return nil
    }

    /// Indices that are set.
    var count: Int {
        var sum = 0
        for index in 0..<table.wordCount { sum += table.words[index].nonzeroBitCount }
        return sum
    }
}
