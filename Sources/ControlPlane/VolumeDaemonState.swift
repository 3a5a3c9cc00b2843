/// A volume daemon as it is: where it serves, from where, and what.
public struct VolumeDaemonState: Codable, Equatable, Sendable {
    /// Seconds since it started.
    public var uptimeSeconds: Double
    /// The NQN by which members know this host.
    public var hostNQN: String
    /// The registry of its volumes; `nil` if there is none.
    public var registry: String?
    /// Its name among daemons that share volumes; `nil` if it shares none.
    public var daemon: String?
    /// The places of its threads.
    public var reactorPlaces: [TargetState.ReactorPlace]
    /// RDMA devices of this machine, by name.
    public var devices: [TargetState.Device]
    /// The addresses for NBD clients: paths of Unix sockets, `tcp://ADDRESS:PORT`.
    public var nbd: [String]
    /// The address for NVMe-oF hosts; `nil` if volumes are offered to none.
    public var nvme: String?
    /// Volumes that are attached by control.
    public var room: VolumeRoom
    public var volumes: [VolumeSummary]

    public init(
        uptimeSeconds: Double, hostNQN: String, registry: String?, daemon: String?,
        reactorPlaces: [TargetState.ReactorPlace], devices: [TargetState.Device], nbd: [String], nvme: String?,
        room: VolumeRoom, volumes: [VolumeSummary]
    ) {
        self.uptimeSeconds = uptimeSeconds
        self.hostNQN = hostNQN
        self.registry = registry
        self.daemon = daemon
        self.reactorPlaces = reactorPlaces
        self.devices = devices
        self.nbd = nbd
        self.nvme = nvme
        self.room = room
        self.volumes = volumes
    }
}
