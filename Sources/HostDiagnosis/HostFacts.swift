import Base

/// All that is judged about a host: plain values, gathered elsewhere. A fact that could not be had is `nil`, and nothing is said of
/// it.
public struct HostFacts: Sendable {
    /// A port of an RDMA device.
    public struct Port: Sendable {
        public var number: Int
        public var isActive: Bool
        /// The port's own word for its state.
        public var state: String
        /// RoCE: the port is one of Ethernet.
        public var isEthernet: Bool
        /// Bytes of one packet that it sends: 256 to 4096.
        public var activeMTU: Int
        /// The largest that it could.
        public var maxMTU: Int
        /// Of the network interface; `nil` if it has none.
        public var interface: String?
        /// Types of its GIDs: `RoCE v2`, `IB/RoCE v1`.
        public var gidTypes: [String]?

        public init(
            number: Int = 1, isActive: Bool = true, state: String = "active", isEthernet: Bool = true,
            activeMTU: Int = 4096, maxMTU: Int = 4096, interface: String? = nil, gidTypes: [String]? = nil
        ) {
            self.number = number
            self.isActive = isActive
            self.state = state
            self.isEthernet = isEthernet
            self.activeMTU = activeMTU
            self.maxMTU = maxMTU
            self.interface = interface
            self.gidTypes = gidTypes
        }
    }

    public struct Device: Sendable {
        public var name: String
        public var ports: [Port]
        public var maxQueuePairs: Int
        public var maxMemoryRegions: Int
        /// RDMA READs of one queue pair at once, as initiator.
        public var readDepth: Int
        /// Work requests of a shared receive queue; 0 where the device has none.
        public var sharedReceiveEntries: Int
        /// NUMA node; `nil` if the machine has one only, or does not tell.
        public var node: Int?

        public init(
            name: String, ports: [Port] = [Port()], maxQueuePairs: Int = 1 << 17, maxMemoryRegions: Int = 1 << 17,
            readDepth: Int = 16, sharedReceiveEntries: Int = 32768, node: Int? = nil
        ) {
            self.name = name
            self.ports = ports
            self.maxQueuePairs = maxQueuePairs
            self.maxMemoryRegions = maxMemoryRegions
            self.readDepth = readDepth
            self.sharedReceiveEntries = sharedReceiveEntries
            self.node = node
        }
    }

    /// The needs of a target's configuration.
    public struct Needs: Sendable {
        /// Memory that is registered with one device, in bytes.
        public var lockedBytes: UInt64
        public var descriptors: UInt64
        /// Memory of namespaces that is taken when they are opened, in bytes.
        public var populatedBytes: UInt64
        public var reactors: Int
        public var sharedReceiveEntries: Int
        /// Connections of all reactors with one device.
        public var queuePairs: Int
        public var listeners: [SocketAddress]
        /// Processors of the reactors, and the NUMA nodes of those; `nil` if the machine has one only.
        public var nodes: [Int]?
        /// Processors that the process may use.
        public var processors: Int

        public init(
            lockedBytes: UInt64 = 0, descriptors: UInt64 = 0, populatedBytes: UInt64 = 0, reactors: Int = 1,
            sharedReceiveEntries: Int = 0, queuePairs: Int = 0, listeners: [SocketAddress] = [], nodes: [Int]? = nil,
            processors: Int = 1
        ) {
            self.lockedBytes = lockedBytes
            self.descriptors = descriptors
            self.populatedBytes = populatedBytes
            self.reactors = reactors
            self.sharedReceiveEntries = sharedReceiveEntries
            self.queuePairs = queuePairs
            self.listeners = listeners
            self.nodes = nodes
            self.processors = processors
        }
    }

    /// A target that was named.
    public struct Target: Sendable {
        public var address: SocketAddress
        /// The interface by which packets go there; `nil` if there is no route.
        public var interface: String?
        /// The reason why it was not reached; `nil` if it was.
        public var problem: String?
        /// The quickest of a few exchanges with its discovery controller.
        public var roundTripSeconds: Double?

        public init(
            address: SocketAddress, interface: String? = nil, problem: String? = nil, roundTripSeconds: Double? = nil
        ) {
            self.address = address
            self.interface = interface
            self.problem = problem
            self.roundTripSeconds = roundTripSeconds
        }
    }

    /// A unit file of the service manager that starts a daemon.
    public struct Unit: Sendable {
        public var path: String
        public var text: String

        public init(path: String, text: String) {
            self.path = path
            self.text = text
        }

        /// The value of the last line that sets something; `nil` if there is none.
        func limit(_ setting: String) -> Substring? {
            text.split(separator: "\n").map { $0.filter { $0 != " " } }.last { $0.hasPrefix("\(setting)=") }?
                .dropFirst(setting.count + 1)
        }
    }

    public var devices: [Device] = []
    /// The reason why RDMA cannot be used at all.
    public var rdmaProblem: String?
    /// `/dev/infiniband/rdma_cm` is there; `nil` where a library stands for the devices.
    public var hasConnectionManager: Bool?
    /// The user who looks, whose limits the next two are. A daemon has those of its unit where there is one.
    public var user = "root"
    /// Bytes; the largest number where there is no limit, or the user is not bound by it.
    public var lockedMemoryLimit: UInt64 = .max
    public var descriptorLimit: UInt64 = .max
    public var clockSource: String?
    /// Bytes of the huge pages that are set aside (`vm.nr_hugepages`), and the kernel's word for who gets transparent ones.
    public var hugePageBytes: UInt64?
    public var transparentHugePages: String?
    /// `uname -r`.
    public var kernel: String?
    /// Addresses of this host with their interfaces.
    public var addresses: [(address: String, interface: String)] = []
    public var needs: Needs?
    public var targets: [Target] = []
    public var units: [Unit] = []

    public init() {}
}
