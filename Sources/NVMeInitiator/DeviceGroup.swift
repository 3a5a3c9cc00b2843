import Base
import FabricInterface
import Memory
import NVMeSpec

/// What a device group tells the group that owns it; control path only.
protocol DeviceGroupOwner: AnyObject {
    /// Work of a queue pair failed, or the controller broke the rules. Reported once.
    func queuePairFailed(_ queuePair: QueuePairReference, reason: String)
}

/// Everything that one reactor has on one RDMA device: queue pairs, their commands, and the work collected for them.
///
/// Work for the fabric is collected during a poll and posted once at its end: receives first, so that no answer finds
/// the receive queue empty.
final class DeviceGroup {
    let index: Int
    let context: FabricContext
    unowned(unsafe) let owner: any DeviceGroupOwner
    let queuePairs: UnsafeMutablePointer<QueuePairSlot>
    /// Memory of the queue pairs, by slot.
    private var memory: [QueuePairMemory?]
    private let completions: UnsafeMutableBufferPointer<WorkCompletion>
    private let work: UnsafeMutableBufferPointer<WorkRequest>
    private let counts: UnsafeMutablePointer<Counts>
    private let receives: UnsafeMutableBufferPointer<ReceiveRequest>
    /// Completion queue entries that queue pairs have not been promised.
    private(set) var completionEntriesLeft: Int

    private struct Counts {
        var work = 0
        var receives = 0
        var now = MonotonicTime(nanoseconds: 0)
        /// The receives collected are all for this queue pair.
        var receiver = QueuePairHandle(index: 0)
    }

    /// An SGL's descriptors that travel in the capsule, at most.
    static let maxDescriptors = 16
    /// A capsule's own memory: the command, then descriptors.
    static let capsuleStride = SubmissionEntry.byteCount + maxDescriptors * SGLDescriptor.byteCount

    init(index: Int, context: FabricContext, completionEntries: Int, owner: any DeviceGroupOwner) {
        self.index = index
        self.context = context
        self.owner = owner
        completionEntriesLeft = min(completionEntries, context.limits.maxCompletionQueueEntries)
        queuePairs = .allocate(capacity: Limits.queuePairs)
        queuePairs.initialize(repeating: QueuePairSlot(), count: Limits.queuePairs)
        memory = Array(repeating: nil, count: Limits.queuePairs)
        completions = .allocate(capacity: Limits.completionBatch)
        work = .allocate(capacity: Limits.workBatch)
        receives = .allocate(capacity: Limits.workBatch)
        counts = .allocate(capacity: 1)
        counts.initialize(to: Counts())
    }

    deinit {
        queuePairs.deallocate()
        completions.deallocate()
        work.deallocate()
        receives.deallocate()
        counts.deallocate()
    }

    /// The time of the round that is running.
    var now: MonotonicTime { counts.pointee.now }

    /// Takes completions and ends what they end; returns how much there was.
    func poll(now: MonotonicTime) -> Int {
        counts.pointee.now = now
        let count = context.poll(into: completions)
        for index in 0..<count { handle(completions[index]) }
        return count
    }

    private func handle(_ completion: WorkCompletion) {
        let (kind, slot, index) = WorkKind.parse(completion.id)
        invariant(Int(slot) < Limits.queuePairs, "work belongs to a queue pair of the group")
        switch kind {
        case .receive: received(completion, slot, index)
        case .send: sent(completion, slot, index)
        }
    }

    // MARK: Queue pairs

