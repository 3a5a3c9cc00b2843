import Base

/// Something that will happen. Plain data: the I/O of a simulation allocates nothing once its tables have grown.
struct SimulatedEvent: BitwiseCopyable {
    enum Kind: UInt8, BitwiseCopyable {
        /// Work reaches the peer of a queue pair.
        case arrival
        /// The answer to work comes back to its queue pair.
        case acknowledgement
        /// A queue pair that waited for a receive buffer of its peer tries again.
        case resume
        /// A queue pair's patience with its peer ends.
        case timeout
        /// A closure that `SimulatedNetwork.schedule` keeps.
        case action
    }

    var time: UInt64
    /// Events of one moment happen in the order in which they were made.
    var sequence: UInt64
    var kind: Kind
    var queuePair = QueuePairReference.none
    /// The number of an action, or how often the queue pair has begun to wait.
    var value: UInt64 = 0

    func isBefore(_ other: SimulatedEvent) -> Bool {
        time == other.time ? sequence < other.sequence : time < other.time
    }
}

/// The events to come, the earliest first: a binary heap.
struct EventHeap {
    private var events: [SimulatedEvent] = []

    init() { events.reserveCapacity(4096) }

    var isEmpty: Bool { events.isEmpty }
    var count: Int { events.count }
    var first: SimulatedEvent? { events.first }

    mutating func insert(_ event: SimulatedEvent) {
        events.append(event)
        var child = events.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard events[child].isBefore(events[parent]) else { return }
            events.swapAt(child, parent)
            child = parent
        }
    }

    mutating func removeFirst() -> SimulatedEvent? {
        guard let first = events.first, let last = events.popLast() else { return nil }
        guard !events.isEmpty else { return first }
        events[0] = last
        var parent = 0
        while true {
            var smallest = parent
            for child in (2 * parent + 1)...(2 * parent + 2) where child < events.count {
                if events[child].isBefore(events[smallest]) { smallest = child }
            }
            if smallest == parent { return first }
            events.swapAt(parent, smallest)
            parent = smallest
        }
    }
}
