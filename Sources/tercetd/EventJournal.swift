import Base
import Dispatch
import Glibc
import Logging
import NVMeTarget
import Reactor
import Repetition
import Synchronization

/// Takes the target's events from its reactors, and writes them to the log on a thread of its own: to write a line takes
/// longer than many I/Os, and a log that nobody reads would stop the reactor that writes to it.
///
/// An event that repeats, such as the refusals of a host that tries again and again, is written once, and then at intervals with how
/// often it has come.
final class EventJournal: Sendable {
    private struct State {
        var pending: [TargetEvent] = []
        /// Events that came while the log could not take them.
        var dropped = 0
        var isScheduled = false
    }

    /// Events that wait to be written; more are counted only.
    private static let capacity = 4096
    private let logger: Logger
    private let queue = DispatchQueue(label: "log")
    private let state = Mutex(State())
    private let repeats = Mutex(RepeatedEvents<TargetEvent>())

    init(_ logger: Logger) { self.logger = logger }

    /// From any thread; does not wait.
    func record(_ event: TargetEvent) {
        let schedules = state.withLock { state in
            guard state.pending.count < Self.capacity else {
                state.dropped += 1
                return false
            }
            state.pending.append(event)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if schedules { queue.async { self.drain() } }
    }

    /// Tells how often has come what was not written; each second or so.
    func tick() { queue.async { self.report(self.repeats.withLock { $0.due(at: .now()) }) } }

    /// Returns when all has been written.
    func flush() { queue.sync { drain() } }

    private func drain() {
        let (events, dropped) = state.withLock { state in
            defer {
                state.pending = []
                state.dropped = 0
                state.isScheduled = false
            }
            return (state.pending, state.dropped)
        }
        for event in events {
            let isNews = event.repetitionKey.map { key in repeats.withLock { $0.isNews(event, key: key, at: .now()) } }
            if isNews ?? true { logger.record(event, hint: Self.hint(for: event)) }
        }
        if dropped > 0 {
            logger.warning("events were lost: the log could not be written", metadata: ["count": "\(dropped)"])
        }
    }

    private func report(_ due: [(event: TargetEvent, count: Int)]) {
        for (event, count) in due { logger.record(event, repeated: count, hint: Self.hint(for: event)) }
    }

    /// The cause of a refusal that the RDMA library explains with "Invalid argument" only.
    private static func hint(for event: TargetEvent) -> String? {
        guard case .connectionRefused = event else { return nil }
        let probe = open("/dev/null", O_RDONLY | O_CLOEXEC)
        if probe >= 0 {
            close(probe)
            return nil
        }
        guard errno == EMFILE || errno == ENFILE else { return nil }
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return errno == ENFILE
            ? "the machine is out of file descriptors (fs.file-max)"
            : "out of file descriptors: this process may have \(limit.rlim_cur) (LimitNOFILE=, ulimit -n)"
    }
}

extension TargetEvent {
    /// The key that two events share that are one that repeats; `nil` for events that are all written.
    fileprivate var repetitionKey: String? {
        /// Without the port, which is another one with each connection.
        func host(_ peer: String) -> Substring { peer.lastIndex(of: ":").map { peer[..<$0] } ?? peer[...] }
        switch self {
        case .connectRefused(let name, let subsystem, let peer, let reason):
            return "C \(name) \(subsystem) \(host(peer)) \(reason)"
        case .authenticationFailed(let name, let subsystem, let peer, let reason):
            return "A \(name) \(subsystem) \(host(peer)) \(reason)"
        case .connectionRefused(let peer, let reason): return "R \(host(peer)) \(reason)"
        case .connectHeld(let name, let subsystem, _, let peer, let isRefused):
            return "H \(name) \(subsystem) \(host(peer)) \(isRefused)"
        case .queuePairFailed(let peer, let reason): return "Q \(peer) \(reason)"
        default: return nil
        }
    }
}