    /// Makes the queue pair of a connection, with its memory and its receives posted. Throws where the device or this
    /// group has no room for it.
    ///
    /// - Parameter depth: commands that may be under way.
    func makeQueuePair(
        for connection: ConnectionHandle, depth: Int, table: UnsafeMutablePointer<OperationTable>
    ) throws(InitiatorError) -> UInt32 {
        guard let slot = (0..<Limits.queuePairs).first(where: { queuePairs[$0].state == .free }) else {
            throw .resources("more than \(Limits.queuePairs) queue pairs on \(context.deviceName)")
        }
        // One receive more than commands: the queue never runs dry between an answer and its buffer's return.
        let receiveCount = depth + 1
        guard completionEntriesLeft >= depth + receiveCount else {
            throw .resources("the completion queue on \(context.deviceName) has no room for a queue of \(depth)")
        }
        let limits = context.limits
        guard receiveCount <= limits.maxWorkRequests else {
            throw .resources("\(context.deviceName) takes \(limits.maxWorkRequests) work requests on a queue pair")
        }
        let memory = try QueuePairMemory(context: context, depth: depth, receives: receiveCount)
        let handle: QueuePairHandle
        do {
            handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(
                    sendEntries: depth, receiveEntries: receiveCount, usesSharedReceiveQueue: false,
                    sendSegments: min(2, limits.maxScatterGather), maxInlineData: SubmissionEntry.byteCount))
        } catch { throw .fabric(error) }
        let queuePair = queuePairs + Int(slot)
        let generation = queuePair.pointee.generation &+ 1
        queuePair.pointee = QueuePairSlot()
        queuePair.pointee.generation = generation
        queuePair.pointee.state.move(to: .connecting)
        queuePair.pointee.handle = handle
        queuePair.pointee.connection = connection
        queuePair.pointee.depth = UInt32(depth)
        queuePair.pointee.requests = memory.requests
        queuePair.pointee.freeRequests = memory.freeRequests
        queuePair.pointee.freeCount = UInt32(depth)
        queuePair.pointee.capsules = memory.capsules
        queuePair.pointee.capsuleKey = memory.capsuleKey
        queuePair.pointee.responses = memory.responses
        queuePair.pointee.responseKey = memory.responseKey
        queuePair.pointee.inlineBytes = context.inlineDataLimit(of: handle)
        queuePair.pointee.table = table
        self.memory[slot] = memory
        completionEntriesLeft -= depth + receiveCount
        table.pointee.queuePair = UInt32(slot)
        for index in 0..<receiveCount { postReceive(UInt32(slot), UInt32(index)) }
        flush()
        return UInt32(slot)
    }

    func reference(_ slot: UInt32) -> QueuePairReference {
        QueuePairReference(device: index, slot: slot, generation: queuePairs[Int(slot)].generation)
    }

    /// Whether a reference still means the queue pair that has the slot.
    func isCurrent(_ reference: QueuePairReference) -> Bool {
        let queuePair = queuePairs + Int(reference.slot)
        return queuePair.pointee.generation == reference.generation && queuePair.pointee.state != .free
    }

    /// Frees the slot of a queue pair that the fabric has destroyed: no device reaches its memory, nor the memory of its
    /// operations, any more.
    func release(_ slot: UInt32) {
        let queuePair = queuePairs + Int(slot)
        queuePair.pointee.state.move(to: .free)
        queuePair.pointee.table.pointee.queuePair = noSlot
        completionEntriesLeft += Int(queuePair.pointee.depth) * 2 + 1
        memory[Int(slot)] = nil
    }

    /// Reports the failure of a queue pair, once.
    func fail(_ slot: UInt32, _ reason: String) {
        let queuePair = queuePairs + Int(slot)
        guard !queuePair.pointee.hasFailed, queuePair.pointee.state != .closing, queuePair.pointee.state != .free else {
            return
        }
        queuePair.pointee.hasFailed = true
        queuePair.pointee.table.pointee.isLive = false
        owner.queuePairFailed(reference(slot), reason: reason)
    }

    // MARK: Collected work

    @inline(__always)
    func postReceive(_ slot: UInt32, _ index: UInt32) {
        let queuePair = queuePairs + Int(slot)
        if counts.pointee.receives > 0,
            counts.pointee.receiver != queuePair.pointee.handle || counts.pointee.receives == receives.count
        {
            flushReceives()
        }
        counts.pointee.receiver = queuePair.pointee.handle
        receives[counts.pointee.receives] = ReceiveRequest(
            id: WorkKind.receive.id(slot, index),
            segment: ScatterGatherElement(
                queuePair.pointee.responses + Int(index) * CompletionEntry.byteCount,
                length: CompletionEntry.byteCount, localKey: queuePair.pointee.responseKey))
        counts.pointee.receives += 1
        queuePair.pointee.receives += 1
    }

    @inline(__always)
    func post(_ request: WorkRequest) {
        if counts.pointee.work == work.count { flush() }
        work[counts.pointee.work] = request
        counts.pointee.work += 1
    }

    private func flushReceives() {
        guard counts.pointee.receives > 0 else { return }
        context.postReceives(
            UnsafeBufferPointer(rebasing: receives[..<counts.pointee.receives]), to: counts.pointee.receiver)
        counts.pointee.receives = 0
    }

    /// Posts what has been collected.
    func flush() {
        flushReceives()
        guard counts.pointee.work > 0 else { return }
        context.post(UnsafeBufferPointer(rebasing: work[..<counts.pointee.work]))
        counts.pointee.work = 0
    }
}

/// The registered memory of one queue pair, and its requests.
private final class QueuePairMemory {
    let requests: UnsafeMutablePointer<RequestSlot>
    let freeRequests: UnsafeMutablePointer<UInt32>
    let capsules: UnsafeMutableRawPointer
    let capsuleKey: UInt32
    let responses: UnsafeMutableRawPointer
    let responseKey: UInt32
    private let arena: RegisteredArena

    init(context: FabricContext, depth: Int, receives: Int) throws(InitiatorError) {
        // One registration for both: devices have few, and no peer is given its key.
        let capsuleBytes = depth * DeviceGroup.capsuleStride
        do { arena = try RegisteredArena(bytes: capsuleBytes + receives * CompletionEntry.byteCount) } catch {
            throw .resources(error.description)
        }
        let region: MemoryRegion
        do { region = try arena.register(with: context, access: [.localWrite]) } catch { throw .fabric(error) }
        capsules = arena.memory.baseAddress!
        responses = capsules + capsuleBytes
        capsuleKey = region.localKey
        responseKey = region.localKey
        requests = .allocate(capacity: depth)
        requests.initialize(repeating: RequestSlot(), count: depth)
        freeRequests = .allocate(capacity: depth)
        for index in 0..<depth { freeRequests[index] = UInt32(depth - 1 - index) }
    }

    deinit {
        requests.deallocate()
        freeRequests.deallocate()
    }
}
