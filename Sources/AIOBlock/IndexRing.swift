import Base

/// A queue of slot indexes with a fixed number of places.
struct IndexRing: ~Copyable {
    private let places: UnsafeMutablePointer<OperationIndex>
    private let capacity: Int
    private var head = 0
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        places = .allocate(capacity: capacity)
    }

    deinit { places.deallocate() }

    mutating func append(_ index: OperationIndex) {
        invariant(count < capacity, "each slot is in the queue once")
        let end = head + count
        places[end < capacity ? end : end - capacity] = index
        count += 1
    }

    mutating func popFirst() -> OperationIndex? {
        guard count > 0 else { return nil }
        let index = places[head]
        head = head + 1 == capacity ? 0 : head + 1
        count -= 1
        return index
    }

    /// Takes an index out of the middle; false when it is not there.
    mutating func remove(_ index: OperationIndex) -> Bool {
        var found = false
        for _ in 0..<count {
            guard let next = popFirst() else { break }
            if next == index { found = true } else { append(next) }
        }
        return found
    }
}
