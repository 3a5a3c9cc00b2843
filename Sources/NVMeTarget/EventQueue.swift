import NVMeSpec
import TargetTransport

/// The asynchronous events of a controller: those that wait for a command, and commands that wait for an event
/// (NVMe Base, "Asynchronous Event Request command").
struct EventQueue: Sendable {
    /// Requests held at the admin queue's reactor, oldest first.
    private(set) var waiting: [RequestIndex] = []
    /// Events not reported yet. One of each kind is enough: the host reads a log to learn the rest.
    private var pending: [AsyncEvent] = []
    /// Kinds reported whose log the host has not read; they are not reported again until it has.
    private var masked: Set<AsyncEvent> = []

    /// Takes a held request; `false` when the controller has as many as it allows.
    mutating func hold(_ request: RequestIndex, limit: Int) -> Bool {
        guard waiting.count < limit else { return false }
        waiting.append(request)
        return true
    }

    /// A request is gone with its queue pair or by Abort; `true` when it was here.
    mutating func release(_ request: RequestIndex) -> Bool {
        guard let position = waiting.firstIndex(of: request) else { return false }
        waiting.remove(at: position)
        return true
    }

    /// Something happened; `false` where the host need not hear of it again.
    mutating func raise(_ event: AsyncEvent) -> Bool {
        guard !masked.contains(event), !pending.contains(event) else { return false }
        pending.append(event)
        return true
    }

    /// The host read the log page that belongs to these events, and so wants to hear of them again.
    mutating func unmask(where matches: (AsyncEvent) -> Bool) {
        masked = masked.filter { !matches($0) }
    }

    /// The next pair of a waiting request and an event for it.
    mutating func next() -> (request: RequestIndex, event: AsyncEvent)? {
        guard let request = waiting.first, let event = pending.first else { return nil }
        waiting.removeFirst()
        pending.removeFirst()
        masked.insert(event)
        return (request, event)
    }

    mutating func reset() { self = EventQueue() }
}
