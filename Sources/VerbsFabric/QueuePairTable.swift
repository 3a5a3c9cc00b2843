import Base
import CVerbs

/// One queue pair of a context. A slot without `queuePair` is free.
package struct QueuePairSlot: BitwiseCopyable {
    package var queuePair: UnsafeMutablePointer<ibv_qp>?
    package var number: UInt32
    package var inlineDataLimit: UInt32
}

/// The queue pairs of a context by handle, and their handles by the number that completions carry.
///
/// An open-addressed table in raw memory with linear probing, at most half full: one or two cache lines per completion,
/// no reference counting. Numbers are spread by a multiplication, as devices hand them out in sequence or in strides.
package struct QueuePairTable: ~Copyable {
    package private(set) var slots: UnsafeMutablePointer<QueuePairSlot>
    package private(set) var capacity: Int
    package private(set) var count = 0
    private var free: [UInt32]

    /// Queue pair number in the lower half, slot index in the upper; `vacant` if empty.
    private var buckets: UnsafeMutablePointer<UInt64>
    private var bucketMask: Int
    private static let vacant = UInt64.max

    package init(capacity: Int) {
        self.capacity = max(capacity, 1)
        slots = .allocate(capacity: self.capacity)
        slots.initialize(repeating: QueuePairSlot(queuePair: nil, number: 0, inlineDataLimit: 0), count: self.capacity)
        free = (0..<UInt32(self.capacity)).reversed()
        let bucketCount = Self.bucketCount(for: self.capacity)
        bucketMask = bucketCount - 1
        buckets = .allocate(capacity: bucketCount)
        buckets.initialize(repeating: Self.vacant, count: bucketCount)
    }

    deinit {
        slots.deallocate()
        buckets.deallocate()
    }

    private static func bucketCount(for capacity: Int) -> Int {
        var result = 8
        while result < capacity * 2 { result *= 2 }
        return result
    }

    private func bucket(of number: UInt32) -> Int { Int((number &* 0x9E37_79B1) >> 7) & bucketMask }

    /// The slot index of the live queue pair with this number, or `nil`.
    @inline(__always)
    package func index(ofNumber number: UInt32) -> UInt32? {
        var position = bucket(of: number)
        while true {
            let entry = buckets[position]
            if entry == Self.vacant { return nil }
            if UInt32(truncatingIfNeeded: entry) == number { return UInt32(truncatingIfNeeded: entry >> 32) }
            position = (position + 1) & bucketMask
        }
    }

    /// Adds a queue pair and returns its slot index. Grows when full; for the control path.
    package mutating func insert(_ queuePair: UnsafeMutablePointer<ibv_qp>, inlineDataLimit: UInt32) -> UInt32 {
        if free.isEmpty { grow() }
        let index = free.removeLast()
        let number = queuePair.pointee.qp_num
        slots[Int(index)] = QueuePairSlot(queuePair: queuePair, number: number, inlineDataLimit: inlineDataLimit)
        enter(number, index)
        count += 1
        return index
    }

    /// Removes the queue pair of a slot; the index may be used again.
    package mutating func remove(_ index: UInt32) {
        invariant(slots[Int(index)].queuePair != nil, "a queue pair is removed once")
        withdraw(slots[Int(index)].number)
        slots[Int(index)].queuePair = nil
        free.append(index)
        count -= 1
    }

    private func enter(_ number: UInt32, _ index: UInt32) {
        var position = bucket(of: number)
        while buckets[position] != Self.vacant { position = (position + 1) & bucketMask }
        buckets[position] = UInt64(index) << 32 | UInt64(number)
    }

    /// Takes a number out and moves later entries of its probe sequence up, so that no tombstone stays behind.
    private func withdraw(_ number: UInt32) {
        var hole = bucket(of: number)
        while UInt32(truncatingIfNeeded: buckets[hole]) != number || buckets[hole] == Self.vacant {
            invariant(buckets[hole] != Self.vacant, "a live queue pair is in the table")
            hole = (hole + 1) & bucketMask
        }
        var position = hole
        while true {
            position = (position + 1) & bucketMask
            let entry = buckets[position]
            if entry == Self.vacant { break }
            let home = bucket(of: UInt32(truncatingIfNeeded: entry))
            // Stays where it is reachable from its home without passing the hole.
            let reachable = ((position - home) & bucketMask) < ((position - hole) & bucketMask)
            if !reachable {
                buckets[hole] = entry
                hole = position
            }
        }
        buckets[hole] = Self.vacant
    }

    private mutating func grow() {
        let larger = capacity * 2
        let moved = UnsafeMutablePointer<QueuePairSlot>.allocate(capacity: larger)
        moved.update(from: slots, count: capacity)
        (moved + capacity).initialize(
            repeating: QueuePairSlot(queuePair: nil, number: 0, inlineDataLimit: 0), count: larger - capacity)
        slots.deallocate()
        slots = moved
        free.append(contentsOf: (UInt32(capacity)..<UInt32(larger)).reversed())
        let old = capacity
        capacity = larger
        buckets.deallocate()
        let bucketCount = Self.bucketCount(for: larger)
        bucketMask = bucketCount - 1
        buckets = .allocate(capacity: bucketCount)
        buckets.initialize(repeating: Self.vacant, count: bucketCount)
        for index in 0..<old where slots[index].queuePair != nil { enter(slots[index].number, UInt32(index)) }
    }
}
