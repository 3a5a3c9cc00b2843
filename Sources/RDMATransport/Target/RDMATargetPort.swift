import Base
import FabricInterface
import Memory
import NVMeSpec
import TargetInterface
import TargetTransport

/// The part of one RDMA device that one reactor has: the shared receive queue and its buffers, the queue pairs, and the memory that
/// hosts' data goes through. Knows requests and connections, and no command.
///
/// All memory is allocated in `init`. Work for the fabric is collected and posted once a round. It has more fields than
/// twenty: tables, memory and collected work are parts of their own.
final class RDMATargetPort: TransportPort {
    let index: PortIndex
    let context: FabricContext
    let fabric: Fabric
    let traits: PortTraits
    let options: TargetOptions

    /// Capsules: one fixed buffer for each entry of the shared receive queue.
    private let capsules: RegisteredSlots
    /// Completion queue entries on their way to hosts: one for each request.
    let responses: RegisteredSlots
    private let arena: RegisteredArena
    let dataKey: UInt32

    var requests: SlotTable<RequestIndex, RequestSlot>
    var connections: SlotTable<ConnectionIndex, ConnectionSlot>
    let receives: SlotTable<CapsuleIndex, ReceiveSlot>
    let handles: HandleTable<ConnectionIndex>
    /// Connections that have a queue pair.
    var bound: [ConnectionIndex] = []

    var work: WorkBatch
    var budget: SendBudget
    /// Requests whose connection ended before their work was done.
    var lost = SlotList<RequestSlot>()
    /// Early capsules of connections that are established now.
    var ready = SlotList<ReceiveSlot>()
    var failures = ConnectionFailures()
    let lending: LentRegistrations
    private(set) var heldCapsules = 0

    private let completions: UnsafeMutableBufferPointer<WorkCompletion>

    /// Capsule buffers begin this far before their data, so that in-capsule data is aligned for direct I/O.
    private static let capsuleOffset = 512 - SubmissionEntry.byteCount

    init(
        index: PortIndex, fabric: Fabric, context: FabricContext, options: TargetOptions
    ) throws(TercetError) {
        self.index = index
        self.fabric = fabric
        self.context = context
        self.options = options
        let granted = context.grantedOptions
        let receiveEntries = granted.sharedReceiveEntries
        let entries = granted.completionQueueEntries - receiveEntries
        let maxPieces = min(options.maxDescriptors, context.limits.maxWorkRequests - 1, entries - 1)
        guard receiveEntries > 0, maxPieces > 0 else {
            throw TercetError(
                call: "queues on \(context.deviceName)", errno: 0,
                reason: "the device has too few entries: \(context.limits.maxWorkRequests) of a send queue, "
                    + "\(granted.completionQueueEntries) of a completion queue, \(receiveEntries) of a shared receive queue"
            )
        }
        let requestCount = max(options.requests, receiveEntries * 2)
        let capsuleStride = 512 + (options.inCapsuleDataSize + 511) / 512 * 512
        let dataAccess: MemoryAccess = context.limits.isIWARP ? [.localWrite, .remoteWrite] : .localWrite
        do throws(TercetError) {
            capsules = try RegisteredSlots(slotBytes: capsuleStride, count: receiveEntries, with: context)
            responses = try RegisteredSlots(slotBytes: CompletionEntry.byteCount, count: requestCount, with: context)
            arena = try RegisteredArena(bytes: options.poolBytes)
            // iWARP's RDMA READ is answered by a write from the peer: the memory must allow it.
            dataKey = try arena.register(with: context, access: dataAccess).localKey
        } catch {
            throw TercetError(error.code, "memory for \(context.deviceName): \(error.message)")
        }
        traits = PortTraits(
            capsules: receiveEntries, requests: requestCount, connections: TargetOptions.connections,
            capsuleBytes: SubmissionEntry.byteCount + options.inCapsuleDataSize, maxPieces: maxPieces,
            memory: arena.memory, capsuleMemory: capsules.bytes)
        requests = SlotTable(capacity: requestCount, initial: RequestSlot())
        connections = SlotTable(capacity: TargetOptions.connections, initial: ConnectionSlot())
        receives = SlotTable(capacity: receiveEntries, initial: ReceiveSlot())
        handles = HandleTable(capacity: TargetOptions.connections * 2)
        work = WorkBatch(context, work: Limits.workBatch, receives: receiveEntries)
        budget = SendBudget(entries: entries, answer: maxPieces)
        lending = LentRegistrations(context)
        completions = .allocate(capacity: Limits.completionBatch)
        for position in 0..<receiveEntries { post(CapsuleIndex(position: UInt32(position))) }
        work.flush()
    }

    /// The last look at the completion queue took as many as there was room for: not each makes an event, and nothing tells of
    /// those that are left.
    private var mayHaveMore = false

    deinit {
        // A daemon that ends does not wait for hosts that still take what they were lent.
        for position in 0..<traits.requests { endLoan(RequestIndex(position: UInt32(position))) }
        completions.deallocate()
    }

    // MARK: Rounds

