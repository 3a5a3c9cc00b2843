import Base
import Foundation
import Glibc
import Synchronization
import UnixSockets

/// Answers control methods on a Unix socket, a request a line, on threads of its own: never on a reactor.
public final class ControlServer: Sendable {
    private let listener: UnixListener
    private let methods: ControlMethods
    private let isStopping = Atomic<Bool>(false)
    private let clients = Atomic<Int>(0)

    /// A longer line is no request.
    static let longestLine = 1 << 20
    /// Clients at once; further ones wait to be accepted.
    private static let maximumClients = 32
    /// A client that sends nothing for so long is let go.
    private static let idleSeconds = 600

    public init(_ listener: UnixListener, _ methods: ControlMethods) {
        self.listener = listener
        self.methods = methods
    }

    /// Begins to answer.
    public func start() {
        Thread { self.acceptClients() }.start()
    }

    /// Answers no new clients, and removes the socket. A second call does nothing.
    public func stop() {
        guard !isStopping.exchange(true, ordering: .acquiringAndReleasing) else { return }
        shutdown(listener.descriptor, Int32(SHUT_RDWR))
        listener.close()
    }

    private func acceptClients() {
        while !isStopping.load(ordering: .acquiring) {
            var event = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&event, 1, 1000) > 0, clients.load(ordering: .relaxed) < Self.maximumClients else {
                if event.revents != 0 { usleep(10_000) }
                continue
            }
            if isStopping.load(ordering: .acquiring) { return }
            let client = accept(listener.descriptor, nil, nil)
            guard client >= 0 else {
                if errno != EAGAIN { usleep(100_000) }
                continue
            }
            var patience = timeval(tv_sec: Self.idleSeconds, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, size)
            setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, size)
            clients.add(1, ordering: .relaxed)
            Thread {
                self.serve(client)
                close(client)
                self.clients.subtract(1, ordering: .relaxed)
            }.start()
        }
    }

    /// An answer on its way from a task to a thread.
    private final class Box: Sendable { let value = Mutex<ControlAnswer?>(nil) }

    private func serve(_ client: Int32) {
        var reader = LineReader(client)
        while let line = reader.next() {
            let (done, answer) = (DispatchSemaphore(value: 0), Box())
            Task {
                let made = await methods.answer(line)
                answer.value.withLock { $0 = made }
                done.signal()
            }
            done.wait()
            guard let text = answer.value.withLock({ $0 })?.line else { continue }
            if !writeAll(client, text) { return }
        }
    }
}

/// Reads lines from a descriptor that blocks.
struct LineReader {
    private let descriptor: Int32
    private var bytes: [UInt8] = []

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// The next line without its end; `nil` where there is none, or where it is too long.
    mutating func next() -> [UInt8]? {
        var looked = 0
        while true {
            if let end = bytes[looked...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(bytes[..<end])
                bytes.removeFirst(end + 1)
                return line
            }
            looked = bytes.count
            guard bytes.count <= ControlServer.longestLine else { return nil }
            var part = [UInt8](repeating: 0, count: 4096)
            let count = read(descriptor, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            bytes += part[..<count]
        }
    }
}

/// Writes all bytes to a descriptor that blocks; `false` where nobody reads them.
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var written = 0
    while written < bytes.count {
        let count = bytes[written...].withUnsafeBytes {
            send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        written += count
    }
    return true
}
