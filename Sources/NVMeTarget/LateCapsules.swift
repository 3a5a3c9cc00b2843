import TargetTransport

/// Capsules that arrived while no request was free for them, oldest first. Memory for all of a port's capsules is allocated at
/// the start.
struct LateCapsules: ~Copyable {
    private let ring: UnsafeMutablePointer<Capsule>
    private let capacity: Int
    private var head = 0
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        ring = .allocate(capacity: capacity)
    }

    deinit { ring.deallocate() }

    var isEmpty: Bool { count == 0 }

    /// Each capsule has a buffer of its own, and there are no more of those than places.
    mutating func append(_ capsule: Capsule) {
        ring[(head + count) % capacity] = capsule
        count += 1
    }

    mutating func removeFirst() -> Capsule? {
        guard count > 0 else { return nil }
        let first = ring[head]
        head = (head + 1) % capacity
        count -= 1
        return first
    }

    /// Takes out a connection's capsules; `dropped` gets each.
    mutating func removeAll(of connection: ConnectionIndex, _ dropped: (Capsule) -> Void) {
        var kept = 0
        for position in 0..<count {
            let capsule = ring[(head + position) % capacity]
            if capsule.connection == connection {
                dropped(capsule)
            } else {
                ring[(head + kept) % capacity] = capsule
                kept += 1
            }
        }
        count = kept
    }
}
