import Base
import Glibc
import NBDProtocol

/// Bytes on their way from one side of a relay to the other.
struct RelayBuffer {
    static let capacity = 128 << 10
    private let memory: UnsafeMutableRawPointer
    private var start = 0
    private var end = 0

    init() { memory = .allocate(byteCount: Self.capacity, alignment: 64) }

    func deallocate() { memory.deallocate() }

    var isEmpty: Bool { start == end }
    var isFull: Bool { end == Self.capacity }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory + start, count: end - start) }
    var room: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory + end, count: Self.capacity - end)
    }

    mutating func filled(_ count: Int) { end += count }

    mutating func taken(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }
}

/// One client of a relay: the handshake's part before TLS, that of TLS, and then bytes from the client to the NBD server and back.
///
///     prelude -- NBD_OPT_STARTTLS --> shaking --> relaying -- the server has ended --> over
///
/// The server sees a Unix socket whose client begins a handshake. It is told of a client when that has shown its key. Belongs to the
/// relay's thread, and never waits.
final class RelayedConnection {
    enum Stage {
        case prelude
        case shaking
        case relaying
        case over
    }

    let client: Int32
    let peer: String
    private(set) var stage = Stage.prelude
    /// Why it ends, where that is worth a line in the log.
    private(set) var refusal: String?
    /// The server's end of the pair of sockets, until somebody takes it.
    private(set) var serversEnd: Int32 = -1
    /// The time at which it loses the connection if it is no further.
    private(set) var deadline: MonotonicTime
    private var inner: Int32 = -1
    private let context: TLSContext
    private let patienceMilliseconds: UInt64
    private var prelude = NBDTLSPrelude()
    private var flags: [UInt8] = []
    private var tls: TLSSession?
    private var toServer = RelayBuffer()
    private var toClient = RelayBuffer()
    /// Bytes of the server's greeting that the client has had from the prelude.
    private var greetingLeft = NBDTLSPrelude.greetingBytes
    private var hasClientEnded = false
    private var hasServerEnded = false
    /// TLS waits for something else than it is asked for.
    private var readWantsWrite = false
    private var writeWantsRead = false

    init(_ client: Int32, _ context: TLSContext, patienceMilliseconds: UInt64, now: MonotonicTime) {
        self.client = client
        self.context = context
        self.patienceMilliseconds = patienceMilliseconds
        peer = TCPListener.address(client, getpeername)
        deadline = now.advanced(byMilliseconds: patienceMilliseconds)
    }

    deinit {
        toServer.deallocate()
        toClient.deallocate()
    }

    /// The user, once TLS has begun.
    var user: String { tls?.user ?? "" }

    /// The server's end of the pair of sockets; its receiver's to close.
    func takeServersEnd() -> Int32? {
        guard serversEnd >= 0 else { return nil }
        defer { serversEnd = -1 }
        return serversEnd
    }

    // MARK: Events

    /// The events of the client's socket that it waits for.
    var clientEvents: Int16 {
        var events: Int32 = 0
        switch stage {
        case .prelude: events = prelude.output.isEmpty ? POLLIN : POLLOUT
        case .shaking: events = readWantsWrite ? POLLOUT : POLLIN
        case .relaying:
            if !hasClientEnded, toServer.isEmpty { events |= readWantsWrite ? POLLOUT : POLLIN }
            if !toClient.isEmpty { events |= writeWantsRead ? POLLIN : POLLOUT }
        case .over: break
        }
        return Int16(events)
    }

    /// The server's socket, and the events of it that it waits for.
    var serverEvents: (Int32, Int16) {
        guard stage == .relaying else { return (-1, 0) }
        let events = (toServer.isEmpty ? 0 : POLLOUT) | (toClient.isEmpty && !hasServerEnded ? POLLIN : 0)
        return (events == 0 ? -1 : inner, Int16(events))
    }

    /// Does what can be done now; returns whether there may be more at once.
    func step(_ now: MonotonicTime) -> Bool {
        switch stage {
        case .prelude: begin()
        case .shaking: shakeHands()
        case .relaying:
            for _ in 0..<4 where stage == .relaying { guard relay(now) else { return false } }
            return stage == .relaying
        case .over: break
        }
        return false
    }

    /// It has not come further in time.
    func judge(_ now: MonotonicTime) {
        guard stage != .over, now >= deadline else { return }
        refuse(
            stage == .relaying
                ? "the client has taken no answer for \(patienceMilliseconds) ms"
                : "its handshake has not ended in \(patienceMilliseconds) ms")
    }

    func close() {
        if stage == .over { return }
        stage = .over
        tls?.end()
        Glibc.close(client)
        if inner >= 0 { Glibc.close(inner) }
        if serversEnd >= 0 { Glibc.close(serversEnd) }
    }

