/// A fixed number of slots in one block of memory, with a LIFO free list: the slot freed last is taken first, while it
/// is still in the processor's cache. Nothing is allocated after `init`.
public struct SlotPool<Slot: BitwiseCopyable>: ~Copyable {
    /// The slots; index them with what `take` returned.
    public let slots: UnsafeMutablePointer<Slot>
    public let capacity: Int
    @usableFromInline let free: UnsafeMutablePointer<UInt32>
    @usableFromInline var freeCount: Int
    @usableFromInline var used = 0

    /// Allocates `capacity` slots, each a copy of `initial`.
    public init(capacity: Int, initial: Slot) {
        invariant(capacity > 0 && capacity <= Int(UInt32.max), "a slot pool has between 1 and 2^32 slots")
        self.capacity = capacity
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: initial, count: capacity)
        free = .allocate(capacity: capacity)
        for index in 0..<capacity { free[index] = UInt32(capacity - 1 - index) }
        freeCount = capacity
    }

    deinit {
        slots.deallocate()
        free.deallocate()
    }

    /// No slot from here on has ever been taken.
    @inlinable public var usedCount: Int { used }

    /// Slots that are not taken.
    @inlinable public var available: Int { freeCount }

    /// Takes a slot, or returns `nil` when all are taken. Its contents are those that it had when it was given back.
    @inlinable
    public mutating func take() -> UInt32? {
        guard freeCount > 0 else { return nil }
        freeCount -= 1
        let index = free[freeCount]
        used = max(used, Int(index) + 1)
        return index
    }

    /// Gives a slot back.
    @inlinable
    public mutating func give(_ index: UInt32) {
        invariant(freeCount < capacity && Int(index) < capacity, "a slot is given back once")
        free[freeCount] = index
        freeCount += 1
    }

    @inlinable
    public subscript(index: UInt32) -> UnsafeMutablePointer<Slot> {
        invariant(Int(index) < capacity, "a slot index is within its pool")
        return slots + Int(index)
    }
}
