import Base
import Foundation
import JSON

/// The methods of a control socket, by their names. Parameters and results are Codable types.
public struct ControlMethods: Sendable {
    typealias Body = @Sendable (JSONValue) async throws -> (JSONValue, ControlFeed?)
    /// A method that every daemon has, which does nothing.
    static let alive = "alive"
    private var bodies: [String: Body] = [alive: { _ in (.object([:]), nil) }]

    public init() {}

    /// Adds a method. `body` throws a `TercetError` where it fails.
    public mutating func add<Parameters: Decodable & Sendable, Result: Encodable & Sendable>(
        _ name: String, _ type: Parameters.Type,
        _ body: @escaping @Sendable (Parameters) async throws(TercetError) -> Result
    ) {
        bodies[name] = { value in
            let parameters: Parameters
            do { parameters = try value.decoded(Parameters.self) } catch let error as DecodingError {
                throw ControlError(code: ControlError.invalidParameters, message: "\(name): \(error.sentence)")
            }
            do throws(TercetError) {
                let result = try await body(parameters)
                guard let json = try? JSONValue(encoding: result) else { return (.null, nil) }
                return (json, nil)
            } catch {
                throw ControlError(error)
            }
        }
    }

    /// Adds a method whose parameters are any JSON. `body` throws a `ControlError` or a `TercetError` where it fails.
    public mutating func add<Result: Encodable & Sendable>(
        _ name: String, _ body: @escaping @Sendable (JSONValue) async throws -> Result
    ) {
        bodies[name] = { value in
            do {
                return (try JSONValue(encoding: try await body(value)), nil)
            } catch let error as TercetError {
                throw ControlError(error)
            }
        }
    }

    /// Adds the method that follows the events of a daemon, on the connection on which it is called.
    public mutating func addWatch(_ broadcast: ControlBroadcast) {
        bodies[DaemonEvent.watch] = { _ in (.object(["watching": .boolean(true)]), broadcast.follow()) }
    }

    /// Answers one line; `nil` for a notification, which has no answer.
    func answer(_ line: [UInt8]) async -> ControlAnswer? {
        let request: ControlRequest
        do throws(ControlError) { request = try ControlRequest(line: line) } catch {
            return ControlAnswer(error: error, id: .null)
        }
        let answer = await perform(request)
        return request.id == nil ? nil : answer
    }

    private func perform(_ request: ControlRequest) async -> ControlAnswer {
        let id = request.id ?? .null
        guard let body = bodies[request.method] else {
            let names = bodies.keys.sorted().joined(separator: ", ")
            return ControlAnswer(
                error: ControlError(
                    code: ControlError.methodNotFound,
                    message: "there is no method '\(request.method)'; there are \(names)"),
                id: id)
        }
        do {
            let (result, feed) = try await body(request.params ?? .object([:]))
            return ControlAnswer(result: result, id: id, feed: feed)
        } catch {
            let known = error as? ControlError
            return ControlAnswer(
                error: known ?? ControlError(code: ControlError.failed, message: "\(error)"), id: id)
        }
    }
}

/// No parameters.
public struct NoParameters: Codable, Sendable {
    public init() {}
}

extension DecodingError {
    /// The mistake in the parameters, for people.
    fileprivate var sentence: String {
        switch self {
        case .keyNotFound(let key, _): "the parameter '\(key.stringValue)' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "the parameter '\(context.codingPath.map(\.stringValue).joined(separator: "."))' has a wrong type"
        default: "the parameters cannot be read"
        }
    }
}
