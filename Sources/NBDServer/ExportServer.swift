import Base
import BlockInterface
import CLinux
import Glibc
import NBDProtocol
import Reactor

/// Serves exports to NBD clients on one reactor: accepts connections, and does the sessions of the exports whose home it is.
///
/// All sockets and channels are in an epoll set of its own, asked once a round; the reactor sleeps on that set.
public final class ExportServer: Poller, @unchecked Sendable {
    // Unchecked: it belongs to its reactor's thread, which others reach through `send`.

    /// Its place among the servers of a process.
    public let index: Int
    let exports: ExportList
    let options: ExportServerOptions
    let memory: ServerMemory
    let calls = CallMemory()
    let observer: @Sendable (ExportServerEvent) -> Void
    private let send: @Sendable (@escaping @Sendable () -> Void) -> Void
    let epoll: Int32
    private var peers: [ExportServer] = []
    private var connections: [ClientConnection?] = []
    private(set) var connectionCount = 0
    /// The same, for the rounds: counting references would cost more than many a round.
    private var rounds: [Unmanaged<ClientConnection>] = []
    private var listeners: [Int32] = []
    /// Listeners have connections that were not accepted.
    private var mustAccept = false
    private var acceptAgainAt = MonotonicTime(nanoseconds: 0)
    private var now = MonotonicTime(nanoseconds: 0)
    private var nextNumber: UInt64
    private var lookedAt = MonotonicTime(nanoseconds: 0)
    /// Sessions are being given away.
    var leaving: HandOver?
    /// Those who wait for the end of an export's connections, or of all.
    private var waiting: [(export: Export?, told: @Sendable () -> Void)] = []

    /// - Parameters:
    ///   - index: from 0.
    ///   - send: has something done on this server's reactor.
    ///   - observer: hears of events on the reactor's thread; it does not wait.
    public init(
        index: Int, exports: ExportList, options: ExportServerOptions = ExportServerOptions(),
        send: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void,
        observer: @escaping @Sendable (ExportServerEvent) -> Void = { _ in }
    ) throws(TercetError) {
        self.index = index
        self.exports = exports
        self.options = options
        self.send = send
        self.observer = observer
        nextNumber = UInt64(index) << 32 + 1
        memory = try ServerMemory(bytes: options.memoryBytes)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { throw TercetError(.init(errno: errno), "epoll for NBD could not be had") }
        super.init()
        peers = [self]
    }

    deinit {
        calls.deallocate()
        close(epoll)
    }

    /// The servers of the process, by their index: a session moves to the home of its export. Before the reactors start.
    public func meet(_ peers: [ExportServer]) { self.peers = peers }

    /// Ends the circle of servers that know each other. When the reactors have stopped.
    public func part() { peers = [] }

