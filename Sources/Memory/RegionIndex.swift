import Base

/// Address ranges with a number each, sorted by their start, in raw memory of fixed size. Ranges may overlap.
struct RegionIndex: ~Copyable {
    private struct Item: BitwiseCopyable {
        var start: UInt
        var end: UInt
        var number: UInt32
    }

    private let items: UnsafeMutablePointer<Item>
    private let capacity: Int
    private(set) var count = 0
    /// No range is longer. Bounds how far before an address a range may begin that reaches it.
    private var longest: UInt = 0
    /// How many ranges `containing` looks at. Those that it misses are registered again, which costs time only.
    private static let patience = 32

    init(capacity: Int) {
        self.capacity = capacity
        items = .allocate(capacity: capacity)
    }

    deinit { items.deallocate() }

    /// The first position whose start is greater.
    private func position(after start: UInt) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].start <= start { low = middle + 1 } else { high = middle }
        }
        return low
    }

    mutating func insert(_ range: Range<UInt>, _ number: UInt32) {
        invariant(count < capacity, "an index has room for all entries")
        let position = position(after: range.lowerBound)
        (items + position + 1).update(from: items + position, count: count - position)
        (items + position).initialize(to: Item(start: range.lowerBound, end: range.upperBound, number: number))
        count += 1
        longest = max(longest, UInt(range.count))
    }

    mutating func remove(_ range: Range<UInt>, _ number: UInt32) {
        var position = position(after: range.lowerBound) - 1
        while position >= 0 && items[position].start == range.lowerBound && items[position].number != number {
            position -= 1
        }
        invariant(position >= 0 && items[position].number == number, "an indexed range is removed once")
        remove(at: position)
    }

    private mutating func remove(at position: Int) {
        count -= 1
        (items + position).update(from: items + position + 1, count: count - position)
        if count == 0 { longest = 0 }
    }

    /// The number of a range that contains `range`, or `nil`.
    func containing(_ range: Range<UInt>) -> UInt32? {
        var position = position(after: range.lowerBound) - 1
        var left = Self.patience
        while position >= 0, left > 0, range.upperBound - items[position].start <= longest {
            if items[position].end >= range.upperBound { return items[position].number }
            position -= 1
            left -= 1
        }
        return nil
    }

    /// Whether a range overlaps `range`.
    func overlaps(_ range: Range<UInt>) -> Bool {
        var position = position(after: range.upperBound - 1) - 1
        while position >= 0 && reaches(position, range.lowerBound) {
            if items[position].end > range.lowerBound { return true }
            position -= 1
        }
        return false
    }

    /// Takes the ranges out that overlap `range` (or lie within it), one by one.
    mutating func removeAll(overlapping range: Range<UInt>, onlyContained: Bool = false, _ body: (UInt32) -> Void) {
        var position = position(after: range.upperBound - 1) - 1
        while position >= 0 && reaches(position, range.lowerBound) {
            let item = items[position]
            let matches =
                onlyContained
                ? item.start >= range.lowerBound && item.end <= range.upperBound : item.end > range.lowerBound
            if matches {
                remove(at: position)
                body(item.number)
            }
            position -= 1
        }
    }

    /// Whether a range that begins where this one does could reach beyond `address`.
    private func reaches(_ position: Int, _ address: UInt) -> Bool {
        items[position].start >= address || address - items[position].start < longest
    }
}
