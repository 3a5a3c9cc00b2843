import Base
import Foundation
import Glibc
import JSON
import UnixSockets

/// Calls methods of a control socket, and waits for their answers.
public final class ControlClient {
    private let path: String
    private let descriptor: Int32
    private var reader: LineReader
    private let patience: Patience
    private var calls = 0

    /// How long an answer is waited for.
    public enum Patience: Sendable {
        case forever
        case seconds(UInt32)
        /// As long as the daemon lives. When `silentSeconds` have gone by without an answer, it is asked whether it does, and has
        /// `aliveSeconds` to answer anything.
        case whileAlive(silentSeconds: UInt32, aliveSeconds: UInt32)

        fileprivate var seconds: UInt32? {
            switch self {
            case .forever: nil
            case .seconds(let seconds), .whileAlive(let seconds, _): seconds
            }
        }
    }

    /// Connects to a daemon's control socket.
    public init(path: String, patience: Patience = .forever) throws(TercetError) {
        self.path = path
        self.patience = patience
        descriptor = try UnixListener.connect(to: path, patienceSeconds: patience.seconds)
        reader = LineReader(descriptor)
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
        guard writeAll(descriptor, line) else { throw noAnswer }
        var bytes = reader.next()
        while bytes == nil, errno == EAGAIN, case .whileAlive(_, let seconds) = patience,
            Self.isAlive(path, within: seconds)
        {
            errno = 0
            bytes = reader.next()
        }
        guard let bytes else { throw noAnswer }
        let answer = try JSONDecoder().decode(ControlAnswer.self, from: Data(bytes))
        if let error = answer.error { throw error }
        return try (answer.result ?? .null).decoded(type)
    }

    /// The reason for an answer that has not come, by the error number.
    private var noAnswer: TercetError {
        switch patience {
        case .seconds(let seconds) where errno == EAGAIN:
            TercetError(.timedOut, "the daemon has not answered within \(seconds) s")
        case .whileAlive where errno == EAGAIN:
            TercetError(
                .timedOut,
                "\(path): the daemon does not answer: it has been stopped, or hangs; a change that it was asked for may have been made, or may still be"
            )
        default: TercetError(.unavailable, "the daemon has closed the control connection")
        }
    }

    /// Whether the daemon at a path answers anything, on a connection of its own: a call may take long, others do not wait for it.
    private static func isAlive(_ path: String, within seconds: UInt32) -> Bool {
        guard let descriptor = try? UnixListener.connect(to: path, patienceSeconds: seconds) else { return false }
        defer { close(descriptor) }
        var reader = LineReader(descriptor)
        return writeAll(
            descriptor, Array("{\"jsonrpc\":\"2.0\",\"method\":\"\(ControlMethods.alive)\",\"id\":0}\n".utf8))
            && reader.next() != nil
    }

    /// The parameters of the next notification; waits for it. `nil` when the daemon has ended the connection.
    public func nextNotification<Parameters: Decodable>(_ type: Parameters.Type) throws -> Parameters? {
        var bytes: [UInt8]?
        // Nothing may happen for a long time.
        repeat {
            errno = 0
            bytes = reader.next()
        } while bytes == nil && errno == EAGAIN
        guard let bytes else { return nil }
        let request = try JSONDecoder().decode(ControlRequest.self, from: Data(bytes))
        return try (request.params ?? .null).decoded(type)
    }
}
