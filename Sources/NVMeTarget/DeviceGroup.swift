import Base
import BlockInterface
import FabricInterface
import Memory
import NVMeSpec

/// What a device group needs of the poll group that owns it; control path only.
protocol DeviceGroupOwner: AnyObject {
    /// A fabrics or admin command is ready: its data, if it sends any, has arrived.
    func execute(request: UInt32, in group: DeviceGroup, now: MonotonicTime)
    /// A queue pair broke, or its host broke the rules.
    func queuePairFailed(_ slot: UInt32, in group: DeviceGroup, reason: String)
    /// A closing queue pair has no request any more. Once for each queue pair.
    func queuePairDrained(_ slot: UInt32, in group: DeviceGroup)
}

/// Everything that one reactor has on one RDMA device: the shared receive queue and its buffers, the requests, the data
/// memory, and the queue pairs.
///
/// All memory is allocated in `init`. Work for the fabric is collected during a poll and posted once at its end.
final class DeviceGroup {
    let index: UInt32
    let context: FabricContext
    let options: TargetOptions
    let blocks: BlockSet
    unowned(unsafe) let owner: any DeviceGroupOwner

    /// Capsules: one fixed buffer for each entry of the shared receive queue.
    let capsules: ControlMemory
    /// Completion queue entries on their way to hosts: one for each request.
    let responses: ControlMemory
    let data: DataPool
    let capsuleKey: UInt32
    let responseKey: UInt32
    let dataKey: UInt32
    var requests: SlotPool<RequestSlot>
    var queuePairs: SlotPool<QueuePairSlot>
    /// Queue pair slots by `QueuePairHandle.index`.
    let slotOfHandle: UnsafeMutablePointer<UInt32>
    let handleCapacity: Int

    /// Data block descriptors that one command may have: an answer with as many, and its SEND, fits into a send queue.
    let maxDescriptors: Int
    /// Work that may still be posted. When queue pairs fail all of their work completes, signaled or not, and the
    /// completion queue must have room for it.
    var sendBudget: Int32
    /// Somebody waits for it.
    var awaitsBudget = false

    /// Slots that a queue pair has.
    var boundSlots: [UInt32] = []

