import NVMeAuthentication

/// The hosts of a subsystem that have to show who they are before anything else (NVMe Base, "DH-HMAC-CHAP").
public struct AuthenticationDefinition: Equatable, Sendable {
    /// Keys by the NQNs of hosts. A host with keys is let in with them only.
    public var keys: [String: AuthenticationKeys]
    /// A host without keys may not connect.
    public var isRequired: Bool
    public var algorithms: AuthenticationAlgorithms
    /// How long the keys that a host had stay valid beside new ones, in seconds. A restart of the target ends it.
    public var formerKeySeconds: Int

    public init(
        keys: [String: AuthenticationKeys] = [:], isRequired: Bool = false,
        algorithms: AuthenticationAlgorithms = AuthenticationAlgorithms(), formerKeySeconds: Int = 0
    ) {
        self.keys = keys
        self.isRequired = isRequired
        self.algorithms = algorithms
        self.formerKeySeconds = formerKeySeconds
    }
}
