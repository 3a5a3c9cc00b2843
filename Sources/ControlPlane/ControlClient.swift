import Base
import Foundation
import Glibc
import JSON
import UnixSockets

/// Calls methods of a control socket, and waits for their answers.
public final class ControlClient {
    private let descriptor: Int32
    private var reader: LineReader
    private let patienceSeconds: UInt32?
    private var calls = 0

    /// Connects to a daemon's control socket.
    ///
    /// - Parameter patienceSeconds: how long an answer is waited for; for ever where not given.
    public init(path: String, patienceSeconds: UInt32? = nil) throws(TercetError) {
        self.patienceSeconds = patienceSeconds
        descriptor = try UnixListener.connect(to: path)
        reader = LineReader(descriptor)
        guard let patienceSeconds else { return }
        var patience = timeval(tv_sec: Int(patienceSeconds), tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { close(descriptor) }

    /// Calls a method. Throws `ControlError` where it fails, `TercetError` where no answer comes: `timedOut` if it is late.
    public func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable, returning type: Result.Type
    ) throws -> Result {
        calls += 1
        let request = ControlRequest(
            jsonrpc: "2.0", method: method, params: try JSONValue(encoding: parameters), id: .integer(Int64(calls)))
        let line = Array(try JSONEncoder().encode(request)) + [UInt8(ascii: "\n")]
        errno = 0
        guard writeAll(descriptor, line), let bytes = reader.next() else {
            if let patienceSeconds, errno == EAGAIN {
                throw TercetError(.timedOut, "the daemon has not answered \(method) within \(patienceSeconds) s")
            }
            throw TercetError(.unavailable, "the daemon has closed the control connection")
        }
        let answer = try JSONDecoder().decode(ControlAnswer.self, from: Data(bytes))
        if let error = answer.error { throw error }
        return try (answer.result ?? .null).decoded(type)
    }

    /// The parameters of the next notification; waits for it. `nil` when the daemon has ended the connection.
    public func nextNotification<Parameters: Decodable>(_ type: Parameters.Type) throws -> Parameters? {
        guard let bytes = reader.next() else { return nil }
        let request = try JSONDecoder().decode(ControlRequest.self, from: Data(bytes))
        return try (request.params ?? .null).decoded(type)
    }
}
