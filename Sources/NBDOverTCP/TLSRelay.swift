import Base
import CLinux
import Glibc
import Synchronization

/// Events of a relay, told on its thread.
public enum TLSRelayEvent: Sendable {
    /// A client has shown that it knows the key of a user.
    case began(peer: String, user: String)
    /// A client was refused, or has not come through its handshake.
    ///
    /// - Parameter unlogged: refusals before that were not told, because there were too many.
    case refused(peer: String, reason: String, unlogged: Int)
    /// A client could not be accepted; it is tried again.
    case acceptFailed(reason: String)
}

/// Serves NBD clients over TCP with TLS, on a thread of its own: reactors see a Unix socket for each, and neither a handshake nor a cipher.
public final class TLSRelay: @unchecked Sendable {
    // Unchecked: its owner starts and stops it, one call after the other; what the loop shares, it guards itself.

    /// Clients at once; further ones wait to be accepted.
    public static let maximumConnections = 256

    private let loop: RelayLoop
    private var thread = pthread_t()
    private var isStarted = false

    /// - Parameters:
    ///   - patienceMilliseconds: a client that has not shaken hands by then loses its connection.
    ///   - adopt: takes the server's end of a pair of sockets, which does not block, and is the receiver's to close.
    public init(
        _ listeners: [TCPListener], keys: PreSharedKeys, patienceMilliseconds: UInt64,
        adopt: @escaping @Sendable (Int32) -> Void, observer: @escaping @Sendable (TLSRelayEvent) -> Void
    ) throws(TercetError) {
        let bell = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        guard bell >= 0 else {
            throw TercetError(call: "eventfd", errno: errno, reason: String(cString: strerror(errno)))
        }
        loop = RelayLoop(
            listeners: listeners.map(\.descriptor), context: try TLSContext(keys),
            patienceMilliseconds: patienceMilliseconds, bell: bell, adopt: adopt, observer: observer)
    }

    /// Starts the thread.
    public func start() {
        let result = pthread_create(&thread, nil, relayThread, Unmanaged.passRetained(loop).toOpaque())
        if result != 0 { fatalError("pthread_create: \(String(cString: strerror(result)))") }
        isStarted = true
    }

    /// Accepts no more.
    public func stopListening() { loop.tell(.deaf) }

    /// Ends clients that are still shaking hands, passes on what servers have said last, and ends the thread.
    public func stop() {
        guard isStarted else { return }
        isStarted = false
        loop.tell(.stopping)
        pthread_join(thread, nil)
    }
}

/// The relay's thread.
private func relayThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    pthread_setname_np(pthread_self(), "nbd tls")
    Unmanaged<RelayLoop>.fromOpaque(context).takeRetainedValue().run()
    return nil
}

/// The loop of a relay: waits in poll(2) until a connection has something to do.
private final class RelayLoop: @unchecked Sendable {
    // Unchecked: other threads write `order` and the bell; the rest belongs to the thread.

    enum Order: Int {
        case serving
        /// Accepts no more.
        case deaf
        case stopping
    }

    private let listeners: [Int32]
    private let context: TLSContext
    private let patienceMilliseconds: UInt64
    private let bell: Int32
    private let adopt: @Sendable (Int32) -> Void
    private let observer: @Sendable (TLSRelayEvent) -> Void
    private let order = Atomic<Int>(Order.serving.rawValue)
    private var connections: [RelayedConnection] = []
    private var refusals = RefusalLog()
    private var acceptAgainAt = MonotonicTime(nanoseconds: 0)

    /// How long connections have to pass on the last words of a server when the relay ends, in milliseconds.
    private static let lastWordsMilliseconds: UInt64 = 2000

    init(
        listeners: [Int32], context: TLSContext, patienceMilliseconds: UInt64, bell: Int32,
        adopt: @escaping @Sendable (Int32) -> Void, observer: @escaping @Sendable (TLSRelayEvent) -> Void
    ) {
        self.listeners = listeners
        self.context = context
        self.patienceMilliseconds = patienceMilliseconds
        self.bell = bell
        self.adopt = adopt
        self.observer = observer
    }

    deinit { close(bell) }

    func tell(_ order: Order) {
        self.order.store(order.rawValue, ordering: .releasing)
        var one: UInt64 = 1
        _ = write(bell, &one, 8)
    }

    func run() {
        var end = MonotonicTime.distantFuture
        var isMore = false
        while true {
            var now = MonotonicTime.now()
            let order = Order(rawValue: order.load(ordering: .acquiring)) ?? .stopping
            if order == .stopping {
                if end == .distantFuture { end = now.advanced(byMilliseconds: Self.lastWordsMilliseconds) }
                for connection in connections where connection.stage != .relaying || now >= end { connection.close() }
                connections.removeAll { $0.stage == .over }
                if connections.isEmpty { return }
            }
            let mayAccept = order == .serving && connections.count < TLSRelay.maximumConnections && now >= acceptAgainAt
            let hasClients = wait(mayAccept, isMore ? 0 : patience(now, end))
            now = .now()
            if hasClients { accept(now) }
            isMore = false
            for connection in connections { isMore = serve(connection, now) || isMore }
            connections.removeAll { $0.stage == .over }
        }
    }

    /// Waits for what connections, listeners and other threads have to tell. Returns whether clients wait to be accepted.
    private func wait(_ mayAccept: Bool, _ milliseconds: Int32) -> Bool {
        var events = [pollfd(fd: bell, events: Int16(POLLIN), revents: 0)]
        if mayAccept { events += listeners.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) } }
        let listenerEnd = events.count
        for connection in connections {
            let wanted = connection.clientEvents
            events.append(pollfd(fd: wanted == 0 ? -1 : connection.client, events: wanted, revents: 0))
            let (descriptor, serverEvents) = connection.serverEvents
            events.append(pollfd(fd: descriptor, events: serverEvents, revents: 0))
        }
        _ = poll(&events, nfds_t(events.count), milliseconds)
        if events[0].revents != 0 {
            var value: UInt64 = 0
            _ = read(bell, &value, 8)
        }
        return events[1..<listenerEnd].contains { $0.revents != 0 }
    }

    private func patience(_ now: MonotonicTime, _ end: MonotonicTime) -> Int32 {
        var deadline = end
        for connection in connections { deadline = min(deadline, connection.deadline) }
        if acceptAgainAt > now { deadline = min(deadline, acceptAgainAt) }
        guard deadline < .distantFuture else { return -1 }
        return Int32(min(deadline.nanoseconds(since: now) / 1_000_000 + 1, 3_600_000))
    }

    private func serve(_ connection: RelayedConnection, _ now: MonotonicTime) -> Bool {
        let isMore = connection.step(now)
        connection.judge(now)
        if let serversEnd = connection.takeServersEnd() {
            observer(.began(peer: connection.peer, user: connection.user))
            adopt(serversEnd)
        }
        if let reason = connection.refusal, let unlogged = refusals.admit(connection.peer, reason, now) {
            observer(.refused(peer: connection.peer, reason: reason, unlogged: unlogged))
        }
        return isMore
    }

    private func accept(_ now: MonotonicTime) {
        for listener in listeners where connections.count < TLSRelay.maximumConnections {
            let descriptor = tercet_accept(listener)
            if descriptor >= 0 {
                connections.append(
                    RelayedConnection(descriptor, context, patienceMilliseconds: patienceMilliseconds, now: now))
            } else if errno != EAGAIN, errno != EINTR, errno != ECONNABORTED {
                observer(.acceptFailed(reason: String(cString: strerror(errno))))
                acceptAgainAt = now.advanced(byMilliseconds: 1000)
            }
        }
    }
}
