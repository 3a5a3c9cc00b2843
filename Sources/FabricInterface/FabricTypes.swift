/// Limits and abilities of a device, read from it at run time (verbs: `ibv_query_device`, `ibv_query_port`).
public struct DeviceLimits: Equatable, Sendable {
    public var maxQueuePairs: Int
    /// Work requests of one queue pair's send or receive queue.
    public var maxWorkRequests: Int
    public var maxCompletionQueueEntries: Int
    public var maxSharedReceiveWorkRequests: Int
    /// Scatter/gather elements of one work request.
    public var maxScatterGather: Int
    /// Scatter/gather elements of one RDMA READ (iWARP: often 1).
    public var maxScatterGatherPerRead: Int
    public var maxMemoryRegions: Int
    /// RDMA READs that one queue pair may have running as initiator.
    public var maxReadsAsInitiator: Int
    /// RDMA READs that one queue pair answers at once.
    public var maxReadsAsResponder: Int
    /// Bytes of one message.
    public var maxMessageSize: UInt64
    public var isIWARP: Bool
    /// SEND with invalidate works (`IBV_DEVICE_MEM_MGT_EXTENSIONS`).
    public var supportsSendWithInvalidate: Bool

    public init(
        maxQueuePairs: Int, maxWorkRequests: Int, maxCompletionQueueEntries: Int, maxSharedReceiveWorkRequests: Int,
        maxScatterGather: Int, maxScatterGatherPerRead: Int, maxMemoryRegions: Int, maxReadsAsInitiator: Int,
        maxReadsAsResponder: Int, maxMessageSize: UInt64, isIWARP: Bool, supportsSendWithInvalidate: Bool
    ) {
        self.maxQueuePairs = maxQueuePairs
        self.maxWorkRequests = maxWorkRequests
        self.maxCompletionQueueEntries = maxCompletionQueueEntries
        self.maxSharedReceiveWorkRequests = maxSharedReceiveWorkRequests
        self.maxScatterGather = maxScatterGather
        self.maxScatterGatherPerRead = maxScatterGatherPerRead
        self.maxMemoryRegions = maxMemoryRegions
        self.maxReadsAsInitiator = maxReadsAsInitiator
        self.maxReadsAsResponder = maxReadsAsResponder
        self.maxMessageSize = maxMessageSize
        self.isIWARP = isIWARP
        self.supportsSendWithInvalidate = supportsSendWithInvalidate
    }
}

/// The rights of a peer, and of the device itself, on registered memory (verbs: `enum ibv_access_flags`). The device can
/// always read it locally.
public struct MemoryAccess: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    @inlinable public static var localWrite: MemoryAccess { MemoryAccess(rawValue: 1 << 0) }
    @inlinable public static var remoteRead: MemoryAccess { MemoryAccess(rawValue: 1 << 1) }
    @inlinable public static var remoteWrite: MemoryAccess { MemoryAccess(rawValue: 1 << 2) }
}

/// Registered memory (verbs: `struct ibv_mr`).
public struct MemoryRegion: Sendable, BitwiseCopyable {
    /// Identifies the region to `deregister`; meaningless elsewhere.
    public var handle: UInt
    public var localKey: UInt32
    public var remoteKey: UInt32

    @inlinable public init(handle: UInt, localKey: UInt32, remoteKey: UInt32) {
        self.handle = handle
        self.localKey = localKey
        self.remoteKey = remoteKey
    }
}

/// Sizes of a reactor's queues on one device.
public struct ContextOptions: Sendable {
    public var completionQueueEntries: Int
    /// Entries of the shared receive queue; 0 for none.
    public var sharedReceiveEntries: Int
    /// Queue pairs that will exist at once.
    public var queuePairs: Int

    public init(completionQueueEntries: Int, sharedReceiveEntries: Int, queuePairs: Int) {
        self.completionQueueEntries = completionQueueEntries
        self.sharedReceiveEntries = sharedReceiveEntries
        self.queuePairs = queuePairs
    }
}

/// Sizes of one queue pair.
public struct QueuePairOptions: Sendable {
    public var sendEntries: Int
    /// 0 if the context's shared receive queue is used.
    public var receiveEntries: Int
    public var usesSharedReceiveQueue: Bool
    /// Scatter/gather elements of a send work request: 1 or 2.
    public var sendSegments: Int
    /// Bytes that SENDs flagged `inline` may carry; the device may grant less (see `FabricContext.inlineDataLimit`).
    public var maxInlineData: Int

    public init(
        sendEntries: Int, receiveEntries: Int, usesSharedReceiveQueue: Bool, sendSegments: Int = 2,
        maxInlineData: Int = 0
    ) {
        self.sendEntries = sendEntries
        self.receiveEntries = receiveEntries
        self.usesSharedReceiveQueue = usesSharedReceiveQueue
        self.sendSegments = sendSegments
        self.maxInlineData = maxInlineData
    }
}

/// The parameters that both sides of a connection agree on (librdmacm: `struct rdma_conn_param`).
public struct ConnectionParameters: Equatable, Sendable {
    /// RDMA READs that this side answers at once.
    public var responderResources: UInt8
    /// RDMA READs that this side has running at once.
    public var initiatorDepth: UInt8
    /// Transport retries, 0 to 7.
    public var retryCount: UInt8
    /// Retries when the peer has no receive buffer; 7 is for ever.
    public var rnrRetryCount: UInt8
    /// Up to 196 bytes from the passive side, 56 on connect (InfiniBand CM, as librdmacm passes them on).
    public var privateData: [UInt8]

    public init(
        responderResources: UInt8, initiatorDepth: UInt8, retryCount: UInt8 = 7, rnrRetryCount: UInt8 = 7,
        privateData: [UInt8] = []
    ) {
        self.responderResources = responderResources
        self.initiatorDepth = initiatorDepth
        self.retryCount = retryCount
        self.rnrRetryCount = rnrRetryCount
        self.privateData = privateData
    }
}
