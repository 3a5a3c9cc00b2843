/// A problem of a configuration, in one line:
/// `FILE:LINE:COLUMN: key.path: what is wrong; allowed: what would do`.
public struct ConfigurationError: Error, Equatable, CustomStringConvertible, Sendable {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// A rule that a configuration breaks, before anyone knows where it was written.
struct Violation: Error {
    /// The key's path, such as `subsystems[0].nqn`.
    var path: String
    /// The problem, and what is allowed.
    var text: String
}
