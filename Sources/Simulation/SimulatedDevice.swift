import FabricInterface

/// An RDMA device (NIC) of a simulated machine: its addresses, limits and registered memory. All fabrics of one process
/// that use it are given the same object.
public final class SimulatedDevice {
    public let name: String
    /// The addresses of the device, without ports: `192.0.2.1`.
    public let addresses: [String]
    /// The values of `FabricContext.limits`; a test may change them before connections are made.
    public var limits: DeviceLimits
    /// Bytes that a SEND may carry inline.
    public var maxInlineData = 256
    /// Whether anything that this device sends arrives, and anything arrives at it. A device that is not reachable
    /// loses messages without a word, as a machine without power does.
    public var isReachable = true
    /// Work of queue pairs that fail never completes, as on a device that has stopped.
    public var withholdsFlushes = false
    /// Posted work stays where it is until `releasePosts`: the process was stopped between its decision and the doorbell.
    public var holdsPosts = false
    private var held: [QueuePairReference] = []
    public let network: SimulatedNetwork
    /// Which machine of a simulation it is in, for hooks that decide on messages.
    public let node: Int
    /// Says which device this is; see `FabricContext.domain`.
    let number: UInt
    var regions = RegionTable()
    var queuePairCount = 0

    init(_ name: String, addresses: [String], limits: DeviceLimits, number: UInt, node: Int, network: SimulatedNetwork)
    {
        self.name = name
        self.addresses = addresses
        self.limits = limits
        self.number = number
        self.node = node
        self.network = network
    }

    /// Work of a queue pair is to leave: now, or with the release.
    func launch(_ queuePair: SimulatedQueuePair) {
        if holdsPosts { held.append(queuePair.reference) } else { network.launch(queuePair) }
    }

    /// Held work leaves.
    public func releasePosts() {
        holdsPosts = false
        let waiting = held
        held = []
        for reference in waiting {
            if let queuePair = network.queuePairs[reference] { network.launch(queuePair) }
        }
    }

    /// Memory regions that are registered, and queue pairs that exist: nothing may be left at the end of a test.
    public var registeredRegions: Int { regions.count }
    public var existingQueuePairs: Int { queuePairCount }
}

extension DeviceLimits {
    /// A generous RoCE device.
    public static let simulated = DeviceLimits(
        maxQueuePairs: 4096, maxWorkRequests: 16384, maxCompletionQueueEntries: 1 << 20,
        maxSharedReceiveWorkRequests: 16384, maxScatterGather: 16, maxScatterGatherPerRead: 16, maxMemoryRegions: 65536,
        maxReadsAsInitiator: 16, maxReadsAsResponder: 16, maxMessageSize: 1 << 30, isIWARP: false,
        supportsSendWithInvalidate: true)
}
