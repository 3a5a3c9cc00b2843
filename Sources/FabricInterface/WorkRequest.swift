/// A dense index of a queue pair within its `FabricContext`. Reused after `destroyQueuePair`.
public struct QueuePairHandle: Hashable, Sendable, BitwiseCopyable {
    public var index: UInt32
    @inlinable public init(index: UInt32) { self.index = index }
}

/// A piece of local registered memory (verbs: `struct ibv_sge`).
public struct ScatterGatherElement: Sendable, BitwiseCopyable {
    public var address: UInt64
    public var length: UInt32
    public var localKey: UInt32

    @inlinable public init(address: UInt64, length: UInt32, localKey: UInt32) {
        self.address = address
        self.length = length
        self.localKey = localKey
    }

    @inlinable public init(_ pointer: UnsafeRawPointer, length: Int, localKey: UInt32) {
        self.init(address: UInt64(UInt(bitPattern: pointer)), length: UInt32(length), localKey: localKey)
    }

    @inlinable public static var empty: ScatterGatherElement {
        ScatterGatherElement(address: 0, length: 0, localKey: 0)
    }
}

/// Operations of a send queue (verbs: `enum ibv_wr_opcode`).
public enum WorkOpcode: UInt8, Sendable, BitwiseCopyable {
    case send
    /// SEND that also invalidates `WorkRequest.remoteKey` at the receiver.
    case sendWithInvalidate
    case rdmaWrite
    case rdmaRead
}

/// Flags of a send queue operation (verbs: `enum ibv_send_flags`).
public struct WorkFlags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// A completion is wanted. Failed work completes with or without it.
    @inlinable public static var signaled: WorkFlags { WorkFlags(rawValue: 1 << 0) }
    /// Starts after the queue pair's earlier READs have ended.
    @inlinable public static var fence: WorkFlags { WorkFlags(rawValue: 1 << 1) }
    /// The payload is copied when posted: its memory is free at once. Only up to `QueuePairOptions.maxInlineData`.
    @inlinable public static var inline: WorkFlags { WorkFlags(rawValue: 1 << 2) }
    /// Wakes a receiver that armed its completion queue for solicited events only.
    @inlinable public static var solicited: WorkFlags { WorkFlags(rawValue: 1 << 3) }
}

/// One operation for a send queue (verbs: `struct ibv_send_wr`), with its local pieces in place.
public struct WorkRequest: Sendable, BitwiseCopyable {
    /// Comes back with the completion.
    public var id: UInt64
    public var queuePair: QueuePairHandle
    public var opcode: WorkOpcode
    public var flags: WorkFlags
    /// How many of `segments` are used: 0 to 2.
    public var segmentCount: UInt8
    /// rkey for RDMA READ and WRITE; the key to invalidate for `sendWithInvalidate`.
    public var remoteKey: UInt32
    public var remoteAddress: UInt64
    public var segments: (ScatterGatherElement, ScatterGatherElement)

    @inlinable public init(
        id: UInt64, queuePair: QueuePairHandle, opcode: WorkOpcode, flags: WorkFlags, segment: ScatterGatherElement,
        second: ScatterGatherElement? = nil, remoteAddress: UInt64 = 0, remoteKey: UInt32 = 0
    ) {
        self.id = id
        self.queuePair = queuePair
        self.opcode = opcode
        self.flags = flags
        self.segmentCount = second == nil ? 1 : 2
        self.remoteKey = remoteKey
        self.remoteAddress = remoteAddress
        self.segments = (segment, second ?? .empty)
    }
}

/// One buffer for a receive queue (verbs: `struct ibv_recv_wr`).
public struct ReceiveRequest: Sendable, BitwiseCopyable {
    /// Comes back with the completion.
    public var id: UInt64
    public var segment: ScatterGatherElement

    @inlinable public init(id: UInt64, segment: ScatterGatherElement) {
        self.id = id
        self.segment = segment
    }
}

/// The kind of work that has completed (verbs: `enum ibv_wc_opcode`, and success or failure).
public enum CompletionKind: UInt8, Sendable, BitwiseCopyable {
    /// A message arrived: `byteCount` bytes of the buffer are the peer's, the rest is stale.
    case receive
    case send
    case rdmaWrite
    case rdmaRead
}

/// How work ended (verbs: `enum ibv_wc_status`, as far as anybody acts on the difference).
public enum CompletionStatus: UInt8, Sendable, BitwiseCopyable {
    case success
    /// The queue pair was in the error state before this work began (`IBV_WC_WR_FLUSH_ERR`).
    case flushed
    /// The peer refused the address, the length or the key (`IBV_WC_REM_ACCESS_ERR`).
    case remoteAccessError
    /// The transport gave up: peer or link gone (`IBV_WC_RETRY_EXC_ERR`).
    case retryExceeded
    /// The peer had no receive buffer for too long (`IBV_WC_RNR_RETRY_EXC_ERR`).
    case receiverNotReady
    /// A local buffer, key or length was wrong (`IBV_WC_LOC_LEN_ERR`, `_LOC_PROT_ERR`, `_LOC_QP_OP_ERR`).
    case localError
    /// Any other failure.
    case otherError
}

/// The end of one work request (verbs: `struct ibv_wc`).
///
/// With a failed `status`, only `id`, `queuePair` and `status` mean anything, as with verbs.
public struct WorkCompletion: Sendable, BitwiseCopyable {
    public var id: UInt64
    public var queuePair: QueuePairHandle
    public var status: CompletionStatus
    public var kind: CompletionKind
    /// A SEND with invalidate arrived: `invalidatedKey` is no longer valid here.
    public var invalidated: Bool
    public var byteCount: UInt32
    public var invalidatedKey: UInt32
    /// The device's own code of a failure, for the log (`ibv_wc.status`).
    public var vendorStatus: UInt32

    @inlinable public init(
        id: UInt64, queuePair: QueuePairHandle, status: CompletionStatus, kind: CompletionKind, byteCount: UInt32 = 0,
        invalidated: Bool = false, invalidatedKey: UInt32 = 0, vendorStatus: UInt32 = 0
    ) {
        self.id = id
        self.queuePair = queuePair
        self.status = status
        self.kind = kind
        self.invalidated = invalidated
        self.byteCount = byteCount
        self.invalidatedKey = invalidatedKey
        self.vendorStatus = vendorStatus
    }
}
