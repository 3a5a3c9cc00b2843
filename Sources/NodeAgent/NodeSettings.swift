/// The places and limits of an agent.
public struct NodeSettings: Codable, Equatable, Sendable {
    /// Control socket of tercet-volumed.
    public var controlSocket = "/run/tercet/volumed.sock"
    /// Socket at which tercet-volumed serves NBD clients; for hosts whose kernel is none.
    public var nbdSocket = "/run/tercet/nbd.sock"
    /// The agent's folder for locks and for what devices need; gone when the host is started anew, as devices are.
    public var runFolder = "/run/tercet/node"
    /// The only kind of device that is made; the best that the host has where it is `nil`.
    public var deviceKind: HostDeviceKind?
    /// Seconds that a call may take.
    public var timeoutSeconds: UInt32 = 120

    public init() {}
}
