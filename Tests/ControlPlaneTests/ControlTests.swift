import Base
import ControlPlane
import Foundation
import Glibc
import Testing
import UnixSockets

/// Control methods over a real socket, in the words of JSON-RPC 2.0.
@Suite struct ControlTests {
    struct Numbers: Codable, Sendable { var left: Int; var right: Int }

    func path() -> String {
        "\(NSTemporaryDirectory())/tercet-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).sock"
    }

    func serve(_ path: String, _ broadcast: ControlBroadcast? = nil) throws -> ControlServer {
        var methods = ControlMethods()
        methods.add("add", Numbers.self) { (given) async throws(TercetError) -> Int in
            if given.left < 0 { throw TercetError(.invalid, "left is negative") }
            return given.left + given.right
        }
        if let broadcast { methods.addWatch(broadcast) }
        let server = ControlServer(try UnixListener(path: path), methods, patienceSeconds: 1)
        server.start()
        return server
    }

    /// Does what blocks on a thread of its own: the server's tasks need those that tests run on.
    func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            Thread { continuation.resume(with: Swift.Result { try body() }) }.start()
        }
    }

    /// Sends a line as it is, and returns the answer.
    private func raw(_ path: String, _ line: String) async throws -> String {
        try await onThread { try Self.exchange(path, line) }
    }

    private static func exchange(_ path: String, _ line: String) throws -> String {
        let descriptor = try UnixListener.connect(to: path)
        defer { close(descriptor) }
        let bytes = Array((line + "\n").utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
        var answer = [UInt8](repeating: 0, count: 65536)
        let count = read(descriptor, &answer, answer.count)
        return String(decoding: answer[..<max(0, count)], as: UTF8.self)
    }

    @Test func wholeNumbersOf64BitsAreExact() async throws {
        let path = path()
        let server = try serve(path)
        defer { server.stop() }
        // 2^53 + 1 is no Double, nor is 2^64 - 1.
        for (id, left) in [("9007199254740993", 9_007_199_254_740_992), ("18446744073709551615", 1), ("-1.5", 2)] {
            let answer = try await raw(
                path, #"{"jsonrpc":"2.0","id":\#(id),"method":"add","params":{"left":\#(left),"right":1}}"#)
            #expect(answer.contains(#""id":\#(id)"#) && answer.contains(#""result":\#(left + 1)"#), "\(answer)")
        }
    }

    @Test func callsAndFailures() async throws {
        let path = path()
        let server = try serve(path)
        defer { server.stop() }
        let sum = try await onThread {
            try ControlClient(path: path).call("add", Numbers(left: 2, right: 3), returning: Int.self)
        }
        #expect(sum == 5)
        await #expect(throws: ControlError(code: -32000, message: "left is negative", data: "invalid")) {
            try await onThread {
                try ControlClient(path: path).call("add", Numbers(left: -1, right: 3), returning: Int.self)
            }
        }
        let answer = try await raw(
            path, "{\"jsonrpc\": \"2.0\", \"method\": \"add\", \"params\": {\"left\": 1, \"right\": 1}, \"id\": \"x\"}")
        #expect(answer == "{\"id\":\"x\",\"jsonrpc\":\"2.0\",\"result\":2}\n")
    }

    /// The daemon has minutes to say that it lives, for other tests may keep its tasks from a processor as long.
    @Test func anAnswerIsWaitedForWhileTheDaemonLives() async throws {
        let path = path()
        var methods = ControlMethods()
        methods.add("slow", NoParameters.self) { (_) async throws(TercetError) -> Int in
            try? await Task.sleep(for: .seconds(3))
            return 7
        }
        let server = ControlServer(try UnixListener(path: path), methods)
        server.start()
        defer { server.stop() }
        let answer = try await onThread {
            try ControlClient(path: path, patience: .whileAlive(silentSeconds: 1, aliveSeconds: 300)).call(
                "slow", NoParameters(), returning: Int.self)
        }
        #expect(answer == 7)
    }

    /// A process that is stopped: the system takes connections up for it, until there are too many.
    @Test(arguments: [false, true]) func aDaemonThatDoesNotAnswerIsNotWaitedForForEver(isFull: Bool) async throws {
        let path = path()
        let listener = try UnixListener(path: path)
        defer { listener.close() }
        var waiting: [Int32] = []
        defer { for descriptor in waiting { close(descriptor) } }
        if isFull {
            // Fewer are taken up, and nobody waits long for that.
            listen(listener.descriptor, 1)
            while let descriptor = try? UnixListener.connect(to: path, patienceSeconds: 1) {
                waiting.append(descriptor)
            }
        }
        let error = await #expect(throws: TercetError.self) {
            try await onThread {
                try ControlClient(path: path, patience: .whileAlive(silentSeconds: 1, aliveSeconds: 1)).call(
                    "list", NoParameters(), returning: Int.self)
            }
        }
        #expect(error?.code == .timedOut)
        #expect(error?.message.contains(isFull ? "takes up no connections" : "does not answer") == true)
    }

    /// A line that is no request, and the code of the answer.
    struct BadRequest: CustomTestStringConvertible {
        let line: String
        let code: String

        init(_ line: String, _ code: String) { (self.line, self.code) = (line, code) }

        /// Tests print their arguments, and lines may be long.
        var testDescription: String { "\(line.prefix(80))" }
    }

    /// The codes are those of the specification.
    @Test(arguments: [
        BadRequest("{", "-32700"), BadRequest("[1]", "-32600"),
        BadRequest("{\"jsonrpc\": \"1.0\", \"method\": \"add\", \"id\": 1}", "-32600"),
        BadRequest("{\"jsonrpc\": \"2.0\", \"method\": \"sub\", \"id\": 1}", "-32601"),
        BadRequest("{\"jsonrpc\": \"2.0\", \"method\": \"add\", \"params\": {\"left\": 1}, \"id\": 1}", "-32602"),
        BadRequest(
            "{\"jsonrpc\": \"2.0\", \"method\": \"add\", \"params\": {\"left\": \"a\", \"right\": 1}, \"id\": 1}",
            "-32602"),
        BadRequest(String(repeating: "[", count: 500_000), "-32700"),
        BadRequest(
            "{\"a\":" + String(repeating: "[", count: 400) + String(repeating: "]", count: 400) + "}", "-32600"),
    ])
    func badRequests(_ request: BadRequest) async throws {
        let path = path()
        let server = try serve(path)
        defer { server.stop() }
        #expect(try await raw(path, request.line).contains("\"code\":\(request.code)"))
    }

    @Test func aSocketThatIsServedIsLeftAlone() throws {
        let path = path()
        let first = try UnixListener(path: path)
        #expect(throws: TercetError.self) { try UnixListener(path: path) }
        first.close()
        #expect(access(path, F_OK) != 0)
        // A file is not removed, and a socket that another process has made since is not either.
        let file = open(path, O_CREAT | O_WRONLY, 0o600)
        close(file)
        #expect(throws: TercetError.self) { try UnixListener(path: path) }
        unlink(path)
        let second = try UnixListener(path: path)
        unlink(path)
        let other = open(path, O_CREAT | O_WRONLY, 0o600)
        close(other)
        second.close()
        #expect(access(path, F_OK) == 0)
        unlink(path)
        unlink(path + ".lock")
    }
}