    // MARK: Rounds

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        if connectionCount == 0, listeners.isEmpty, leaving == nil { return 0 }
        var work = takeEvents()
        if mustAccept { work += accept() }
        var hasDead = false
        for round in rounds {
            work += round._withUnsafeGuaranteedRef { connection in
                let work = connection.stage == .handshake ? shake(connection) : connection.poll(now: now)
                return work
            }
        }
        if now != lookedAt {
            lookedAt = now
            for round in rounds { round._withUnsafeGuaranteedRef { judge($0) } }
        }
        if leaving != nil { collectLeaving() }
        for round in rounds where round._withUnsafeGuaranteedRef({ $0.isOver }) { hasDead = true }
        if hasDead { bury() }
        return work
    }

    /// Reads which sockets and channels have news.
    private func takeEvents() -> Int {
        let count = Int(max(0, epoll_wait(epoll, calls.events, Int32(CallMemory.capacity), 0)))
        for place in 0..<count {
            let event = calls.events[place]
            switch Watched(event.data.fd) {
            case .listener: mustAccept = true
            case .socket(let place):
                guard let connection = connections[place] else { continue }
                if event.events & EPOLLOUT.rawValue != 0 { connection.socket.isWritable = true }
                if event.events & ~EPOLLOUT.rawValue != 0 { connection.socket.isReadable = true }
            case .channel(let place):
                guard let connection = connections[place], connection.isChannelArmed else { continue }
                connection.isChannelArmed = false
                connection.channel?.acknowledgeNotification()
            }
        }
        return count
    }

    /// A client that has kept the server waiting for too long loses its connection.
    private func judge(_ connection: ClientConnection) {
        guard let since = connection.owesSince,
            now.nanoseconds(since: since) >= options.patienceMilliseconds * 1_000_000
        else { return }
        connection.end(
            connection.socket.isWritable
                ? "the client has sent half of a message, and nothing for \(options.patienceMilliseconds) ms"
                : "the client has taken no answer for \(options.patienceMilliseconds) ms")
    }

    public override var nextDeadline: MonotonicTime {
        let mayAccept = mustAccept && connectionCount < options.maximumConnections
        var deadline = mayAccept ? acceptAgainAt : .distantFuture
        if let leaving { deadline = min(deadline, leaving.deadline) }
        for round in rounds {
            round._withUnsafeGuaranteedRef { connection in
                if let since = connection.owesSince {
                    deadline = min(deadline, since.advanced(byMilliseconds: options.patienceMilliseconds))
                }
                // Nothing tells when a range is wanted, or free.
                if connection.loans.count > 0 { deadline = min(deadline, connection.loans.lookAt) }
                if !connection.blocked.isEmpty || connection.channel?.isBlocked == true {
                    deadline = min(deadline, now.advanced(byMilliseconds: 1))
                }
            }
        }
        return deadline
    }

    public override func prepareToSleep() {
        for round in rounds {
            round._withUnsafeGuaranteedRef { connection in
                guard let channel = connection.channel, channel.running > 0 else { return }
                connection.isChannelArmed = true
                channel.armNotification()
            }
        }
    }

    public override func becameReady(_ descriptor: Int32) {}

    public override var descriptors: [Int32] { [epoll] }

    // MARK: Listeners

    /// Accepts the clients of a socket that listens and does not block. On the reactor's thread, or before it starts.
    public func listen(on descriptor: Int32) {
        listeners.append(descriptor)
        watch(descriptor, .listener)
        mustAccept = true
    }

    /// Accepts no more. The sockets stay open; they are their owner's.
    public func stopListening() {
        for listener in listeners { epoll_ctl(epoll, EPOLL_CTL_DEL, listener, nil) }
        listeners = []
        mustAccept = false
    }

    private func accept() -> Int {
        guard now >= acceptAgainAt, connectionCount < options.maximumConnections else { return 0 }
        mustAccept = false
        var accepted = 0
        for listener in listeners {
            while connectionCount < options.maximumConnections {
                let descriptor = tercet_accept(listener)
                if descriptor >= 0 {
                    accepted += 1
                    adopt(descriptor)
                    continue
                }
                if errno == EINTR || errno == ECONNABORTED { continue }
                if errno != EAGAIN {
                    observer(.acceptFailed(reason: String(cString: strerror(errno))))
                    acceptAgainAt = now.advanced(byMilliseconds: 1000)
                    mustAccept = true
                }
                break
            }
        }
        if connectionCount >= options.maximumConnections { mustAccept = true }
        return accepted
    }

    /// Takes a client's socket, which does not block, and shakes hands with it. On the reactor's thread.
    ///
    /// - Parameters:
    ///   - isBound: it is relayed by this process, and ends where sessions are handed over.
    ///   - whenOver: hears on a reactor's thread that the connection has ended, and that nothing of it is under way any more.
    public func adopt(_ descriptor: Int32, isBound: Bool = false, whenOver: (@Sendable () -> Void)? = nil) {
        let connection = add(descriptor)
        connection.isBound = isBound
        connection.whenOver = whenOver
        connection.handshake = NBDHandshake(exports: exports.all.map(\.description))
    }

    // MARK: Connections

    func forEachConnection(_ body: (ClientConnection) -> Void) {
        for case let connection? in connections { body(connection) }
    }

    /// The server of another reactor.
    func peer(_ index: Int) -> ExportServer? { peers.indices.contains(index) ? peers[index] : nil }

    /// Has something done on this server's reactor.
    func run(_ body: @escaping @Sendable () -> Void) { send(body) }

    /// The time of the round that is running.
    var roundTime: MonotonicTime { now }

    func add(_ descriptor: Int32) -> ClientConnection {
        let place = connections.firstIndex { $0 == nil } ?? connections.count
        let connection = ClientConnection(
            descriptor, number: nextNumber, place: place, epoll: epoll, memory: memory, calls: calls, now: now)
        nextNumber += 1
        if place == connections.count { connections.append(connection) } else { connections[place] = connection }
        connectionCount += 1
        rounds = connections.compactMap { $0.map(Unmanaged.passUnretained) }
        shareMemory()
        Self.widen(descriptor)
        watch(descriptor, .socket(place))
        return connection
    }

    /// Bytes that a Unix socket takes before its client has read some, as far as the system allows it (net.core.wmem_max).
    private static let sendBufferBytes: Int32 = 2 << 20

    /// Lets a Unix socket take long answers whole: where a client reads much, half of the processor time. TCP finds its own size.
    private static func widen(_ descriptor: Int32) {
        var (domain, bytes) = (Int32(0), sendBufferBytes)
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0, domain == AF_UNIX else { return }
        setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, length)
    }

    /// Each connection may hold its part of the memory: none can take what the others need.
    private func shareMemory() {
        let share = max(2 << 20, memory.count / max(Export.maximumSessions, connectionCount))
        for case let connection? in connections { connection.share = share }
    }

    private func bury() {
        for case let connection? in connections where connection.isOver {
            if let channel = connection.channel {
                if channel.notificationDescriptor >= 0 {
                    epoll_ctl(epoll, EPOLL_CTL_DEL, channel.notificationDescriptor, nil)
                }
                channel.close()
            }
            if let export = connection.export {
                export.close()
                observer(.sessionEnded(export: export.name, session: connection.number, reason: connection.reason))
            } else if !connection.reason.isEmpty {
                observer(.clientRefused(reason: connection.reason))
            }
            connection.whenOver?()
            connections[connection.place] = nil
            connectionCount -= 1
        }
        rounds = connections.compactMap { $0.map(Unmanaged.passUnretained) }
        shareMemory()
        tellWaiting()
    }

    private func tellWaiting() {
        guard !waiting.isEmpty else { return }
        let present = connections.compactMap { $0 }
        func isOver(_ export: Export?) -> Bool { !present.contains { export == nil || $0.export === export } }
        let over = waiting.filter { isOver($0.export) }
        waiting.removeAll { isOver($0.export) }
        for entry in over { entry.told() }
    }

    /// Ends the sessions of an export, or all connections, as soon as what is under way is answered; tells when they are over.
    /// On the reactor's thread.
    public func drain(_ export: Export? = nil, reason: String, whenOver told: (@Sendable () -> Void)? = nil) {
        for case let connection? in connections where export == nil || connection.export === export {
            connection.drain(reason)
        }
        guard let told else { return }
        waiting.append((export, told))
        tellWaiting()
    }

    /// Ends the connections of an export, or all, at once.
    public func abandon(_ export: Export? = nil, reason: String) {
        for case let connection? in connections where export == nil || connection.export === export {
            connection.end(reason)
        }
    }
}