    /// Requests that capsules of I/O queues leave for those of other queues: however many commands a device holds, hosts
    /// connect, keep their controllers alive and abort.
    let reservedRequests: Int
    /// Capsules that no request was free for: those of I/O queues, and the others.
    var lateIO: LateCapsules
    var lateControl: LateCapsules
    /// Capsules whose receive buffers others need, by request.
    let aside: CapsuleStore
    /// Receive buffers that requests hold.
    var heldReceives = 0
    /// What each channel holds of the buffers and the memory.
    var shares = ChannelShares()
    /// Registrations of memory that namespaces lend; loans that have not ended; and until when none are asked for.
    var registrations: LentRegistrations?
    var loans = 0
    var lendingPausedUntil = MonotonicTime(nanoseconds: 0)
    /// Requests in `awaitingBuffer`: those for no channel at 0, those for a channel behind its place.
    var awaitingBuffer = ChannelWaitLists()
    /// Requests whose block operation the channel had no room for.
    var awaitingBlock = ChannelWaitLists()

    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)

    private let completions: UnsafeMutableBufferPointer<WorkCompletion>
    private let work: UnsafeMutableBufferPointer<WorkRequest>
    private var workCount = 0
    private let receives: UnsafeMutableBufferPointer<ReceiveRequest>
    private var receiveCount = 0

    /// Capsule buffers begin this far before their data, so that in-capsule data is aligned for direct I/O.
    static let capsuleOffset = 512 - SubmissionEntry.byteCount
    let receiveEntries: Int

    init(
        index: UInt32, context: FabricContext, options: TargetOptions, blocks: BlockSet, owner: any DeviceGroupOwner
    ) throws(FabricError) {
        self.index = index
        self.context = context
        self.options = options
        self.blocks = blocks
        self.owner = owner
        let granted = context.grantedOptions
        receiveEntries = granted.sharedReceiveEntries
        let budget = granted.completionQueueEntries - receiveEntries
        maxDescriptors = min(options.maxDescriptors, context.limits.maxWorkRequests - 1, budget - 1)
        sendBudget = Int32(clamping: budget)
        guard receiveEntries > 0, maxDescriptors > 0 else {
            throw FabricError(
                operation: "queues on \(context.deviceName)", code: 0,
                reason: "the device has too few entries: \(context.limits.maxWorkRequests) of a send queue, "
                    + "\(granted.completionQueueEntries) of a completion queue, \(receiveEntries) of a shared receive queue"
            )
        }
        let requestCount = max(options.requests, receiveEntries * 2)
        let capsuleStride = 512 + (options.inCapsuleDataSize + 511) / 512 * 512
        let dataAccess: MemoryAccess = context.limits.isIWARP ? [.localWrite, .remoteWrite] : .localWrite
        do {
            capsules = try ControlMemory(slotBytes: capsuleStride, count: receiveEntries)
            aside = try CapsuleStore(stride: capsuleStride, count: requestCount)
            responses = try ControlMemory(slotBytes: CompletionEntry.byteCount, count: requestCount)
            let arena = try RegisteredArena(bytes: options.dataMemory + options.controlMemory)
            data = DataPool(arena, reservedBytes: options.controlMemory)
            capsuleKey = try capsules.arena.register(with: context).localKey
            responseKey = try responses.arena.register(with: context).localKey
            // iWARP's RDMA READ is answered by a write from the peer: the memory must allow it.
            dataKey = try arena.register(with: context, access: dataAccess).localKey
        } catch let error as MemoryError {
            throw FabricError(
                operation: "memory for \(context.deviceName)", code: error.code, reason: error.description)
        } catch let error as FabricError {
            throw error
        } catch {
            invariantViolated("memory throws MemoryError and FabricError only")
        }
        requests = SlotPool(capacity: requestCount, initial: RequestSlot())
        reservedRequests = requestCount / Limits.requestReserve
        queuePairs = SlotPool(capacity: Limits.queuePairs, initial: QueuePairSlot())
        handleCapacity = Limits.queuePairs * 2
        slotOfHandle = .allocate(capacity: handleCapacity)
        slotOfHandle.initialize(repeating: noSlot, count: handleCapacity)
        lateIO = LateCapsules(capacity: receiveEntries)
        lateControl = LateCapsules(capacity: receiveEntries)
        completions = .allocate(capacity: Limits.completionBatch)
        work = .allocate(capacity: 1024)
        receives = .allocate(capacity: receiveEntries)
        for slot in 0..<receiveEntries { repostReceive(UInt32(slot)) }
        flush()
    }

    deinit {
        for index in 0..<UInt32(requests.usedCount) { giveBackLoan(requests[index]) }
        slotOfHandle.deallocate()
        completions.deallocate()
        work.deallocate()
        receives.deallocate()
    }

    /// Takes completions and moves the requests on; returns how much there was to do.
    func poll(now: MonotonicTime) -> Int {
        self.now = now
        let count = context.poll(into: completions)
        for index in 0..<count { handle(completions[index], now: now) }
        return count
    }

    /// Goes on with what waited for memory, for a request slot or for the block device, and posts what this round has
    /// produced: receive buffers first, so that no host can outrun them.
    func finishRound(now: MonotonicTime) {
        retryWaiting(now: now)
        if awaitsBudget { retryPosting() }
        flush()
    }

    private func handle(_ completion: WorkCompletion, now: MonotonicTime) {
        switch WorkKind(id: completion.id) {
        case .receive: received(completion, now: now)
        case .read: transferred(completion, now: now)
        case .response: responded(completion)
        case .unsignaled:
            // Unsignaled work completes only when it failed; the signaled work behind it ends the request.
            if let slot = slot(of: completion.queuePair) { connectionBroke(slot, completion) }
        }
    }

    /// The slot of a queue pair that the fabric names, or `nil` when it has been freed.
    @inline(__always)
    func slot(of handle: QueuePairHandle) -> UInt32? {
        guard Int(handle.index) < handleCapacity else { return nil }
        let slot = slotOfHandle[Int(handle.index)]
        return slot == noSlot ? nil : slot
    }

    /// Ends a queue pair on which work failed. Work that was flushed says nothing new.
    func connectionBroke(_ slot: UInt32, _ completion: WorkCompletion) {
        guard queuePairs[slot].pointee.state != .closing else { return }
        owner.queuePairFailed(
            slot, in: self, reason: "work on the queue pair failed: \(completion.status) (\(completion.vendorStatus))")
    }

    // MARK: Collected work

    /// The memory of a capsule: the submission queue entry, then its data.
    @inline(__always)
    func capsule(_ receive: UInt32) -> UnsafeMutableRawPointer {
        capsules[receive] + DeviceGroup.capsuleOffset
    }

    /// The capsule of a request: in its receive buffer, or set aside.
    @inline(__always)
    func capsule(of request: UnsafeMutablePointer<RequestSlot>) -> UnsafeMutableRawPointer {
        _fastPath(request.pointee.receive != noSlot)
            ? capsule(request.pointee.receive)
            : aside[UInt32(request - requests.slots)] + DeviceGroup.capsuleOffset
    }

    @inline(__always)
    func repostReceive(_ receive: UInt32) {
        if receiveCount == receives.count { flush() }
        receives[receiveCount] = ReceiveRequest(
            id: WorkKind.receive.id(receive),
            segment: ScatterGatherElement(
                capsule(receive), length: SubmissionEntry.byteCount + options.inCapsuleDataSize,
                localKey: capsuleKey))
        receiveCount += 1
    }

    @inline(__always)
    func post(_ request: WorkRequest) {
        if workCount == work.count { flush() }
        work[workCount] = request
        workCount += 1
    }

    private func flush() {
        if receiveCount > 0 {
            context.postSharedReceives(UnsafeBufferPointer(rebasing: receives[..<receiveCount]))
            receiveCount = 0
        }
        if workCount > 0 {
            context.post(UnsafeBufferPointer(rebasing: work[..<workCount]))
            workCount = 0
        }
    }
}

/// What a work request was for: the upper half of its identifier. The lower half is a slot.
enum WorkKind: UInt8 {
    case receive
    case read
    case response
    case unsignaled

    @inline(__always)
    init(id: UInt64) { self = WorkKind(rawValue: UInt8(truncatingIfNeeded: id >> 32) & 3).unsafelyUnwrapped }

    @inline(__always)
    func id(_ slot: UInt32) -> UInt64 { UInt64(rawValue) << 32 | UInt64(slot) }
}
