import Base
import Foundation
import JSON

/// A failure of a control method, as JSON-RPC 2.0 has it ("5.1 Error object").
public struct ControlError: Error, Codable, Equatable, CustomStringConvertible, Sendable {
    public var code: Int
    /// One line for people.
    public var message: String
    /// The kind of failure for programs: a raw value of `TercetError.Code`.
    public var data: String?

    public init(code: Int, message: String, data: String? = nil) {
        self.code = code
        self.message = message
        self.data = data
    }

    public init(_ error: TercetError) {
        self.init(code: Self.failed, message: error.description, data: error.code.rawValue)
    }

    public var description: String { message }

    public static let parseError = -32700
    public static let invalidRequest = -32600
    public static let methodNotFound = -32601
    public static let invalidParameters = -32602
    /// Of the range that is the server's own: the method has failed.
    public static let failed = -32000
    /// The client is not answered at all.
    public static let refused = -32001
}

/// A request of JSON-RPC 2.0.
package struct ControlRequest: Codable {
    var jsonrpc: String
    package var method: String
    package var params: JSONValue?
    package var id: JSONValue?
}

extension ControlRequest {
    /// Reads a line; throws the error that a line is answered with that is no request.
    package init(line: [UInt8]) throws(ControlError) {
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(line)) else {
            throw ControlError(code: ControlError.parseError, message: "this is no JSON")
        }
        guard let request = try? value.decoded(ControlRequest.self), request.jsonrpc == "2.0" else {
            throw ControlError(
                code: ControlError.invalidRequest,
                message:
                    "this is no request of JSON-RPC 2.0: { \"jsonrpc\": \"2.0\", \"method\", \"params\", \"id\" }")
        }
        self = request
    }
}

/// An answer of JSON-RPC 2.0: a result or an error.
struct ControlAnswer: Codable {
    var jsonrpc = "2.0"
    var result: JSONValue?
    var error: ControlError?
    var id: JSONValue
    /// Notifications that follow.
    var feed: ControlFeed?

    private enum CodingKeys: CodingKey { case jsonrpc, result, error, id }

    init(result: JSONValue, id: JSONValue, feed: ControlFeed? = nil) {
        self.result = result
        self.id = id
        self.feed = feed
    }

    init(error: ControlError, id: JSONValue) {
        self.error = error
        self.id = id
    }

    /// The answer as one line.
    var line: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Values of JSON always encode.
        return Array((try? encoder.encode(self)) ?? Data()) + [UInt8(ascii: "\n")]
    }
}
