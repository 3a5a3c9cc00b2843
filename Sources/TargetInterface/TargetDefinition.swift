import Base
import BlockInterface
import NVMeSpec

/// All that a target is to be: how much it may use, what it listens at, and what it offers to whom. A plain value: a
/// configuration file, a control socket, a simulation and a test make it, and `Target.apply` brings it about.
public struct TargetDefinition: Equatable, Sendable {
    /// Sizes. What differs in them takes effect at the next start only.
    public var options: TargetOptions
    /// Addresses to listen at, in the order of the discovery log.
    public var listeners: [SocketAddress]
    /// Other discovery services that the discovery log names.
    public var referrals: [SocketAddress]
    /// Each NQN once.
    public var subsystems: [SubsystemDefinition]

    public init(
        options: TargetOptions = TargetOptions(), listeners: [SocketAddress] = [], referrals: [SocketAddress] = [],
        subsystems: [SubsystemDefinition] = []
    ) {
        self.options = options
        self.listeners = listeners
        self.referrals = referrals
        self.subsystems = subsystems
    }

    /// The subsystem of a name; setting it adds, changes or (`nil`) removes it.
    public subscript(nqn: String) -> SubsystemDefinition? {
        get { subsystems.first { $0.nqn == nqn } }
        set {
            let place = subsystems.firstIndex { $0.nqn == nqn }
            switch (place, newValue) {
            case (let place?, let subsystem?): subsystems[place] = subsystem
            case (let place?, nil): subsystems.remove(at: place)
            case (nil, let subsystem?): subsystems.append(subsystem)
            case (nil, nil): break
            }
        }
    }
}

/// An NVM subsystem that the target offers.
public struct SubsystemDefinition: Equatable, Sendable {
    public var nqn: String
    /// Up to 20 printable ASCII characters; `nil` where one is made (`TargetSurroundings.serialNumber`).
    public var serialNumber: String?
    /// Up to 40 printable ASCII characters.
    public var modelNumber: String
    public var access: HostAccess
    /// The hosts that have to show who they are.
    public var authentication: AuthenticationDefinition
    /// I/O queues of one controller; `nil` if the target's own limit holds.
    public var maxIOQueues: Int?
    /// The states of ANA groups; those that are not here are optimized.
    public var anaStates: [ANAGroupPlace: ANAState]
    /// Identifiers that its controllers may have. Two targets that serve one subsystem to a host share them out: a host takes
    /// equal ones for a mistake.
    public var controllerIDs: ClosedRange<UInt16>
    /// Each namespace identifier once. Of a pool, those that are attached.
    public var namespaces: [NamespaceDefinition]
    /// Its namespaces are made while the target runs; `nil` if they are those of the configuration.
    public var pool: PoolDefinition?

    public init(
        nqn: String, serialNumber: String? = nil, modelNumber: String = "Tercet", access: HostAccess = .anyHost,
        authentication: AuthenticationDefinition = AuthenticationDefinition(),
        maxIOQueues: Int? = nil, anaStates: [ANAGroupPlace: ANAState] = [:],
        controllerIDs: ClosedRange<UInt16> = SubsystemDefinition.allControllerIDs,
        namespaces: [NamespaceDefinition] = [], pool: PoolDefinition? = nil
    ) {
        self.nqn = nqn
        self.serialNumber = serialNumber
        self.modelNumber = modelNumber
        self.access = access
        self.authentication = authentication
        self.maxIOQueues = maxIOQueues
        self.anaStates = anaStates
        self.controllerIDs = controllerIDs
        self.namespaces = namespaces
        self.pool = pool
    }

    /// 1 to FFEFh; those above are reserved (NVMe Base, "Controller ID").
    public static let allControllerIDs: ClosedRange<UInt16> = 1...0xFFEF
}

/// An ANA group, as hosts see it that come by one listener, or by any.
public struct ANAGroupPlace: Hashable, Sendable {
    /// 1 to 128.
    public var group: UInt32
    /// `nil` for all listeners for which nothing else is said.
    public var listener: SocketAddress?

    public init(group: UInt32, listener: SocketAddress? = nil) {
        self.group = group
        self.listener = listener
    }
}

/// The hosts that may connect.
public enum HostAccess: Equatable, Sendable {
    case anyHost
    /// Hosts with these NQNs.
    case hosts(Set<String>)

    public func allows(_ host: String) -> Bool {
        switch self {
        case .anyHost: true
        case .hosts(let hosts): hosts.contains(host)
        }
    }
}

