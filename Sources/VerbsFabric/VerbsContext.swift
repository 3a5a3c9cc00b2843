import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

/// A device as one reactor uses it, over libibverbs: a completion queue with its channel, a shared receive queue, and
/// the queue pairs of the reactor's connections.
public final class VerbsContext: FabricContext {
    let device: VerbsDevice
    /// The fabric of the queue pairs' connections. It keeps its contexts, never the other way round.
    unowned let fabric: VerbsFabric
    let channel: UnsafeMutablePointer<ibv_comp_channel>
    let completionQueue: UnsafeMutablePointer<ibv_cq>
    let sharedReceiveQueue: UnsafeMutablePointer<ibv_srq>?
    let granted: ContextOptions
    /// Connections whose queue pairs complete here.
    let identifiers: LiveIdentifiers

    /// Behind a pointer and not in the object, whose every access would be checked for exclusivity.
    let state: UnsafeMutablePointer<State>
    let sendChain: SendChain
    let receiveChain: ReceiveChain
    let polled: UnsafeMutablePointer<ibv_wc>
    static let pollBatch = 32

    struct State: ~Copyable {
        var queuePairs: QueuePairTable
        var sharedReceives: SharedReceives
        /// Taken from the completion queue before a queue pair was destroyed: delivered before what is still in it.
        var drained: CompletionList
        /// Work that the device refused to take: delivered once the completion queue is empty.
        var refused: CompletionList
    }

    /// Notifications taken from the channel and not acknowledged yet: each acknowledgement takes a lock, so many are
    /// given at once.
    private var unacknowledged: UInt32 = 0
    private static let acknowledgeBatch: UInt32 = 256

    init(
        _ device: VerbsDevice, fabric: VerbsFabric, options: ContextOptions, vector: Int32
    ) throws(TercetError) {
        let limits = device.limits
        let completions = max(1, min(options.completionQueueEntries, limits.maxCompletionQueueEntries))
        let receives = min(options.sharedReceiveEntries, limits.maxSharedReceiveWorkRequests)
        guard let channel = ibv_create_comp_channel(device.verbs) else {
            throw verbsError("ibv_create_comp_channel \(device.name)", errno)
        }
        let code = tercet_set_nonblocking(channel.pointee.fd)
        if code != 0 {
            ibv_destroy_comp_channel(channel)
            throw verbsError("fcntl O_NONBLOCK on the completion channel of \(device.name)", code)
        }
        let identifiers = LiveIdentifiers()
        let vectors = max(1, device.verbs.pointee.num_comp_vectors)
        guard
            let queue = ibv_create_cq(
                device.verbs, Int32(completions), Unmanaged.passUnretained(identifiers).toOpaque(), channel,
                vector % vectors)
        else {
            let code = errno
            ibv_destroy_comp_channel(channel)
            throw verbsError("ibv_create_cq with \(completions) entries on \(device.name)", code)
        }
        var shared: UnsafeMutablePointer<ibv_srq>?
        if receives > 0 {
            var attributes = ibv_srq_init_attr()
            attributes.attr.max_wr = UInt32(receives)
            attributes.attr.max_sge = 1
            shared = ibv_create_srq(device.protectionDomain, &attributes)
            if shared == nil {
                let code = errno
                ibv_destroy_cq(queue)
                ibv_destroy_comp_channel(channel)
                throw verbsError("ibv_create_srq with \(receives) entries on \(device.name)", code)
            }
        }
        self.device = device
        self.fabric = fabric
        self.identifiers = identifiers
        self.channel = channel
        completionQueue = queue
        sharedReceiveQueue = shared
        granted = ContextOptions(
            completionQueueEntries: Int(queue.pointee.cqe), sharedReceiveEntries: receives,
            queuePairs: min(options.queuePairs, limits.maxQueuePairs))
        state = .allocate(capacity: 1)
        state.initialize(
            to: State(
                queuePairs: QueuePairTable(capacity: granted.queuePairs),
                sharedReceives: SharedReceives(capacity: receives), drained: CompletionList(capacity: completions),
                refused: CompletionList(capacity: 256)))
        sendChain = SendChain(length: 64)
        receiveChain = ReceiveChain(length: 64)
        polled = .allocate(capacity: Self.pollBatch)
        polled.initialize(repeating: ibv_wc(), count: Self.pollBatch)
    }

    deinit {
        invariant(state.pointee.queuePairs.count == 0, "a context goes after its queue pairs")
        if unacknowledged > 0 { ibv_ack_cq_events(completionQueue, unacknowledged) }
        if let sharedReceiveQueue { ibv_destroy_srq(sharedReceiveQueue) }
        ibv_destroy_cq(completionQueue)
        ibv_destroy_comp_channel(channel)
        state.deinitialize(count: 1)
        state.deallocate()
        polled.deallocate()
        sendChain.deallocate()
        receiveChain.deallocate()
    }

    public override var deviceName: String { device.name }
    public override var limits: DeviceLimits { device.limits }
    public override var domain: UInt { UInt(bitPattern: device.protectionDomain) }
    public override var grantedOptions: ContextOptions { granted }

    public override func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        try device.register(memory, access: access)
    }

    public override func deregister(_ region: MemoryRegion) { VerbsDevice.deregister(region) }

    public override func createQueuePair(
        for connection: ConnectionHandle, _ options: QueuePairOptions
    ) throws(TercetError) -> QueuePairHandle {
        try makeQueuePair(for: connection, options)
    }

    public override func inlineDataLimit(of queuePair: QueuePairHandle) -> Int {
        Int(slot(queuePair).pointee.inlineDataLimit)
    }

    public override func post(_ requests: UnsafeBufferPointer<WorkRequest>) { postWork(requests) }

    public override func postSharedReceives(_ requests: UnsafeBufferPointer<ReceiveRequest>) { postShared(requests) }

    public override func postReceives(
        _ requests: UnsafeBufferPointer<ReceiveRequest>, to queuePair: QueuePairHandle
    ) {
        postOwn(requests, to: queuePair)
    }

    public override func poll(into completions: UnsafeMutableBufferPointer<WorkCompletion>) -> Int {
        takeCompletions(into: completions)
    }

    public override func fail(_ queuePair: QueuePairHandle) {
        if let queuePair = slot(queuePair).pointee.queuePair { Self.fail(queuePair) }
    }

    public override var notificationDescriptor: Int32 { channel.pointee.fd }

    public override func armNotification() {
        // Fails only on a device that is gone, which DEVICE_REMOVAL reports.
        _ = ibv_req_notify_cq(completionQueue, 0)
    }

    public override func acknowledgeNotification() {
        var queue: UnsafeMutablePointer<ibv_cq>?
        var context: UnsafeMutableRawPointer?
        // One notification for each time that it was asked for; what is left makes the descriptor readable again.
        if ibv_get_cq_event(channel, &queue, &context) == 0 { unacknowledged += 1 }
        if unacknowledged >= Self.acknowledgeBatch {
            ibv_ack_cq_events(completionQueue, unacknowledged)
            unacknowledged = 0
        }
    }
}
