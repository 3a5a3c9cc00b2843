/// The units that a load reads and writes: which comes next, which are in use, and how often each was written.
struct LoadUnits {
    let count: UInt64
    private let isRandom: Bool
    /// Writes to each unit, 0 where its content is not known; `nil` where a unit may be used several times at once.
    private let versions: UnsafeMutablePointer<UInt32>?
    private var cursor: UInt64 = 0
    private var random: BenchRandom

    /// Marks a unit in use.
    private static let busy: UInt32 = 1 << 31
    /// Units that are looked at for one that is not in use.
    private static let attempts = 8

    /// - Parameter tracked: no unit is used twice at once, and its writes are counted.
    init(_ count: UInt64, isRandom: Bool, tracked: Bool, seed: UInt64) {
        self.count = count
        self.isRandom = isRandom
        random = BenchRandom(seed: seed)
        versions = tracked ? .allocate(capacity: Int(count)) : nil
        versions?.initialize(repeating: 0, count: Int(count))
    }

    func deallocate() { versions?.deallocate() }

    /// Whether the next I/O is one of so many in a hundred.
    mutating func chance(_ percentage: UInt64) -> Bool { random.next(below: 100) < percentage }

    /// The next unit that nothing is under way on; `nil` where none was found.
    mutating func next() -> UInt64? {
        for _ in 0..<Self.attempts {
            let unit = isRandom ? random.next(below: count) : cursor
            if !isRandom { cursor = cursor + 1 == count ? 0 : cursor + 1 }
            if !isBusy(unit) { return unit }
        }
        return nil
    }

    // MARK: Reading back

    mutating func startReadingBack() { cursor = 0 }

    var isReadBack: Bool { cursor >= count }

    /// The next unit that was written, in order; `nil` at the end, and while something is under way on it.
    mutating func nextWritten() -> UInt64? {
        while cursor < count, !isBusy(cursor) {
            cursor += 1
            if version(cursor - 1) != 0 { return cursor - 1 }
        }
        return nil
    }

    // MARK: One unit

    private func isBusy(_ unit: UInt64) -> Bool { (versions?[Int(unit)] ?? 0) & Self.busy != 0 }

    /// Writes to a unit so far.
    func version(_ unit: UInt64) -> UInt32 { (versions?[Int(unit)] ?? 0) & ~Self.busy }

    func use(_ unit: UInt64) { versions?[Int(unit)] |= Self.busy }

    /// Nothing is under way on a unit any more.
    func leave(_ unit: UInt64, version: UInt32) { versions?[Int(unit)] = version & ~Self.busy }
}
