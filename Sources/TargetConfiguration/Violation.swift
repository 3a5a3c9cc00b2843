/// A rule that a configuration breaks, before anyone knows where it was written.
struct Violation: Error {
    /// The key's path, such as `subsystems[0].nqn`.
    var path: String
    /// The problem, and what is allowed.
    var text: String
}
