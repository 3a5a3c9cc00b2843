import FabricInterface

/// Capsules that arrived while no request was free for them, oldest first. Memory for all of a shared receive queue is
/// allocated at the start.
struct LateCapsules: ~Copyable {
    private let ring: UnsafeMutablePointer<WorkCompletion>
    private let capacity: Int
    private var head = 0
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        ring = .allocate(capacity: capacity)
    }

    deinit { ring.deallocate() }

    var isEmpty: Bool { count == 0 }

    /// Each capsule has a receive buffer of its own, and there are no more of those than places.
    mutating func append(_ completion: WorkCompletion) {
        ring[(head + count) % capacity] = completion
        count += 1
    }

    mutating func removeFirst() -> WorkCompletion? {
        guard count > 0 else { return nil }
        let first = ring[head]
        head = (head + 1) % capacity
        count -= 1
        return first
    }

    /// Takes out a queue pair's capsules; `dropped` gets each.
    mutating func removeAll(of handle: QueuePairHandle, _ dropped: (WorkCompletion) -> Void) {
        var kept = 0
        for position in 0..<count {
            let completion = ring[(head + position) % capacity]
            if completion.queuePair == handle {
                dropped(completion)
            } else {
                ring[(head + kept) % capacity] = completion
                kept += 1
            }
        }
        count = kept
    }
}
