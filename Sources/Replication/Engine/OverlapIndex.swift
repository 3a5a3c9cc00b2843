import Base

/// Finds the operations in flight that overlap a range, and keeps them in the order of their arrival.
///
/// An operation touches at most two regions, because a transfer is no longer than a region. It hangs in one chain per
/// region, found by a hash of the region's number. Of two that overlap, the one that arrived later counts the earlier as
/// a blocker, once, in the chain of the first region that both touch; a write conflicts with everything, copies and
/// scrubs only with writes. Nothing overtakes: an operation also waits for those that themselves wait.
///
/// A copy alone goes before what is still blocked when it comes: reads may wait for it that such a write waits for.
struct OverlapIndex: ~Copyable {
    private let buckets: UnsafeMutablePointer<Int32>
    private let mask: Int
    private let next: UnsafeMutablePointer<Int32>
    private let previous: UnsafeMutablePointer<Int32>
    private let rules: Rules
    /// Counts arrivals and unblockings.
    private var order: UInt64 = 0

    init(capacity: Int, rules: Rules) {
        var size = 64
        while size < capacity * 4 { size *= 2 }
        mask = size - 1
        buckets = .allocate(capacity: size)
        buckets.initialize(repeating: -1, count: size)
        next = .allocate(capacity: capacity * 2)
        next.initialize(repeating: -1, count: capacity * 2)
        previous = .allocate(capacity: capacity * 2)
        previous.initialize(repeating: -1, count: capacity * 2)
        self.rules = rules
    }

    deinit {
        buckets.deallocate()
        next.deallocate()
        previous.deallocate()
    }

    @inline(__always)
    private func bucket(_ region: Int) -> Int {
        Int(truncatingIfNeeded: UInt64(region) &* 0x9e37_79b9_7f4a_7c15 >> 32) & mask
    }

    @inline(__always)
    private func conflict(_ a: Operation, _ b: Operation) -> Bool {
        guard a.start < b.start + b.count, b.start < a.start + a.count else { return false }
        guard a.kind.isWrite || b.kind.isWrite else { return false }
        return rules.ordersOverlap(a, b)
    }

    /// Whether `later` waits for `earlier`, which conflicts with it and is being removed or was there first.
    @inline(__always)
    private func waits(_ later: Operation, for earlier: Operation) -> Bool {
        if later.kind == .copy { return earlier.unblockedOrder < later.arrival }
        if earlier.kind == .copy { return later.unblockedOrder > earlier.arrival }
        return later.arrival > earlier.arrival
    }

    /// Adds an operation, which counts in `blockers` those that it has to wait for.
    mutating func insert(_ index: Int32, _ slots: UnsafeMutablePointer<Operation>) {
        var blockers: Int32 = 0
        order += 1
        slots[Int(index)].arrival = order
        slots[Int(index)].unblockedOrder = .max
        let isCopy = slots[Int(index)].kind == .copy
        let first = slots[Int(index)].firstRegion
        let last = slots[Int(index)].lastRegion
        invariant(last - first <= 1, "an operation touches at most two regions")
        for region in first...last {
            let chain = bucket(region)
            var node = buckets[chain]
            while node >= 0 {
                let other = Int(node >> 1)
                let otherRegion = slots[other].firstRegion + Int(node & 1)
                if otherRegion == region, max(slots[other].firstRegion, first) == region,
                    conflict(slots[other], slots[Int(index)])
                {
                    if isCopy, slots[other].blockers > 0 {
                        slots[other].blockers += 1
                    } else {
                        blockers += 1
                    }
                }
                node = next[Int(node)]
            }
        }
        for region in first...last {
            let node = index * 2 + Int32(region - first)
            let chain = bucket(region)
            next[Int(node)] = buckets[chain]
            previous[Int(node)] = -1
            if buckets[chain] >= 0 { previous[Int(buckets[chain])] = node }
            buckets[chain] = node
        }
        slots[Int(index)].blockers = blockers
        if blockers == 0 { slots[Int(index)].unblockedOrder = order }
    }

    /// Removes an operation and appends those that it alone still blocked to `ready`.
    mutating func remove(
        _ index: Int32, _ slots: UnsafeMutablePointer<Operation>, ready: inout OperationList
    ) {
        let first = slots[Int(index)].firstRegion
        let last = slots[Int(index)].lastRegion
        for region in first...last {
            let node = Int(index * 2 + Int32(region - first))
            let chain = bucket(region)
            if previous[node] >= 0 { next[Int(previous[node])] = next[node] } else { buckets[chain] = next[node] }
            if next[node] >= 0 { previous[Int(next[node])] = previous[node] }
        }
        for region in first...last {
            var node = buckets[bucket(region)]
            while node >= 0 {
                let other = Int(node >> 1)
                let following = next[Int(node)]
                if slots[other].firstRegion + Int(node & 1) == region, max(slots[other].firstRegion, first) == region,
                    conflict(slots[other], slots[Int(index)]), waits(slots[other], for: slots[Int(index)])
                {
                    slots[other].blockers -= 1
                    invariant(slots[other].blockers >= 0, "an operation is unblocked as often as it was blocked")
                    if slots[other].blockers == 0 {
                        order += 1
                        slots[other].unblockedOrder = order
                        ready.append(Int32(other), slots)
                    }
                }
                node = following
            }
        }
    }
}
