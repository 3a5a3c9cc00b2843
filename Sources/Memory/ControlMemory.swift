import Base
import FabricInterface

/// Slots of one size in one registered mapping: command capsules, completions. A slot begins at a cache line.
///
/// Used by one thread at a time; nothing is allocated after `init`. The slot given back last is taken first.
public struct ControlMemory: ~Copyable {
    public let arena: RegisteredArena
    /// Bytes of a slot: what was asked for, rounded up to whole cache lines.
    public let slotBytes: Int
    public let count: Int
    private let base: UnsafeMutableRawPointer
    private let free: UnsafeMutablePointer<UInt32>
    private let freeCount: UnsafeMutablePointer<Int>

    /// Maps `count` slots of at least `slotBytes` bytes. Throws if there is no memory for them.
    public init(slotBytes: Int, count: Int) throws(TercetError) {
        invariant(slotBytes > 0 && count > 0 && count < Int(UInt32.max), "control memory has slots")
        let rounded = (slotBytes + 63) & ~63
        arena = try RegisteredArena(bytes: rounded * count)
        self.slotBytes = rounded
        self.count = count
        base = arena.memory.baseAddress!
        free = .allocate(capacity: count)
        for index in 0..<count { (free + index).initialize(to: UInt32(count - 1 - index)) }
        freeCount = .allocate(capacity: 1)
        freeCount.initialize(to: count)
    }

    deinit {
        free.deallocate()
        freeCount.deallocate()
    }

    /// Slots that are not taken.
    public var available: Int { freeCount.pointee }

    /// The memory of a slot.
    @inline(__always)
    public subscript(slot: UInt32) -> UnsafeMutableRawPointer {
        invariant(Int(slot) < count, "a slot is within its memory")
        return base + Int(slot) * slotBytes
    }

    /// Takes a slot, or returns `nil` when all are taken. Its contents are those that it was left with.
    public func take() -> UInt32? {
        let left = freeCount.pointee
        if left == 0 { return nil }
        freeCount.pointee = left - 1
        return free[left - 1]
    }

    /// Gives a slot back.
    public func give(_ slot: UInt32) {
        let left = freeCount.pointee
        invariant(left < count && Int(slot) < count, "a slot is given back once")
        free[left] = slot
        freeCount.pointee = left + 1
    }
}
