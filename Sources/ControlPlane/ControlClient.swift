import Base
import Foundation
import Glibc
import JSON
import UnixSockets

/// Calls methods of a control socket, and waits for their answers.
public final class ControlClient {
    private let descriptor: Int32
    private var reader: LineReader
    private var calls = 0

    /// Connects to a daemon's control socket.
    public init(path: String) throws(TercetError) {
        descriptor = try UnixListener.connect(to: path)
        reader = LineReader(descriptor)
    }

    deinit { close(descriptor) }

    /// Calls a method. Throws `ControlError` where it fails, `TercetError` where no answer comes.
    public func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable, returning type: Result.Type
    ) throws -> Result {
        calls += 1
        let request = ControlRequest(
            jsonrpc: "2.0", method: method, params: try JSONValue(encoding: parameters), id: .integer(Int64(calls)))
        let line = Array(try JSONEncoder().encode(request)) + [UInt8(ascii: "\n")]
        guard writeAll(descriptor, line), let bytes = reader.next() else {
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
