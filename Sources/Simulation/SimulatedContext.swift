import Base
import FabricInterface
import Glibc

/// A completion in its queue, with what it gives back when it is polled.
private struct QueuedCompletion: BitwiseCopyable {
    var completion: WorkCompletion
    /// Entries of the send queue that are free once this has been polled.
    var releases: Int
    /// The buffer of a shared receive queue that it used; goes back there when its queue pair is destroyed before.
    var sharedReceive: ReceiveRequest
    var isShared: Bool
}

/// One simulated device as one simulated reactor uses it.
///
/// Strict where devices are strict: a queue that is too full, memory that is not registered and work on a queue pair
/// that is not connected fail as they do there, and what would silently ruin a device traps.
public final class SimulatedContext: FabricContext {
    public let device: SimulatedDevice
    /// Outlives the context's use: a fabric that closes destroys all queue pairs.
    unowned(unsafe) let fabric: SimulatedFabric
    private let granted: ContextOptions
    private var completions: Ring<QueuedCompletion>
    private var sharedReceives: Ring<ReceiveRequest>
    var sharedWaiters: [QueuePairReference] = []
    private var queuePairs: [SimulatedQueuePair?] = []

    private var network: SimulatedNetwork { device.network }

    init(_ device: SimulatedDevice, _ fabric: SimulatedFabric, _ options: ContextOptions) {
        self.device = device
        self.fabric = fabric
        granted = ContextOptions(
            completionQueueEntries: min(options.completionQueueEntries, device.limits.maxCompletionQueueEntries),
            sharedReceiveEntries: min(options.sharedReceiveEntries, device.limits.maxSharedReceiveWorkRequests),
            queuePairs: min(options.queuePairs, device.limits.maxQueuePairs))
        completions = Ring(capacity: granted.completionQueueEntries)
        sharedReceives = Ring(capacity: granted.sharedReceiveEntries)
    }

    public override var deviceName: String { device.name }
    public override var limits: DeviceLimits { device.limits }
    public override var domain: UInt { device.number }
    public override var grantedOptions: ContextOptions { granted }
    public override var notificationDescriptor: Int32 { -1 }
    public override func armNotification() {}
    public override func acknowledgeNotification() {}

    /// Buffers in the shared receive queue: where they should all be when nothing is going on.
    public var postedSharedReceives: Int { sharedReceives.count }

