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
    /// An operation's place in the chain of one of its two regions; or none, at a chain's end.
    private struct Node: BitwiseCopyable {
        private var number: Int32

        static var none: Node { Node(number: -1) }
        private init(number: Int32) { self.number = number }
        init(_ index: OperationIndex, half: Int) { number = Int32(index.position) * 2 + Int32(half) }

        @inline(__always) var isNone: Bool { number < 0 }
        @inline(__always) var place: Int { Int(number) }
        @inline(__always) var operation: OperationIndex { OperationIndex(position: UInt32(number >> 1)) }
        /// 0 for the operation's first region, 1 for its second.
        @inline(__always) var half: Int { Int(number & 1) }
    }

    private let buckets: UnsafeMutablePointer<Node>
    private let mask: Int
    private let next: UnsafeMutablePointer<Node>
    private let previous: UnsafeMutablePointer<Node>
    private let rules: Rules
    /// Counts arrivals and unblockings.
    private var order: UInt64 = 0

    init(capacity: Int, rules: Rules) {
        var size = 64
        while size < capacity * 4 { size *= 2 }
        mask = size - 1
        func nodes(_ count: Int) -> UnsafeMutablePointer<Node> {
            let nodes = UnsafeMutablePointer<Node>.allocate(capacity: count)
            nodes.initialize(repeating: .none, count: count)
            return nodes
        }
        buckets = nodes(size)
        next = nodes(capacity * 2)
        previous = nodes(capacity * 2)
        self.rules = rules
    }

    deinit {
        buckets.deallocate()
        next.deallocate()
        previous.deallocate()
    }

    @inline(__always)
    private func bucket(_ region: RegionIndex) -> Int {
        Int(truncatingIfNeeded: UInt64(region.position) &* 0x9e37_79b9_7f4a_7c15 >> 32) & mask
    }

    @inline(__always)
    private func conflict(_ a: Operation, _ b: Operation) -> Bool {
        guard a.start < b.end, b.start < a.end else { return false }
        guard a.kind.isWrite || b.kind.isWrite else { return false }
        return rules.ordersOverlap(a, b)
    }

    /// Whether `later` waits for `earlier`, which conflicts with it and is being removed or was there first.
    @inline(__always)
    private func waits(_ later: Operation, for earlier: Operation) -> Bool {
        if later.kind == .copy { return earlier.order.unblockedOrder < later.order.arrival }
        if earlier.kind == .copy { return later.order.unblockedOrder > earlier.order.arrival }
        return later.order.arrival > earlier.order.arrival
    }

    /// Whether a node of a chain stands for an overlap in `region`, with an operation whose first region is `first`, that is not
    /// counted in the chain of another region.
    @inline(__always)
    private func meets(_ node: Node, _ region: RegionIndex, first: RegionIndex, _ slots: borrowing OperationSlots)
        -> Bool
    {
        let other = slots[node.operation].firstRegion
        return other.advanced(by: node.half) == region && max(other, first) == region
    }

    /// Adds an operation, which counts in `blockers` those that it has to wait for.
    mutating func insert(_ index: OperationIndex, _ slots: borrowing OperationSlots) {
        var blockers: Int32 = 0
        order += 1
        slots[index].order.arrival = order
        slots[index].order.unblockedOrder = .max
        let isCopy = slots[index].kind == .copy
        let first = slots[index].firstRegion
        let last = slots[index].lastRegion
        invariant(first.distance(to: last) <= 1, "an operation touches at most two regions")
        for region in first...last {
            var node = buckets[bucket(region)]
            while !node.isNone {
                let other = node.operation
                if meets(node, region, first: first, slots), conflict(slots[other], slots[index]) {
                    if isCopy, slots[other].order.blockers > 0 {
                        slots[other].order.blockers += 1
                    } else {
                        blockers += 1
                    }
                }
                node = next[node.place]
            }
        }
        for region in first...last {
            let node = Node(index, half: first.distance(to: region))
            let chain = bucket(region)
            next[node.place] = buckets[chain]
            previous[node.place] = .none
            if !buckets[chain].isNone { previous[buckets[chain].place] = node }
            buckets[chain] = node
        }
        slots[index].order.blockers = blockers
        if blockers == 0 { slots[index].order.unblockedOrder = order }
    }

    /// Removes an operation and appends those that it alone still blocked to `ready`.
    mutating func remove(
        _ index: OperationIndex, _ slots: borrowing OperationSlots, ready: inout OperationList
    ) {
        let first = slots[index].firstRegion
        let last = slots[index].lastRegion
        for region in first...last {
            let node = Node(index, half: first.distance(to: region)).place
            if previous[node].isNone {
                buckets[bucket(region)] = next[node]
            } else {
                next[previous[node].place] = next[node]
            }
            if !next[node].isNone { previous[next[node].place] = previous[node] }
        }
        for region in first...last {
            var node = buckets[bucket(region)]
            while !node.isNone {
                let other = node.operation
                let following = next[node.place]
                if meets(node, region, first: first, slots), conflict(slots[other], slots[index]),
                    waits(slots[other], for: slots[index])
                {
                    slots[other].order.blockers -= 1
                    invariant(slots[other].order.blockers >= 0, "an operation is unblocked as often as it was blocked")
                    if slots[other].order.blockers == 0 {
                        order += 1
                        slots[other].order.unblockedOrder = order
                        ready.append(other, slots)
                    }
                }
                node = following
            }
        }
    }
}
