import Base
import BlockBackend
import BlockInterface
import FabricInterface
import NVMeSpec

/// All that a target is told: what it listens at, what it exports to whom, and how much it may use.
///
/// The same value comes from a file (`init(contentsOf:)`) and from a command line (`init(listen:exports:)`).
public struct Configuration: Equatable, Sendable {
    /// Threads that serve.
    public var reactors = ReactorChoice.automatic
    /// Entries of an I/O queue.
    public var queueDepth = 128
    /// I/O queues of one controller.
    public var maxIOQueues = 64
    /// Bytes of data that a command capsule may carry; 0 for none.
    public var inCapsuleDataSize = 4096
    /// Largest data transfer of one command, in bytes.
    public var maxIOSize = 1 << 20
    /// Buffers of the shared receive queue of one reactor and device.
    public var sharedReceiveEntries = 2048
    /// Data memory of one reactor and device, in bytes.
    public var dataMemory = 64 << 20
    /// Answer with SEND with invalidate if the host asks for it and the device can.
    public var sendWithInvalidate = true
    /// Largest keep-alive timeout that is granted to a host, in milliseconds.
    public var maxKeepAliveMilliseconds: UInt32 = 600_000
    /// A folder for what must outlive the daemon: the identity of its namespaces, and reservations that persist through power
    /// loss. `nil` if hosts are not offered those.
    public var stateDirectory: String?
    /// The target does not begin where a part of this cannot be served; else it serves the rest and tries again.
    public var requiresAll = false
    /// Addresses to listen at, in the order of the discovery log.
    public var listeners: [SocketAddress]
    /// Other discovery services that the discovery log names.
    public var referrals: [SocketAddress] = []
    public var subsystems: [ExportedSubsystem]

    public init(listeners: [SocketAddress], subsystems: [ExportedSubsystem]) {
        self.listeners = listeners
        self.subsystems = subsystems
    }

    /// Namespace identifiers go from 1 to this.
    public static let maxNamespaceID = 256

    /// The port that IANA has assigned to NVMe over RDMA.
    public static let defaultPort: UInt16 = 4420
}

/// Threads that serve, each on a processor of its own.
public enum ReactorChoice: Equatable, Sendable {
    /// One for each processor that the process may use.
    case automatic
    /// That many, on the first of them.
    case count(Int)
    /// On these: ordinals among the processors that the process may use, from 0.
    case processors([Int])
}

/// An NVM subsystem that the target offers.
public struct ExportedSubsystem: Equatable, Sendable {
    public var nqn: String
    /// Up to 20 printable ASCII characters; `nil` where one is made (`IdentitySeed`).
    public var serialNumber: String?
    /// Up to 40 printable ASCII characters.
    public var modelNumber: String
    public var access: HostAccess
    /// I/O queues of one controller; `nil` if the target's own limit holds.
    public var maxIOQueues: Int?
    /// The states of ANA groups; those that are not here are optimized.
    public var anaStates: [UInt32: ANAGroupState]
    public var namespaces: [ExportedNamespace]

    public init(
        nqn: String, serialNumber: String? = nil, modelNumber: String = "Tercet", access: HostAccess,
        maxIOQueues: Int? = nil, anaStates: [UInt32: ANAGroupState] = [:], namespaces: [ExportedNamespace] = []
    ) {
        self.nqn = nqn
        self.serialNumber = serialNumber
        self.modelNumber = modelNumber
        self.access = access
        self.maxIOQueues = maxIOQueues
        self.anaStates = anaStates
        self.namespaces = namespaces
    }
}

/// The hosts that may connect.
public enum HostAccess: Equatable, Sendable {
    case anyHost
    /// Hosts with these NQNs.
    case hosts(Set<String>)
}

/// Asymmetric namespace access states (NVMe Base, "Asymmetric Namespace Access Reporting").
public enum ANAGroupState: String, CaseIterable, Equatable, Sendable {
    case optimized
    case nonOptimized
    case inaccessible
    case persistentLoss
    case change
}

/// A namespace of an exported subsystem.
public struct ExportedNamespace: Equatable, Sendable {
    public var nsid: UInt32
    public var backing: BlockSpecification
    /// Identifiers that were given. If any is, none of the device's own is shown.
    public var identity: BlockIdentity
    public var identifiers: IdentifierSource
    public var anaGroup: UInt32

    public init(
        nsid: UInt32, backing: BlockSpecification, identity: BlockIdentity = BlockIdentity(),
        identifiers: IdentifierSource = .device, anaGroup: UInt32 = 1
    ) {
        self.nsid = nsid
        self.backing = backing
        self.identity = identity
        self.identifiers = identifiers
        self.anaGroup = anaGroup
    }
}

/// The source of a namespace's identifiers if none are given.
public enum IdentifierSource: String, CaseIterable, Equatable, Sendable {
    /// From the device, if it has any.
    case device
    /// Made by the target (`IdentitySeed`). Needed where a host sees the device itself as well:
    /// Linux ignores a namespace of a second subsystem with identifiers that it knows.
    case derived
}
