import Base
import Glibc
import Logging
import NBDOverTCP
import NBDServer
import Reactor
import UnixSockets
import VolumedConfiguration

/// The things that clients hold while the service manager starts the daemon anew: the same messages as from one daemon to the next, in
/// the buffers of pairs of sockets whose ends for reading lie in the service manager's descriptor store.
struct ClientStore {
    /// Their name there.
    static let name = "clients"
    /// Sessions in one pair: the kernel's buffer holds them with room to spare.
    private static let sessionsInPair = 16

    private let store: DescriptorStore

    init(_ store: DescriptorStore) { self.store = store }

    /// Leaves sockets and sessions in the store. Returns how many of the sessions are there, and whether the sockets are.
    func keep(
        _ listeners: [UnixListener], _ tcpListeners: [TCPListener], _ sessions: [HandedSession],
        stoppedAt: MonotonicTime
    ) -> (sessions: Int, hasListeners: Bool) {
        let hasListeners = keep { HandOver.send(listeners, tcpListeners, [], stoppedAt: stoppedAt, over: $0) }
        var kept = 0
        for first in stride(from: 0, to: sessions.count, by: Self.sessionsInPair) {
            let some = Array(sessions[first..<min(first + Self.sessionsInPair, sessions.count)])
            if keep({ HandOver.send([], [], some, stoppedAt: stoppedAt, over: $0) }) { kept += some.count }
        }
        store.settle()
        return (kept, hasListeners)
    }

    private func keep(_ write: (DescriptorChannel) -> Bool) -> Bool {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            return false
        }
        defer { for end in ends { close(end) } }
        // Nobody reads before the next daemon: what has no room is not to be waited for.
        var none = timeval(tv_sec: 0, tv_usec: 1000)
        setsockopt(ends[1], SOL_SOCKET, SO_SNDTIMEO, &none, socklen_t(MemoryLayout<timeval>.size))
        return write(DescriptorChannel(ends[1])) && store.keep(ends[0], as: Self.name)
    }

    /// Takes all out that a former daemon has left. What cannot be understood is closed, and its clients come again.
    ///
    /// - Parameter descriptors: those that were inherited under the store's name.
    static func take(_ descriptors: [Int32]) -> TakenOver? {
        var taken: TakenOver?
        for descriptor in descriptors {
            defer { close(descriptor) }
            guard let part = try? HandOver.take(DescriptorChannel(descriptor)) else { continue }
            taken = taken.map { $0.joined(with: part) } ?? part
        }
        return taken
    }

    /// Empties the store: what was in it is this daemon's.
    func clear() { store.remove(Self.name) }
}

extension TakenOver {
    fileprivate func joined(with other: TakenOver) -> TakenOver {
        TakenOver(
            listeners: listeners + other.listeners, tcpListeners: tcpListeners + other.tcpListeners,
            sessions: sessions + other.sessions,
            stoppedAt: min(stoppedAt, other.stoppedAt))
    }
}

extension Daemon {
    /// Brings the sessions of NBD clients to a point between two requests, and gives them away. Sessions with the kernel and those over
    /// TLS are not among them.
    func surrenderSessions() async -> [HandedSession] {
        var sessions: [HandedSession] = []
        for (server, reactor) in zip(servers, reactors) {
            sessions += await withCheckedContinuation { (continuation: CheckedContinuation<[HandedSession], Never>) in
                reactor.send {
                    server.handOver(withinMilliseconds: Self.handOverMilliseconds) {
                        continuation.resume(returning: $0)
                    }
                }
            }
        }
        return sessions
    }

    /// Whether the next process of the service can go on with this one's clients.
    var keepsClients: Bool { store != nil && successor == nil && devices.isEmpty && single == nil }

    /// Leaves sockets and sessions to the next process; the volumes are detached.
    func leaveClients(_ sessions: [HandedSession], stoppedAt: MonotonicTime) {
        guard let store else { return }
        // The service manager has its own sockets anyway.
        let own = tcpListeners.filter { listener in
            configuration.nbdAddresses.contains { listener.name == "tcp://\($0)" }
        }
        let kept = ClientStore(store).keep(listeners.filter(\.isOwn), own, sessions, stoppedAt: stoppedAt)
        for handed in sessions { close(handed.descriptor) }
        hasLeftListeners = kept.hasListeners
        journal.write(
            kept.sessions == sessions.count ? .notice : .error, "clients left to the service manager",
            ["sessions": "\(kept.sessions)", "lost": "\(sessions.count - kept.sessions)"])
    }
}
