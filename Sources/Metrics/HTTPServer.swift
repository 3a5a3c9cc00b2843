import Base
import Foundation
import Glibc
import Synchronization
import UnixSockets

/// A request of HTTP: GET or HEAD, without a body.
public struct HTTPRequest: Equatable, Sendable {
    /// Without the query.
    public var path: String
    /// Behind the question mark; empty if there is none.
    public var query: String

    public init(path: String, query: String) {
        self.path = path
        self.query = query
    }
}

/// An answer of HTTP.
public struct HTTPAnswer: Sendable {
    public var status: Int
    public var mediaType: String
    public var body: String

    public init(status: Int, mediaType: String = "text/plain; charset=utf-8", body: String) {
        self.status = status
        self.mediaType = mediaType
        self.body = body
    }
}

/// Answers GET and HEAD of HTTP/1.1 (RFC 9112), one request a connection, on threads of its own: never on a reactor.
///
/// No more of HTTP than scrapers of metrics and health checks need. A request has at most 8 KiB and 5 seconds to come, an answer
/// 5 seconds to be taken; at most 8 are served at once, and the others wait in the kernel's queue.
public final class HTTPServer: Sendable {
    public typealias Handler = @Sendable (HTTPRequest) async -> HTTPAnswer

    private let descriptor: Int32
    private let unixListener: UnixListener?
    private let handler: Handler
    private let isStopping = Atomic<Bool>(false)
    private let places = DispatchSemaphore(value: HTTPServer.mostAtOnce)

    private static let mostAtOnce = 8
    private static let longestHead = 8192
    /// How long a request has to come, and an answer to be taken.
    private let patienceMilliseconds: UInt64

    /// Listens at `ADDRESS:PORT` (IPv6 in brackets), or at a Unix socket if the text begins with a slash.
    public init(
        listen text: String, patienceMilliseconds: UInt64 = 5000, _ handler: @escaping Handler
    ) throws(TercetError) {
        self.handler = handler
        self.patienceMilliseconds = patienceMilliseconds
        if text.hasPrefix("/") {
            let listener = try UnixListener(path: text)
            (unixListener, descriptor) = (listener, listener.descriptor)
            return
        }
        // Port 0 stands for a port that is missing: there is none that everybody expects.
        guard let address = SocketAddress(text, defaultPort: 0), address.port != 0 else {
            throw TercetError(
                .invalid,
                "'\(text)' is no address; allowed: ADDRESS:PORT, [IPV6]:PORT in numbers, or the path of a socket")
        }
        (unixListener, descriptor) = (nil, try Self.listen(at: address))
    }

    /// Begins to answer.
    public func start() { Thread { self.acceptClients() }.start() }

    /// Answers no new requests. A second call does nothing.
    public func stop() {
        guard !isStopping.exchange(true, ordering: .acquiringAndReleasing) else { return }
        shutdown(descriptor, Int32(SHUT_RDWR))
        if let unixListener { unixListener.close() } else { close(descriptor) }
    }

