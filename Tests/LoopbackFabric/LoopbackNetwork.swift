import Base
import FabricInterface

/// A network in one process, without threads and without time: what is posted arrives at once, in order, and everything
/// that happens is found by the next poll. The fabrics of one network see each other.
public final class LoopbackNetwork {
    public init() {}

    var limits = DeviceLimits(
        maxQueuePairs: 1024, maxWorkRequests: 4096, maxCompletionQueueEntries: 65536,
        maxSharedReceiveWorkRequests: 4096, maxScatterGather: 16, maxScatterGatherPerRead: 16, maxMemoryRegions: 4096,
        maxReadsAsInitiator: 16, maxReadsAsResponder: 16, maxMessageSize: 1 << 30, isIWARP: false,
        supportsSendWithInvalidate: true)
    /// Registered memory by key; the same number serves as local and as remote key.
    private(set) var regions: [UInt32: Region] = [:]
    var listeners: [SocketAddress: (fabric: LoopbackFabric, handle: ListenerHandle)] = [:]
    var connections: [ConnectionHandle: LoopbackConnection] = [:]
    private var nextKey: UInt32 = 0x100
    private var nextHandle: UInt64 = 1
    private var nextPort: UInt16 = 40000

    struct Region {
        var start: UInt
        var count: Int
        var access: MemoryAccess
    }

    /// Registrations that have not ended.
    public var regionCount: Int { regions.count }

    /// Connections that have not been destroyed, of all fabrics.
    public var connectionCount: Int { connections.count }

    /// Queue pairs that work: through any other, no peer reaches any memory.
    public var liveQueuePairCount: Int {
        connections.values.reduce(0) { $0 + ($1.queuePair?.state == .ready ? 1 : 0) }
    }

    func newHandle() -> UInt64 {
        nextHandle += 1
        return nextHandle
    }

    func newPort() -> UInt16 {
        nextPort += 1
        return nextPort
    }

    func register(_ memory: UnsafeMutableRawBufferPointer, _ access: MemoryAccess) -> UInt32 {
        nextKey += 0x11
        regions[nextKey] = Region(start: UInt(bitPattern: memory.baseAddress), count: memory.count, access: access)
        return nextKey
    }

    func deregister(_ key: UInt32) { regions[key] = nil }

    /// The memory at an address, if the key gives the right to all of it.
    func memory(_ address: UInt64, _ length: Int, key: UInt32, _ access: MemoryAccess) -> UnsafeMutableRawPointer? {
        guard let region = regions[key], region.access.isSuperset(of: access), let start = UInt(exactly: address),
            start >= region.start, length <= region.count, start - region.start <= UInt(region.count - length)
        else { return nil }
        return UnsafeMutableRawPointer(bitPattern: start)
    }
}

/// One side of a connection.
final class LoopbackConnection {
    let handle: ConnectionHandle
    unowned let fabric: LoopbackFabric
    var peer: LoopbackConnection?
    var queuePair: LoopbackQueuePair?
    var local: SocketAddress
    var remote: SocketAddress
    var parameters = ConnectionParameters(responderResources: 0, initiatorDepth: 0)
    var listener: ListenerHandle?
    var isConnected = false
    var hasEnded = false

    init(handle: ConnectionHandle, fabric: LoopbackFabric, local: SocketAddress, remote: SocketAddress) {
        self.handle = handle
        self.fabric = fabric
        self.local = local
        self.remote = remote
    }
}

/// The state of a queue pair, as far as it matters here.
enum LoopbackQueuePairState {
    /// Receives may be posted; nothing flows.
    case initialized
    case ready
    case error
}

/// One queue pair: its receives, and the SENDs that wait for the peer's.
final class LoopbackQueuePair {
    let handle: QueuePairHandle
    unowned let context: LoopbackContext
    unowned let connection: LoopbackConnection
    let usesSharedReceives: Bool
    var inlineBytes = 0
    var state = LoopbackQueuePairState.initialized
    var receives: [ReceiveRequest] = []
    /// Work that has not been done: the peer has no receive for its SEND, and order is kept.
    var waiting: [WorkRequest] = []

    init(
        handle: QueuePairHandle, context: LoopbackContext, connection: LoopbackConnection, usesSharedReceives: Bool
    ) {
        self.handle = handle
        self.context = context
        self.connection = connection
        self.usesSharedReceives = usesSharedReceives
    }

    /// To the error state: all that is posted completes as flushed.
    func fail() {
        guard state != .error else { return }
        state = .error
        flush()
    }

    func flush() {
        for work in waiting {
            context.complete(WorkCompletion(id: work.id, queuePair: handle, status: .flushed, kind: .send))
        }
        for receive in receives {
            context.complete(WorkCompletion(id: receive.id, queuePair: handle, status: .flushed, kind: .receive))
        }
        waiting = []
        receives = []
    }
}
