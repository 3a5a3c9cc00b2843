import Base
import ControlPlane
import Foundation
import Glibc
import JSON
import Testing
import UnixSockets

/// Clients of a control socket that do not behave: they lose their connections, and others notice nothing.
@Suite struct RudeClientTests {
    private let tests = ControlTests()

    /// Whether a connection has been ended by the server. The server's tasks end it after a second, but other tests may keep those
    /// from a processor for minutes.
    private static func isEnded(_ descriptor: Int32) -> Bool {
        let deadline = MonotonicTime.now().advanced(byMilliseconds: 300_000)
        var bytes = [UInt8](repeating: 0, count: 65536)
        while MonotonicTime.now() < deadline {
            var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&event, 1, 1000) > 0 else { continue }
            if read(descriptor, &bytes, bytes.count) <= 0 { return true }
        }
        return false
    }

    private func answers(_ path: String) async throws -> Bool {
        try await tests.onThread {
            try ControlClient(path: path)
                .call("add", ControlTests.Numbers(left: 2, right: 3), returning: Int.self) == 5
        }
    }

    /// The end of a client that does `body` at a server, which answers others afterwards.
    private func rude<Outcome: Sendable>(
        _ body: @escaping @Sendable (Int32) throws -> Outcome
    ) async throws -> Outcome {
        let path = tests.path()
        let server = try tests.serve(path)
        defer { server.stop() }
        let outcome = try await tests.onThread {
            let descriptor = try UnixListener.connect(to: path)
            defer { close(descriptor) }
            return try body(descriptor)
        }
        #expect(try await answers(path))
        return outcome
    }

    @Test func halfOfARequestIsNotWaitedForForEver() async throws {
        let isEnded = try await rude { descriptor in
            try #require(write(descriptor, "{\"jsonrpc\"", 10) == 10)
            return Self.isEnded(descriptor)
        }
        #expect(isEnded)
    }

    @Test func aRequestWithoutEndLosesItsConnection() async throws {
        let isEnded = try await rude { descriptor in
            let part = [UInt8](repeating: UInt8(ascii: "x"), count: 65536)
            for _ in 0..<1024 where send(descriptor, part, part.count, Int32(MSG_NOSIGNAL)) < 0 { return true }
            return false
        }
        #expect(isEnded)
    }

    /// It sends requests, and reads none of the answers, until the socket is full.
    @Test func aClientThatDoesNotReadLosesItsConnection() async throws {
        let isRefused = try await rude { descriptor in
            // Answers are made by tasks: other tests may keep those from a processor for a minute.
            var patience = timeval(tv_sec: 300, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            let request = Array(
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"add\",\"params\":{\"left\":1,\"right\":1}}\n".utf8)
            while true {
                let count = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL))
                if count < 0 { return errno == EPIPE || errno == ECONNRESET }
            }
        }
        #expect(isRefused)
    }

    @Test func moreClientsThanPlacesDoNotKeepOthersOut() async throws {
        let path = tests.path()
        let server = try tests.serve(path)
        defer { server.stop() }
        let idle = try await tests.onThread { try (0..<100).map { _ in try UnixListener.connect(to: path) } }
        #expect(try await answers(path))
        for descriptor in idle { close(descriptor) }
        #expect(try await answers(path))
    }

    @Test func eventsAreFollowed() async throws {
        let path = tests.path()
        let broadcast = ControlBroadcast(method: DaemonEvent.notification)
        let server = try tests.serve(path, broadcast)
        defer { server.stop() }
        let sent = DaemonEvent(time: "now", level: "info", message: "host connected", details: ["host": "h"])
        let heard = try await tests.onThread {
            let client = try ControlClient(path: path)
            _ = try client.call(DaemonEvent.watch, NoParameters(), returning: JSONValue.self)
            broadcast.tell { sent }
            return try client.nextNotification(DaemonEvent.self)
        }
        #expect(heard == sent)
    }

    /// 4,096 events and what a socket holds may wait.
    @Test func aWatcherThatDoesNotReadLosesItsConnection() async throws {
        let path = tests.path()
        let broadcast = ControlBroadcast(method: DaemonEvent.notification)
        let server = try tests.serve(path, broadcast)
        defer { server.stop() }
        let count = try await tests.onThread {
            let client = try ControlClient(path: path)
            _ = try client.call(DaemonEvent.watch, NoParameters(), returning: JSONValue.self)
            let text = String(repeating: "x", count: 1000)
            for _ in 0..<20_000 {
                broadcast.tell { DaemonEvent(time: "", level: "info", message: text, details: [:]) }
            }
            var count = 0
            while try client.nextNotification(DaemonEvent.self) != nil { count += 1 }
            return count
        }
        #expect(count < 20_000)
        #expect(try await answers(path))
    }
}