    private static func listen(at address: SocketAddress) throws(TercetError) -> Int32 {
        func problem(_ call: String) -> TercetError {
            TercetError(call: "\(call) \(address)", errno: errno, reason: String(cString: strerror(errno)))
        }
        let family = address.family == .ipv6 ? AF_INET6 : AF_INET
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw problem("socket") }
        var isOn: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
        let isBound = address.withSockaddr { bind(descriptor, $0, $1) } == 0
        guard isBound, Glibc.listen(descriptor, SOMAXCONN) == 0 else {
            let failure = problem("listen for metrics at")
            close(descriptor)
            throw failure
        }
        return descriptor
    }

    private func acceptClients() {
        while !isStopping.load(ordering: .acquiring) {
            var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&event, 1, 1000) > 0 else { continue }
            places.wait()
            let client = isStopping.load(ordering: .acquiring) ? -1 : accept(descriptor, nil, nil)
            guard client >= 0 else {
                places.signal()
                if errno != EAGAIN, !isStopping.load(ordering: .acquiring) { usleep(100_000) }
                continue
            }
            Thread {
                self.serve(client)
                close(client)
                self.places.signal()
            }.start()
        }
    }

    private func serve(_ client: Int32) {
        let deadline = MonotonicTime.now().advanced(byMilliseconds: patienceMilliseconds)
        guard let head = Self.readHead(client, deadline) else { return }
        let (request, isHead, refusal) = Self.parse(head)
        let answer = request.map { self.answer($0) } ?? refusal
        let body = Array(answer.body.utf8)
        let text = """
            HTTP/1.1 \(answer.status) \(Self.reason(answer.status))\r
            Content-Type: \(answer.mediaType)\r
            Content-Length: \(body.count)\r
            Connection: close\r
            \r

            """
        let end = MonotonicTime.now().advanced(byMilliseconds: patienceMilliseconds)
        _ = Self.write(client, Array(text.utf8) + (isHead ? [] : body), end)
    }

    /// An answer on its way from a task to a thread.
    private final class Box: Sendable { let value = Mutex<HTTPAnswer?>(nil) }

    private func answer(_ request: HTTPRequest) -> HTTPAnswer {
        let (done, box) = (DispatchSemaphore(value: 0), Box())
        Task {
            let made = await handler(request)
            box.value.withLock { $0 = made }
            done.signal()
        }
        done.wait()
        return box.value.withLock { $0 } ?? HTTPAnswer(status: 500, body: "")
    }

    /// The lines up to the empty one; `nil` if they do not come in time, or are too long.
    private static func readHead(_ client: Int32, _ deadline: MonotonicTime) -> [UInt8]? {
        var head: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while head.count <= longestHead {
            guard wait(client, POLLIN, deadline) else { return nil }
            let count = recv(client, &part, part.count, Int32(MSG_DONTWAIT))
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return nil }
            head += part[..<count]
            if head.suffix(count + 3).contains(UInt8(ascii: "\n")), isWhole(head) { return head }
        }
        return nil
    }

    /// It ends with an empty line, or has one.
    package static func isWhole(_ head: [UInt8]) -> Bool {
        let lines = head.filter { $0 != UInt8(ascii: "\r") }
        return zip(lines, lines.dropFirst()).contains { $0 == UInt8(ascii: "\n") && $1 == UInt8(ascii: "\n") }
    }

    /// The request line: "METHOD TARGET HTTP/1.x". The refusal is for where there is no request.
    package static func parse(_ head: [UInt8]) -> (HTTPRequest?, isHead: Bool, refusal: HTTPAnswer) {
        let line = head.prefix { $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: "\n") }
        let words = String(decoding: line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("HTTP/1."), words[1].hasPrefix("/") else {
            return (nil, false, HTTPAnswer(status: 400, body: "a request is: GET PATH HTTP/1.1\n"))
        }
        guard words[0] == "GET" || words[0] == "HEAD" else {
            return (nil, false, HTTPAnswer(status: 405, body: "allowed: GET, HEAD\n"))
        }
        let parts = words[1].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let request = HTTPRequest(path: String(parts[0]), query: parts.count > 1 ? String(parts[1]) : "")
        return (request, words[0] == "HEAD", HTTPAnswer(status: 500, body: ""))
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 503: "Service Unavailable"
        default: "Internal Server Error"
        }
    }

    private static func write(_ client: Int32, _ bytes: [UInt8], _ deadline: MonotonicTime) -> Bool {
        var written = 0
        while written < bytes.count {
            guard wait(client, POLLOUT, deadline) else { return false }
            let count = bytes[written...].withUnsafeBytes {
                send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return false }
            written += count
        }
        return true
    }

    /// Waits until a descriptor is ready; `false` where it is not in time.
    private static func wait(_ client: Int32, _ events: Int32, _ deadline: MonotonicTime) -> Bool {
        let now = MonotonicTime.now()
        guard now < deadline else { return false }
        var event = pollfd(fd: client, events: Int16(events), revents: 0)
        return poll(&event, 1, Int32(clamping: deadline.nanoseconds(since: now) / 1_000_000 + 1)) > 0
    }
}
