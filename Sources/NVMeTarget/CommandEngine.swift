import Base
import BlockInterface
import Buffers
import NVMeSpec
import TargetTransport
import Trace

/// The calls of a command engine to the poll group that owns it; control path only.
protocol CommandEngineOwner: AnyObject {
    /// A fabrics, admin or reservation command is ready: its data, if it sends any, has arrived.
    func execute(_ request: RequestReference, now: MonotonicTime)
    /// A connection broke, or its host broke the rules.
    func connectionFailed(_ connection: ConnectionIndex, in engine: CommandEngine, reason: String)
    /// A closing connection has no request any more. Once for each connection.
    func connectionDrained(_ connection: ConnectionIndex, in engine: CommandEngine)
}

/// The commands of the hosts of one port: from a capsule to its answer, by way of data memory and block devices. Knows no
/// fabric: it takes a round's events and gives a round's orders.
///
/// All memory is allocated in `init`. It has more fields than twenty, for each is a part with a state of its own.
final class CommandEngine {
    let index: PortIndex
    let port: any TransportPort
    let traits: PortTraits
    let options: TargetOptions
    let blocks: BlockSet
    let trace: Trace
    unowned(unsafe) let owner: any CommandEngineOwner

    var requests: SlotTable<RequestIndex, RequestSlot>
    let connections: SlotTable<ConnectionIndex, ConnectionSlot>
    /// Connections that are open or closing, and what is known of each.
    var bound: [ConnectionIndex] = []
    var origins: [ConnectionOrigin?]

    var orders: OrderBatch
    let data: DataPool
    /// Each channel's share of the buffers and the memory.
    var shares = ChannelShares()
    /// Buffers of capsules that are not with the port.
    var heldCapsules = 0
    /// Requests in `awaitingBuffer`, and requests whose block operation the channel had no room for.
    var awaitingBuffer = ChannelWaitLists()
    var awaitingBlock = ChannelWaitLists()

    /// Requests that capsules of I/O queues leave for those of other queues: however many commands a device holds, hosts
    /// connect, keep their controllers alive and abort.
    let reservedRequests: Int
    /// Capsules that no request was free for: those of I/O queues, and the others.
    var lateIO: LateCapsules
    var lateControl: LateCapsules
    /// Capsules whose buffers others need, by request.
    let aside: CapsuleStore
    var lending: Lending

    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)
    private let events: UnsafeMutableBufferPointer<TransportEvent>

    init(
        index: PortIndex, port: any TransportPort, options: TargetOptions, blocks: BlockSet, trace: Trace,
        owner: any CommandEngineOwner
    ) {
        self.index = index
        self.port = port
        self.options = options
        self.blocks = blocks
        self.trace = trace
        self.owner = owner
        let traits = port.traits
        self.traits = traits
        requests = SlotTable(capacity: traits.requests, initial: RequestSlot())
        connections = SlotTable(capacity: traits.connections, initial: ConnectionSlot())
        origins = [ConnectionOrigin?](repeating: nil, count: traits.connections)
        orders = OrderBatch(port)
        data = DataPool(traits.memory, reservedBytes: options.controlMemory)
        reservedRequests = traits.requests / Limits.requestReserve
        lateIO = LateCapsules(capacity: traits.capsules)
        lateControl = LateCapsules(capacity: traits.capsules)
        aside = CapsuleStore(capsuleBytes: traits.capsuleBytes, count: traits.requests)
        lending = Lending(capacity: Limits.eventBatch)
        events = .allocate(capacity: Limits.eventBatch)
    }

    deinit {
        for index in requests.usedIndices { giveBackLoan(index) }
        lending.deallocate()
        events.deallocate()
    }

    /// Takes events and moves the requests on; returns how much there was to do.
    func poll(now: MonotonicTime) -> Int {
        self.now = now
        heldCapsules = port.heldCapsules
        let count = port.poll(into: events, now: now)
        for position in 0..<count {
            switch events[position] {
            case .capsule(let capsule): arrived(capsule)
            case .fetched(let request, let isComplete, let hasWaited):
                fetched(request, isComplete: isComplete, hasWaited: hasWaited)
            case .answered(let request, let hasWaited): answered(request, hasWaited: hasWaited)
            case .failed(let connection):
                if connections[connection].state == .live {
                    owner.connectionFailed(connection, in: self, reason: port.failure(of: connection))
                }
            }
        }
        settleLoans()
        return count
    }

    /// Goes on with what waited for memory, for a request slot or for the block device, and hands the port what this round has
    /// ordered.
    func finishRound(now: MonotonicTime) {
        retryWaiting()
        settleLoans()
        orders.carry(now: now)
    }

    @inline(__always)
    func order(_ order: TransportOrder) { orders.append(order, now: now) }

    @inline(__always)
    func connection(of index: RequestIndex) -> ConnectionIndex { requests[index].connection }

    /// The connection is closing: no answer will be sent.
    @inline(__always)
    func isDead(_ index: RequestIndex) -> Bool { connections[requests[index].connection].state == .closing }

    /// Starts what waited for a request slot, for memory, or for the block device.
    private func retryWaiting() {
        while requests.available > 0, let capsule = lateControl.removeFirst() { beginLate(capsule) }
        while requests.available > reservedRequests, let capsule = lateIO.removeFirst() { beginLate(capsule) }
        if !awaitingBuffer.isEmpty {
            for list in awaitingBuffer.channels { retryBuffer(list) }
        }
        guard !awaitingBlock.isEmpty else { return }
        for list in awaitingBlock.channels { retryBlock(list) }
    }

    private func retryBuffer(_ list: Int) {
        while let index = awaitingBuffer.removeFirst(list, in: requests) {
            if isDead(index) {
                end(index)
            } else if takeBuffer(index) {
                bufferAcquired(index)
            } else {
                return awaitingBuffer.prepend(index, list, in: requests)
            }
        }
    }

    private func retryBlock(_ list: Int) {
        while let index = awaitingBlock.removeFirst(list, in: requests) {
            if isDead(index) {
                end(index)
            } else if !submitToBlock(index) {
                return awaitingBlock.prepend(index, list, in: requests)
            }
        }
    }
}

/// A request of one engine: what the control path hands around.
struct RequestReference {
    let engine: CommandEngine
    let index: RequestIndex

    var connection: ConnectionIndex { engine.requests[index].connection }

    var nsid: UInt32 { engine.requests[index].header.nsid }

    /// The data that the host sent along; its count is 0 where it sent none.
    var data: UnsafeRawBufferPointer {
        let transfer = engine.requests[index].transfer
        guard let start = transfer.data else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: start, count: Int(transfer.byteCount))
    }

    var role: QueueRole { engine.connections[connection].role }

    func setResult(_ result: some FixedWidthInteger) {
        engine.requests[index].outcome.result = UInt64(truncatingIfNeeded: result)
    }

    func answer(_ status: Status) { engine.answer(index, status) }

    /// The request waits for something that only the control path knows of; from now on it may stay for long.
    func hold() {
        if engine.requests[index].state != .held { engine.requests[index].state.move(to: .held) }
    }
}
