import Base
import Foundation
import Glibc
import Metrics
import Testing
import UnixSockets

@Suite struct MetricsTests {
    /// As "Exposition formats" of Prometheus' documentation has it.
    @Test func text() {
        var metrics = MetricsText()
        metrics.family("tercet_target_commands_total", .counter, "Commands that were answered.") { family in
            family.sample([("host", "a\"b\\c\nd"), ("operation", "read")], 12 as UInt64)
        }
        metrics.family("tercet_target_nothing", .gauge, "Nothing.") { _ in }
        metrics.family("tercet_target_command_duration_seconds", .histogram, "Time.") { family in
            family.histogram([("operation", "read")], [(0.001, 3), (0.002, 0), (0.5, 1)], sum: 0.25)
        }
        metrics.family("tercet_target_controllers", .gauge, "Controllers.") { $0.sample([], 2.0) }
        #expect(
            metrics.text == """
                # HELP tercet_target_commands_total Commands that were answered.
                # TYPE tercet_target_commands_total counter
                tercet_target_commands_total{host="a\\"b\\\\c\\nd",operation="read"} 12
                # HELP tercet_target_command_duration_seconds Time.
                # TYPE tercet_target_command_duration_seconds histogram
                tercet_target_command_duration_seconds_bucket{operation="read",le="0.001"} 3
                tercet_target_command_duration_seconds_bucket{operation="read",le="0.002"} 3
                tercet_target_command_duration_seconds_bucket{operation="read",le="0.5"} 4
                tercet_target_command_duration_seconds_bucket{operation="read",le="+Inf"} 4
                tercet_target_command_duration_seconds_sum{operation="read"} 0.25
                tercet_target_command_duration_seconds_count{operation="read"} 4
                # HELP tercet_target_controllers Controllers.
                # TYPE tercet_target_controllers gauge
                tercet_target_controllers 2

                """)
    }

    @Test func health() {
        let well = HealthReport([.init("reactors", nil), .init("listeners", nil)])
        let ill = HealthReport([.init("reactors", nil), .init("listeners", "none")])
        let (short, verbose) = (HTTPRequest(path: "/readyz", query: ""), HTTPRequest(path: "/readyz", query: "verbose"))
        #expect(well.answer(short).body == "ok\n" && well.answer(short).status == 200)
        #expect(well.answer(verbose).body == "[+]reactors ok\n[+]listeners ok\nreadyz check passed\n")
        #expect(ill.answer(short).body == "[+]reactors ok\n[-]listeners failed: none\nreadyz check failed\n")
        #expect(ill.answer(short).status == 503)
    }

    private static let path = "\(NSTemporaryDirectory())/tercet-metrics-\(getpid()).sock"

    private static func server(_ path: String) throws -> HTTPServer {
        let server = try HTTPServer(listen: path, patienceMilliseconds: 300) { request in
            request.path == "/a"
                ? HTTPAnswer(status: 200, body: "<\(request.query)>") : HTTPAnswer(status: 404, body: "no")
        }
        server.start()
        return server
    }

    /// All that comes after some bytes were sent, up to the end of the connection.
    private static func exchange(_ path: String, _ text: String) throws -> String {
        let descriptor = try UnixListener.connect(to: path)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        var answer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while case let count = read(descriptor, &part, part.count), count > 0 { answer += part[..<count] }
        return String(decoding: answer, as: UTF8.self)
    }

    /// Does what blocks on a thread of its own: the server's tasks need those that tests run on.
    private func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            Thread { continuation.resume(with: Swift.Result { try body() }) }.start()
        }
    }

    @Test(arguments: [
        ("GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n<b=1>"),
        ("HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\nConnection: close\r\n\r\n"),
        ("GET /b HTTP/1.0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "\r\n\r\nno"),
        ("POST /a HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ", "allowed: GET, HEAD\n"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 ", "GET PATH HTTP/1.1\n"),
    ])
    func requests(text: String, start: String, end: String) async throws {
        let path = "\(Self.path)\(UInt32.random(in: 0...UInt32.max))"
        let server = try Self.server(path)
        defer { server.stop() }
        let answer = try await onThread { try Self.exchange(path, text) }
        #expect(answer.hasPrefix(start))
        #expect(answer.hasSuffix(end))
    }

    /// A head without end, one that never comes, and many at once that say nothing: others are answered.
    @Test func rudeClients() async throws {
        let path = "\(Self.path)-rude"
        let server = try Self.server(path)
        defer { server.stop() }
        let long = try await onThread {
            try Self.exchange(path, "GET /a HTTP/1.1\r\n" + String(repeating: "x: y\r\n", count: 10_000))
        }
        #expect(long == "")
        let silent = try await onThread { try (0..<20).map { _ in try UnixListener.connect(to: path) } }
        let answer = try await onThread { try Self.exchange(path, "GET /a HTTP/1.1\r\n\r\n") }
        #expect(answer.hasSuffix("<>"))
        for descriptor in silent { close(descriptor) }
    }

    @Test(arguments: ["", "127.0.0.1", "host:1", "127.0.0.1:99999"])
    func addresses(text: String) {
        #expect(throws: TercetError.self) { try HTTPServer(listen: text) { _ in HTTPAnswer(status: 200, body: "") } }
    }
}
