import Base
import Foundation
import Glibc
import JSON
import Synchronization
import UnixSockets

/// Answers control methods on a Unix socket, a request a line, on threads of its own: never on a reactor.
///
/// Only the user of this process and the superuser are answered (SO_PEERCRED), whatever the permissions of the path are. A client
/// that leaves a request half sent, or does not read its answers, loses its connection after `patienceSeconds`. If all places are
/// taken, a new client gets that of the client which has asked nothing for longest.
public final class ControlServer: Sendable {
    private let listener: UnixListener
    private let methods: ControlMethods
    private let isStopping = Atomic<Bool>(false)
    private let clients = ControlClients(capacity: ControlServer.maximumClients)

    /// A longer line is no request.
    static let longestLine = 1 << 20
    private static let maximumClients = 32
    /// How long the rest of a request, or room for an answer, is waited for.
    private let patienceSeconds: Int
    /// How long answers that are under way have at the end.
    private static let endingSeconds = 2.0

    public init(_ listener: UnixListener, _ methods: ControlMethods, patienceSeconds: Int = 10) {
        self.listener = listener
        self.methods = methods
        self.patienceSeconds = patienceSeconds
    }

    /// Begins to answer.
    public func start() {
        Thread { self.acceptClients() }.start()
    }

    /// Answers no new clients, and removes the socket. A second call does nothing.
    public func stop() {
        guard !isStopping.exchange(true, ordering: .acquiringAndReleasing) else { return }
        // A service manager's own goes on listening, for the next process.
        guard listener.isOwn else { return }
        shutdown(listener.descriptor, Int32(SHUT_RDWR))
        listener.close()
    }

    /// Ends all connections when the answers that are under way have gone out. Not from a method, which is under way itself.
    public func endConnections() { clients.endAll(withinSeconds: Self.endingSeconds) }

    private func acceptClients() {
        while !isStopping.load(ordering: .acquiring) {
            var event = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&event, 1, 1000) > 0 else { continue }
            if isStopping.load(ordering: .acquiring) { return }
            let client = accept(listener.descriptor, nil, nil)
            guard client >= 0 else {
                if errno != EAGAIN { usleep(100_000) }
                continue
            }
            admit(client)
        }
    }

    private func admit(_ client: Int32) {
        var patience = timeval(tv_sec: patienceSeconds, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard Self.mayAsk(client), let place = clients.admit(client) else {
            let refusal = ControlAnswer(
                error: ControlError(
                    code: ControlError.refused,
                    message: "not answered: another user, or all places are taken by requests that are under way"),
                id: .null)
            _ = writeAll(client, refusal.line)
            close(client)
            return
        }
        Thread {
            self.serve(client, place)
            self.clients.leave(place) { close(client) }
        }.start()
    }

    /// Whether a client is of the superuser or of this process's user (unix(7), SO_PEERCRED).
    private static func mayAsk(_ client: Int32) -> Bool {
        guard let user = UnixListener.user(ofPeer: client) else { return false }
        return user == 0 || user == geteuid()
    }

    /// An answer on its way from a task to a thread.
    private final class Box: Sendable { let value = Mutex<ControlAnswer?>(nil) }

    private func serve(_ client: Int32, _ place: Int) {
        var reader = LineReader(client)
        while true {
            guard let line = reader.next(patienceSeconds: patienceSeconds) else {
                if reader.isTooLong {
                    let message = "a request has at most \(Self.longestLine) bytes, in one line"
                    _ = writeAll(
                        client,
                        ControlAnswer(
                            error: ControlError(code: ControlError.invalidRequest, message: message), id: .null
                        ).line)
                }
                return
            }
            clients.begin(place)
            let (done, answer) = (DispatchSemaphore(value: 0), Box())
            Task {
                let made = await methods.answer(line)
                answer.value.withLock { $0 = made }
                done.signal()
            }
            done.wait()
            let made = answer.value.withLock { $0 }
            if let made, !writeAll(client, made.line) { return }
            clients.end(place)
            if let feed = made?.feed { return follow(feed, client) }
        }
    }

    /// Passes on what comes of a feed, until the client has gone, takes it too slowly, or sends anything: the connection is for the
    /// feed alone.
    private func follow(_ feed: ControlFeed, _ client: Int32) {
        defer { feed.end() }
        while true {
            var event = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
            guard let lines = feed.next(seconds: 1), poll(&event, 1, 0) == 0 else { return }
            for line in lines where !writeAll(client, line) { return }
        }
    }
}

/// The connections of a control socket. From any thread.
private final class ControlClients: Sendable {
    private struct Client {
        let descriptor: Int32
        /// The number of the request, or of the admission, that was its last: the smallest has asked nothing for longest.
        var last: Int
        var isBusy = false
    }

    private struct State {
        var clients: [Int: Client] = [:]
        var count = 0
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) { self.capacity = capacity }

    /// Takes a client up, perhaps in the place of another, whose connection ends; its number. `nil` if all are busy.
    func admit(_ descriptor: Int32) -> Int? {
        state.withLock { state in
            if state.clients.count >= capacity {
                guard let oldest = state.clients.filter({ !$0.value.isBusy }).min(by: { $0.value.last < $1.value.last })
                else { return nil }
                // Its thread notices that, and closes the descriptor.
                shutdown(oldest.value.descriptor, Int32(SHUT_RDWR))
                state.clients[oldest.key] = nil
            }
            state.count += 1
            state.clients[state.count] = Client(descriptor: descriptor, last: state.count)
            return state.count
        }
    }

    /// A request of a client is under way.
    func begin(_ place: Int) {
        state.withLock { state in
            state.count += 1
            state.clients[place]?.last = state.count
            state.clients[place]?.isBusy = true
        }
    }

    func end(_ place: Int) { state.withLock { $0.clients[place]?.isBusy = false } }

    /// A client has gone. Its descriptor is closed while nobody can take it for one that is open.
    func leave(_ place: Int, _ close: () -> Void) {
        state.withLock { state in
            state.clients[place] = nil
            close()
        }
    }

    func endAll(withinSeconds seconds: Double) {
        let deadline = MonotonicTime.now().advanced(byMilliseconds: UInt64(seconds * 1000))
        while state.withLock({ $0.clients.values.contains { $0.isBusy } }), MonotonicTime.now() < deadline {
            usleep(1000)
        }
        state.withLock { for client in $0.clients.values { shutdown(client.descriptor, Int32(SHUT_RDWR)) } }
    }
}
