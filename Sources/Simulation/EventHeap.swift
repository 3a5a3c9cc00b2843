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
        /// Nothing but that time passes: somebody has something to do then.
        case wake
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

/// The events to come, the earliest first: a binary heap in raw memory, which grows and never shrinks. (An array's
/// operations allocate in unoptimised builds, where tests count allocations too.)
struct EventHeap: ~Copyable {
    private var events: UnsafeMutablePointer<SimulatedEvent>
    private var capacity = 4096
    private(set) var count = 0

    init() { events = .allocate(capacity: capacity) }

    deinit { events.deallocate() }

    /// The time of the earliest event.
    var firstTime: UInt64? { count > 0 ? events.pointee.time : nil }

    mutating func insert(_ event: SimulatedEvent) {
        if count == capacity { grow() }
        var place = count
        count += 1
        while place > 0 {
            let parent = (place - 1) / 2
            guard event.isBefore(events[parent]) else { break }
            (events + place).initialize(to: events[parent])
            place = parent
        }
        (events + place).initialize(to: event)
    }

    mutating func removeFirst() -> SimulatedEvent? {
        guard count > 0 else { return nil }
        let first = events.pointee
        count -= 1
        let last = events[count]
        var place = 0
        while true {
            var child = 2 * place + 1
            guard child < count else { break }
            if child + 1 < count, events[child + 1].isBefore(events[child]) { child += 1 }
            guard events[child].isBefore(last) else { break }
            events[place] = events[child]
            place = child
        }
        events[place] = last
        return first
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<SimulatedEvent>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: events, count: count)
        events.deallocate()
        events = larger
        capacity *= 2
    }
}