    public override func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        guard device.regions.count < device.limits.maxMemoryRegions else {
            throw TercetError(
                call: "ibv_reg_mr", errno: ENOMEM, reason: "the device has no room for another memory region")
        }
        guard !access.contains(.remoteWrite) || access.contains(.localWrite) else {
            throw TercetError(
                call: "ibv_reg_mr", errno: EINVAL, reason: "memory that peers write is locally writable too")
        }
        return device.regions.insert(memory, access)
    }

    public override func deregister(_ region: MemoryRegion) {
        invariant(device.regions.remove(region), "a memory region is deregistered once")
    }

    // MARK: Queue pairs

    public override func createQueuePair(
        for connection: ConnectionHandle, _ options: QueuePairOptions
    ) throws(TercetError) -> QueuePairHandle {
        func refusal(_ code: Int32, _ reason: String) -> TercetError {
            TercetError(call: "queue pair on \(device.name)", errno: code, reason: reason)
        }
        let entry = try fabric.connectionForQueuePair(connection)
        invariant(entry.device === device, "a queue pair is made on its connection's device")
        guard device.queuePairCount < device.limits.maxQueuePairs else {
            throw refusal(ENOMEM, "the device has no room for another queue pair")
        }
        guard max(options.sendEntries, options.receiveEntries) <= device.limits.maxWorkRequests else {
            throw refusal(EINVAL, "the device has at most \(device.limits.maxWorkRequests) entries")
        }
        guard options.sendSegments <= device.limits.maxScatterGather else {
            throw refusal(EINVAL, "the device has \(device.limits.maxScatterGather) segments")
        }
        guard !options.usesSharedReceiveQueue || granted.sharedReceiveEntries > 0 else {
            throw refusal(EINVAL, "the context has no shared receive queue")
        }
        let index = queuePairs.firstIndex { $0 == nil } ?? queuePairs.count
        if index == queuePairs.count { queuePairs.append(nil) }
        let handle = QueuePairHandle(index: UInt32(index))
        let queuePair = SimulatedQueuePair(network.queuePairs.reserve(), handle, self, options)
        network.queuePairs.insert(queuePair)
        queuePairs[index] = queuePair
        device.queuePairCount += 1
        entry.queuePair = queuePair
        return handle
    }

    /// Destroys a queue pair with all its completions; shared receives among them go back into their queue.
    func destroy(_ queuePair: SimulatedQueuePair) {
        queuePair.fail()
        var returned: [ReceiveRequest] = []
        completions.filter { entry in
            guard entry.completion.queuePair == queuePair.handle else { return true }
            if entry.isShared { returned.append(entry.sharedReceive) }
            return false
        }
        network.queuePairs.remove(queuePair.reference)
        queuePairs[Int(queuePair.handle.index)] = nil
        device.queuePairCount -= 1
        returned.withUnsafeBufferPointer { postSharedReceives($0) }
    }

    private func queuePair(_ handle: QueuePairHandle) -> SimulatedQueuePair {
        guard Int(handle.index) < queuePairs.count, let queuePair = queuePairs[Int(handle.index)] else {
            invariantViolated("work is for a queue pair that exists")
        }
        return queuePair
    }

    public override func inlineDataLimit(of queuePair: QueuePairHandle) -> Int {
        self.queuePair(queuePair).inlineDataLimit
    }

    public override func fail(_ queuePair: QueuePairHandle) { self.queuePair(queuePair).fail() }

    // MARK: Work

    public override func post(_ requests: UnsafeBufferPointer<WorkRequest>) {
        for request in requests { post(request) }
    }

    private func post(_ request: WorkRequest) {
        let queuePair = queuePair(request.queuePair)
        let isOrdinary = request.id >> 48 != 0xFFFF
        invariant(isOrdinary, "ids whose upper 16 bits are all set are reserved")
        switch queuePair.state {
        case .error:
            queuePair.occupied += 1
            queuePair.report(request, .flushed)
            return
        case .initial:
            return refuse(request, queuePair)
        case .ready:
            break
        }
        let isInline = request.flags.contains(.inline)
        guard queuePair.occupied < queuePair.options.sendEntries,
            Int(request.segmentCount) <= queuePair.options.sendSegments,
            !isInline || Int(request.byteCount) <= queuePair.inlineDataLimit,
            UInt64(request.byteCount) <= device.limits.maxMessageSize,
            request.opcode != .sendWithInvalidate || device.limits.supportsSendWithInvalidate
        else { return refuse(request, queuePair) }
        if isInline, let slot = queuePair.inlineSlot(queuePair.sends.tail) { queuePair.gather(request, to: slot) }
        queuePair.occupied += 1
        queuePair.sends.append(SendEntry(request: request))
        device.launch(queuePair)
    }

    /// Work that the device does not take: the queue pair fails, and the work completes all the same.
    private func refuse(_ request: WorkRequest, _ queuePair: SimulatedQueuePair) {
        queuePair.fail()
        queuePair.occupied += 1
        queuePair.report(request, .localError)
    }

    public override func postSharedReceives(_ requests: UnsafeBufferPointer<ReceiveRequest>) {
        guard requests.count > 0 else { return }
        for request in requests { sharedReceives.append(request) }
        if !sharedWaiters.isEmpty { network.wake(&sharedWaiters) }
    }

    public override func postReceives(
        _ requests: UnsafeBufferPointer<ReceiveRequest>, to handle: QueuePairHandle
    ) {
        let queuePair = queuePair(handle)
        for request in requests {
            if queuePair.state == .error {
                queuePair.complete(request, status: .flushed, byteCount: 0)
            } else {
                queuePair.receives.append(request)
            }
        }
        if !queuePair.waiters.isEmpty { network.wake(&queuePair.waiters) }
    }

    var hasSharedReceive: Bool { sharedReceives.count > 0 }
    func takeSharedReceive() -> ReceiveRequest? { sharedReceives.removeFirst() }

    func push(_ completion: WorkCompletion, releases: Int, sharedReceive: ReceiveRequest?) {
        invariant(!completions.isFull, "a completion queue is large enough for all that is posted")
        fabric.tellNews()
        completions.append(
            QueuedCompletion(
                completion: completion, releases: releases,
                sharedReceive: sharedReceive ?? ReceiveRequest(id: 0, segment: .empty), isShared: sharedReceive != nil))
    }

    public override func poll(into completions: UnsafeMutableBufferPointer<WorkCompletion>) -> Int {
        guard let base = completions.baseAddress else { return 0 }
        var count = 0
        while count < completions.count, let entry = self.completions.removeFirst() {
            if entry.releases > 0 { queuePair(entry.completion.queuePair).occupied -= entry.releases }
            (base + count).initialize(to: entry.completion)
            count += 1
        }
        return count
    }
}