    private func refuse(_ reason: String) {
        if !reason.isEmpty { refusal = reason }
        close()
    }

    // MARK: Before TLS

    private func begin() {
        guard speak() else { return }
        let outcome: NBDTLSPrelude.Outcome? = withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { place in
            let count = recv(client, place.baseAddress, place.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { return nil }
            // Those that only look whether somebody listens are no news.
            if count <= 0 { return .over(count == 0 ? "" : String(cString: strerror(errno))) }
            return prelude.receive(UnsafeRawBufferPointer(rebasing: place[..<count]))
        }
        guard let outcome else { return }
        let isSpoken = speak()
        switch outcome {
        case .unfinished: return
        case .over(let reason): return refuse(reason)
        case .startTLS(let flags):
            guard stage != .over else { return }
            guard isSpoken else { return refuse("the client takes no answers") }
            self.flags = flags
            guard let session = TLSSession(context, client) else { return refuse("there is no memory for TLS") }
            tls = session
            stage = .shaking
        }
    }

    /// Sends what the prelude says; returns whether all is sent.
    private func speak() -> Bool {
        while !prelude.output.isEmpty {
            let sent = prelude.output.withUnsafeBytes { send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent < 0, errno == EINTR { continue }
            if sent < 0, errno != EAGAIN { refuse(String(cString: strerror(errno))) }
            guard sent > 0 else { return false }
            prelude.output.removeFirst(sent)
        }
        return true
    }

    private func shakeHands() {
        guard let tls else { return }
        switch tls.shakeHands() {
        case .done: connect()
        case .wantsRead: readWantsWrite = false
        case .wantsWrite: readWantsWrite = true
        case .ended: refuse("the client ended its TLS handshake")
        case .failed(let reason): refuse(reason)
        }
    }

    /// Begins the server's part of the handshake with the flags that the client has sent before TLS.
    private func connect() {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            return refuse("no sockets can be had: \(String(cString: strerror(errno)))")
        }
        (inner, serversEnd) = (ends[0], ends[1])
        toServer.room.copyBytes(from: flags)
        toServer.filled(flags.count)
        readWantsWrite = false
        deadline = .distantFuture
        stage = .relaying
    }

    // MARK: Relaying

    /// Moves what is there, in both directions; returns whether something moved.
    private func relay(_ now: MonotonicTime) -> Bool {
        var hasMoved = hasClientEnded ? false : receive()
        if stage == .relaying, !toServer.isEmpty { hasMoved = passOn() || hasMoved }
        if stage == .relaying, toClient.isEmpty, !hasServerEnded { hasMoved = takeAnswers(now) || hasMoved }
        if stage == .relaying, !toClient.isEmpty { hasMoved = answer() || hasMoved }
        if stage == .relaying, hasServerEnded, toClient.isEmpty { close() }
        return hasMoved
    }

    private func receive() -> Bool {
        guard let tls, toServer.isEmpty else { return false }
        readWantsWrite = false
        while !toServer.isFull {
            switch tls.read(into: toServer.room) {
            case .done(let count):
                toServer.filled(count)
                continue
            case .wantsRead: break
            case .wantsWrite: readWantsWrite = true
            case .ended:
                hasClientEnded = true
                // The server answers what it has.
                if toServer.isEmpty { shutdown(inner, Int32(SHUT_WR)) }
            case .failed: close()
            }
            break
        }
        return !toServer.isEmpty
    }

    private func passOn() -> Bool {
        let count = send(inner, toServer.bytes.baseAddress, toServer.bytes.count, Int32(MSG_NOSIGNAL))
        if count < 0 {
            // The server has ended: its last words are still to be passed on.
            if errno != EAGAIN, errno != EINTR { toServer.taken(toServer.bytes.count) }
            return false
        }
        toServer.taken(count)
        if hasClientEnded, toServer.isEmpty { shutdown(inner, Int32(SHUT_WR)) }
        return count > 0
    }

    private func takeAnswers(_ now: MonotonicTime) -> Bool {
        let count = recv(inner, toClient.room.baseAddress, toClient.room.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return false }
        guard count > 0 else {
            hasServerEnded = true
            deadline = now.advanced(byMilliseconds: patienceMilliseconds)
            return true
        }
        toClient.filled(count)
        let greeting = min(greetingLeft, count)
        toClient.taken(greeting)
        greetingLeft -= greeting
        return true
    }

    private func answer() -> Bool {
        guard let tls else { return false }
        var hasMoved = false
        writeWantsRead = false
        while !toClient.isEmpty {
            switch tls.write(toClient.bytes) {
            case .done(let count):
                toClient.taken(count)
                hasMoved = true
                continue
            case .wantsRead: writeWantsRead = true
            case .wantsWrite: break
            case .ended, .failed: close()
            }
            break
        }
        return hasMoved
    }
}
