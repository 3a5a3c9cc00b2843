/// A fixed number of slots in one block of memory, named by an index type of their own, with a LIFO free list: the slot
/// freed last is taken first, while it is still in the processor's cache. Nothing is allocated after `init`.
///
/// A slot is read and changed in place, `table[index].field = value`, through a table that is itself only read: two slots
/// can be at work at once. One thread at a time uses a table. Indices come from `take` or `index(at:)`; that they are within
/// the table is checked there, and at each use in debug builds only.
public struct SlotTable<Index: SlotIndex, Element: BitwiseCopyable>: ~Copyable {
    @usableFromInline let slots: UnsafeMutablePointer<Element>
    public let capacity: Int
    @usableFromInline let free: UnsafeMutablePointer<UInt32>
    @usableFromInline var freeCount: Int
    @usableFromInline var used = 0

    /// Allocates `capacity` slots, each a copy of `initial`.
    public init(capacity: Int, initial: Element) {
        invariant(capacity > 0 && capacity < Int(UInt32.max), "a slot table has between 1 and 2^32 - 1 slots")
        self.capacity = capacity
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: initial, count: capacity)
        free = .allocate(capacity: capacity)
        for position in 0..<capacity { free[position] = UInt32(capacity - 1 - position) }
        freeCount = capacity
    }

    deinit {
        slots.deallocate()
        free.deallocate()
    }

    /// Slots that are not taken.
    @inlinable public var available: Int { freeCount }

    /// The slots that have ever been taken, in the order of their places.
    @inlinable public var usedIndices: SlotIndices<Index> { SlotIndices(count: UInt32(used)) }

    /// Takes a slot, or returns `nil` when all are taken. Its contents are those that it had when it was given back.
    @inlinable
    @inline(__always)
    public mutating func take() -> Index? {
        guard freeCount > 0 else { return nil }
        freeCount -= 1
        let position = free[freeCount]
        used = max(used, Int(position) + 1)
        return Index(position: position)
    }

    /// Gives a slot back.
    @inlinable
    public mutating func give(_ index: Index) {
        invariant(freeCount < capacity && index.offset < capacity, "a slot is given back once")
        free[freeCount] = index.position
        freeCount += 1
    }

    /// The index of the slot at a place that a number names; traps when the table has no such place.
    @inlinable @inline(__always)
    public func index(at position: UInt32) -> Index {
        invariant(Int(position) < capacity, "a slot index is within its table")
        return Index(position: position)
    }

    @inlinable @inline(__always)
    public subscript(index: Index) -> Element {
        unsafeAddress {
            assert(index.offset < capacity, "a slot index is within its table")
            return UnsafePointer(slots + index.offset)
        }
        nonmutating unsafeMutableAddress {
            assert(index.offset < capacity, "a slot index is within its table")
            return slots + index.offset
        }
    }
}

/// The first so many indices of a table.
public struct SlotIndices<Index: SlotIndex>: Sequence, IteratorProtocol {
    @usableFromInline var position: UInt32 = 0
    @usableFromInline let count: UInt32

    @inlinable
    public init(count: UInt32) { self.count = count }

    @inlinable
    public mutating func next() -> Index? {
        guard position < count else { return nil }
        defer { position += 1 }
        return Index(position: position)
    }
}