/// A namespace of a subsystem.
public struct NamespaceDefinition: Equatable, Sendable {
    /// From 1 to `TargetOptions.maxNamespaces`.
    public var nsid: UInt32
    public var backing: NamespaceBacking
    /// Identifiers that were given. If any is, none of the device's own is shown.
    public var identity: BlockIdentity
    public var identifiers: IdentifierSource
    /// Nothing may be written, even if the device could be.
    public var isReadOnly: Bool
    /// 1 to 128.
    public var anaGroup: UInt32

    public init(
        nsid: UInt32, backing: NamespaceBacking, identity: BlockIdentity = BlockIdentity(),
        identifiers: IdentifierSource = .device, isReadOnly: Bool = false, anaGroup: UInt32 = 1
    ) {
        self.nsid = nsid
        self.backing = backing
        self.identity = identity
        self.identifiers = identifiers
        self.isReadOnly = isReadOnly
        self.anaGroup = anaGroup
    }
}

/// The blocks of a namespace.
public enum NamespaceBacking: Sendable, Equatable, CustomStringConvertible {
    /// A device that the target opens, and opens anew.
    case specified(BlockSpecification)
    /// A device that is open; its owner keeps and closes it.
    case device(any BlockDevice)

    public static func == (left: NamespaceBacking, right: NamespaceBacking) -> Bool {
        switch (left, right) {
        case (.specified(let left), .specified(let right)): left == right
        case (.device(let left), .device(let right)): left === right
        default: false
        }
    }

    public var description: String {
        switch self {
        case .specified(let specification): "\(specification)"
        case .device(let device): device.name
        }
    }

    /// The path of a block device or a file that the target opens.
    public var path: String? {
        if case .specified(let specification) = self, case .path(let path) = specification.backing { path } else { nil }
    }

    /// Made anew, it would be empty.
    public var isVolatile: Bool {
        if case .specified(let specification) = self, case .ram = specification.backing { true } else { false }
    }
}

/// The source of a namespace's identifiers if none are given.
public enum IdentifierSource: String, CaseIterable, Equatable, Sendable {
    /// From the device, if it has any.
    case device
    /// Made by the target. Needed where a host sees the device itself as well: Linux ignores a namespace of a second subsystem
    /// with identifiers that it knows.
    case derived
}

/// The process that a target runs in, as far as namespaces are made with its help. For the control plane: it may wait for devices.
public protocol TargetSurroundings: Sendable {
    /// Opens a device.
    func open(_ specification: BlockSpecification) throws(TercetError) -> any BlockDevice
    /// The identifiers of a namespace: those that were given, else what `NamespaceDefinition.identifiers` says.
    ///
    /// - Parameter device: those that the device carries.
    func identity(of namespace: NamespaceDefinition, in nqn: String, device: BlockIdentity) -> BlockIdentity
    /// The serial number of a subsystem that was given none: up to 20 printable ASCII characters.
    func serialNumber(of nqn: String, in definition: TargetDefinition) -> String
    /// The place where reservations that persist through power loss are kept; without it no namespace offers that.
    var reservations: (any ReservationStore)? { get }
    /// The process's part that changes pools; without it hosts manage none.
    var pools: (any PoolKeeper)? { get }
    /// Does work that takes milliseconds, soon and on a thread that no I/O waits for. Called by reactors.
    func compute(_ work: @escaping @Sendable () -> Void)
}

extension TargetSurroundings {
    public var pools: (any PoolKeeper)? { nil }
}

/// Surroundings in which nothing is opened and nothing kept: for namespaces whose devices are given open, with identifiers.
public struct BareSurroundings: TargetSurroundings {
    public let reservations: (any ReservationStore)?
    public let pools: (any PoolKeeper)?

    public init(reservations: (any ReservationStore)? = nil, pools: (any PoolKeeper)? = nil) {
        self.reservations = reservations
        self.pools = pools
    }

    /// At once: in one process and virtual time nobody waits.
    public func compute(_ work: @escaping @Sendable () -> Void) { work() }

    public func open(_ specification: BlockSpecification) throws(TercetError) -> any BlockDevice {
        throw TercetError(.invalid, "\(specification): this target opens no devices itself")
    }

    public func identity(of namespace: NamespaceDefinition, in nqn: String, device: BlockIdentity) -> BlockIdentity {
        namespace.identity == BlockIdentity() ? device : namespace.identity
    }

    public func serialNumber(of nqn: String, in definition: TargetDefinition) -> String { "1" }
}
