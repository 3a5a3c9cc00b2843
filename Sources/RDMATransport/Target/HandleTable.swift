import Base
import FabricInterface

/// Slots by the handle that a fabric numbers queue pairs with, densely. Nothing is allocated after `init`.
struct HandleTable<Index: SlotIndex>: ~Copyable {
    private let slots: UnsafeMutablePointer<Index>
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: .none, count: capacity)
    }

    deinit { slots.deallocate() }

    /// The slot of a queue pair; `none` for one that is not known, or no longer.
    subscript(handle: QueuePairHandle) -> Index {
        @inline(__always) get { Int(handle.index) < capacity ? slots[Int(handle.index)] : .none }
        nonmutating set {
            invariant(Int(handle.index) < capacity, "a fabric numbers its queue pairs densely")
            slots[Int(handle.index)] = newValue
        }
    }
}
