import Base
import ControllerCalls

/// The codes that a call answers with. `tercet-node` ends with the same number as its exit status.
public typealias NodeCode = CallCode

/// A call that failed, with a code for the caller and a message for people.
public struct NodeError: Error, Equatable, CustomStringConvertible, Sendable {
    public var code: NodeCode
    /// One line: what is wrong, with what, and what to do about it.
    public var message: String

    public init(_ code: NodeCode, _ message: String) {
        self.code = code
        self.message = message
    }

    /// An error of the house, as a caller of the agent has to take it.
    init(_ error: TercetError) {
        self.init(NodeCode(error.code), error.description)
    }

    public var description: String { message }
}