    func poll(into events: UnsafeMutableBufferPointer<TransportEvent>, now: MonotonicTime) -> Int {
        var batch = EventBatch(events)
        reportWaiting(&batch)
        // Each completion makes two events at the most.
        let room = min(completions.count, batch.room / 2)
        guard room > 0 else { return batch.count }
        let count = context.poll(into: UnsafeMutableBufferPointer(rebasing: completions[..<room]))
        mayHaveMore = count == room
        for position in 0..<count { take(completions[position], &batch) }
        return batch.count
    }

    var hasEvents: Bool { hasWaitingEvents || mayHaveMore }

    private var hasWaitingEvents: Bool { !lost.isEmpty || !ready.isEmpty || !failures.isEmpty }

    /// Events that no completion makes. Each leaves room for what is behind it.
    @inline(__always)
    private func reportWaiting(_ batch: inout EventBatch) {
        guard _slowPath(hasWaitingEvents) else { return }
        while batch.room > 1, let connection = failures.next() { batch.append(.failed(connection)) }
        while batch.room > 1, let request = lost.removeFirst(in: requests) {
            let wasFetch = requests[request].work == .lostFetch
            requests[request].work = .none
            let hasWaited = takeWait(request)
            batch.append(
                wasFetch
                    ? .fetched(request, isComplete: false, hasWaited: hasWaited)
                    : .answered(request, hasWaited: hasWaited))
        }
        while batch.room > 1, let capsule = ready.removeFirst(in: receives) {
            arrived(capsule, receives[capsule].byteCount, on: receives[capsule].connection, &batch)
        }
    }

    @inline(__always)
    private func take(_ completion: WorkCompletion, _ batch: inout EventBatch) {
        switch WorkKind(id: completion.id) {
        case .receive: received(completion, &batch)
        case .read: fetched(completion, &batch)
        case .answer: answered(completion, &batch)
        case .unsignaled:
            // Unsignaled work completes only when it failed; the signaled work behind it ends the request.
            let connection = handles[completion.queuePair]
            if !connection.isNone { broke(connection, completion, &batch) }
        }
    }

    func carry(_ orders: UnsafeBufferPointer<TransportOrder>, now: MonotonicTime) {
        for position in 0..<orders.count {
            switch orders[position] {
            case .fetch(let order): fetch(order)
            case .answer(let order): answer(order)
            case .giveBack(let capsule): giveBack(capsule)
            case .endLoan(let request): endLoan(request)
            case .close(let connection): close(connection, now: now)
            case .release(let connection): connections[connection].isReleased = true
            }
        }
        if budget.isAwaited { retryPosting() }
        work.flush()
    }

    // MARK: Capsules

    /// The memory of a capsule: the submission queue entry, then its data.
    @inline(__always)
    func capsule(_ index: CapsuleIndex) -> UnsafeMutableRawPointer {
        capsules[index.position] + RDMATargetPort.capsuleOffset
    }

    /// A message arrived, or a receive buffer came back unused.
    @inline(__always)
    private func received(_ completion: WorkCompletion, _ batch: inout EventBatch) {
        let index = CapsuleIndex(position: UInt32(truncatingIfNeeded: completion.id))
        let connection = handles[completion.queuePair]
        guard completion.status == .success, !connection.isNone, connections[connection].state != .closing else {
            return post(index)
        }
        heldCapsules += 1
        if _slowPath(connections[connection].state == .accepted) {
            receives[index].connection = connection
            receives[index].byteCount = completion.byteCount
            return connections[connection].early.append(index, in: receives)
        }
        arrived(index, completion.byteCount, on: connection, &batch)
    }

    @inline(__always)
    private func arrived(
        _ index: CapsuleIndex, _ byteCount: UInt32, on connection: ConnectionIndex, _ batch: inout EventBatch
    ) {
        guard byteCount >= SubmissionEntry.byteCount, connections[connection].state == .live else {
            giveBack(index)
            if connections[connection].state == .live {
                fail(connection, "a command capsule of \(byteCount) bytes; 64 is the least", &batch)
            }
            return
        }
        let bytes = capsule(index)
        let dataLength = byteCount - UInt32(SubmissionEntry.byteCount)
        batch.append(
            .capsule(
                Capsule(
                    connection: connection, buffer: index, bytes: bytes, dataLength: dataLength,
                    shape: DataShape(of: bytes, dataLength: dataLength, maxPieces: traits.maxPieces))))
    }

    @inline(__always)
    func giveBack(_ index: CapsuleIndex) {
        heldCapsules -= 1
        post(index)
    }

    @inline(__always)
    private func post(_ index: CapsuleIndex) {
        work.post(
            ReceiveRequest(
                id: WorkKind.receive.id(index),
                segment: ScatterGatherElement(
                    capsule(index), length: SubmissionEntry.byteCount + options.inCapsuleDataSize,
                    localKey: capsules.key)))
    }
}

/// Events on their way into the engine's memory.
struct EventBatch {
    private let events: UnsafeMutableBufferPointer<TransportEvent>
    private(set) var count = 0

    init(_ events: UnsafeMutableBufferPointer<TransportEvent>) { self.events = events }

    var room: Int { events.count - count }

    @inline(__always)
    mutating func append(_ event: TransportEvent) {
        events[count] = event
        count += 1
    }
}
