import Base
import BlockInterface
import NVMeSpec
import TargetInterface
import TargetTransport
import Trace

/// The calls of a command engine to the control path of its poll group.
protocol CommandEngineOwner: AnyObject {
    /// A fabrics, admin or reservation command is ready: its data, if it sends any, has arrived.
    func execute(_ request: RequestReference, now: MonotonicTime)
    /// A connection broke, or its host broke the rules.
    func connectionFailed(_ connection: ConnectionIndex, in engine: CommandEngine, reason: String)
    /// A closing connection has no request any more. Once for each connection.
    func connectionDrained(_ connection: ConnectionIndex, in engine: CommandEngine)
    /// A connection's host is about to hear that what a namespace's device had cached may be lost.
    func cacheMayBeLost(_ nsid: UInt32, _ connection: ConnectionIndex, in engine: CommandEngine)
    /// Whether a connection's host has still to hear of a possible loss of a namespace's cache; it has with this call.
    func hearsOfLoss(_ number: UInt64, of nsid: UInt32, _ connection: ConnectionIndex, in engine: CommandEngine) -> Bool
}

/// The commands of the hosts of one port: from a capsule to its answer, by way of data memory and block devices. Knows no
/// fabric: it takes a round's events and gives a round's orders.
///
/// It joins parts that keep their fields to themselves: what each part says is done here, or in `CommandEngine+Steps`, the steps
/// of one request. All memory is allocated in `init`.
final class CommandEngine {
    let index: PortIndex
    let port: any TransportPort
    let options: TargetOptions
    let trace: Trace
    unowned(unsafe) let owner: any CommandEngineOwner

    var requests: RequestTable
    let connections: ConnectionTable
    private(set) var bound: BoundConnections
    var capsules: CapsuleBuffers
    var memory: DataMemory
    var lending: Lending
    let blockIO: NamespaceIO
    private var orders: OrderBatch

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
        self.trace = trace
        self.owner = owner
        let traits = port.traits
        requests = SlotTable(capacity: traits.requests, initial: RequestSlot())
        connections = SlotTable(capacity: traits.connections, initial: ConnectionSlot())
        bound = BoundConnections(capacity: traits.connections)
        capsules = CapsuleBuffers(traits)
        memory = DataMemory(traits.memory, reservedBytes: options.controlMemory)
        lending = Lending(blocks, capacity: Limits.eventBatch)
        blockIO = NamespaceIO(blocks, port: index, options)
        orders = OrderBatch(port)
        events = .allocate(capacity: Limits.eventBatch)
    }

    deinit {
        for index in requests.usedIndices { _ = lending.giveBack(&requests[index]) }
        events.deallocate()
    }

    // MARK: A round

    /// Takes events and moves the requests on; returns how much there was to do.
    func poll(now: MonotonicTime) -> Int {
        self.now = now
        capsules.beginRound(held: port.heldCapsules)
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

    /// Gives a capsule's buffer back, where there is one.
    @inline(__always)
    func giveBack(_ buffer: CapsuleIndex) {
        if !buffer.isNone { order(.giveBack(buffer)) }
    }

    /// A capsule arrived.
    @inline(__always)
    private func arrived(_ capsule: Capsule) {
        capsules.arrived()
        guard connections[capsule.connection].state == .live else {
            capsules.returned()
            return giveBack(capsule.buffer)
        }
        connections[capsule.connection].heard()
        let isIO = connections[capsule.connection].role == .io
        if let request = capsules.admit(capsule, isIO: isIO, &requests) { begin(request, capsule) }
    }

    /// A command of the control path has its data.
    func executeControl(_ index: RequestIndex) {
        requests[index].state.move(to: .executing)
        owner.execute(RequestReference(engine: self, index: index), now: now)
    }

    /// The host's data is here, or never will be.
    @inline(__always)
    func fetched(_ index: RequestIndex, isComplete: Bool, hasWaited: Bool) {
        if _slowPath(hasWaited) { count(index) { $0.waitsForReadDepth &+= 1 } }
        // A fetch that fails ends its connection.
        guard isComplete, !isDead(index) else { return end(index) }
        requests[index].transfer.fetched()
        beginExecuting(index)
    }

    /// The answer has left, or never will: the request is over.
    @inline(__always)
    func answered(_ index: RequestIndex, hasWaited: Bool) {
        if _slowPath(hasWaited) { count(index) { $0.waitsForSendQueue &+= 1 } }
        end(index)
    }

    /// Copies a request's capsule to memory of our own and gives its buffer back.
    @inline(never)
    func setAside(_ index: RequestIndex) { giveBack(capsules.setAside(&requests[index], index)) }

    /// Gives the buffer of a request's capsule back, if it still has one.
    @inline(__always)
    func returnCapsule(_ index: RequestIndex) {
        giveBack(capsules.take(&requests[index].capsule, requests[index].block.channel))
    }

    // MARK: Loans

    /// Asks the port whether it can send from the memory that this round's reads have borrowed, and answers them; reads for
    /// which it cannot get a buffer instead.
    func settleLoans() {
        guard _slowPath(lending.isAsked) else { return }
        let loans = lending.takeAsked()
        port.lend(loans, now: now)
        for loan in loans {
            if isDead(loan.request) {
                end(loan.request)
            } else if loan.isTaken {
                answer(loan.request, .success)
            } else {
                giveBackLoan(loan.request)
                lending.pause(now)
                acquireMemory(loan.request)
            }
        }
    }

    /// Ends the loan of a request, where it has one.
    @inline(__always)
    func giveBackLoan(_ index: RequestIndex) {
        // With the answer the port has ended it.
        if lending.giveBack(&requests[index]), requests[index].state != .answering { order(.endLoan(index)) }
    }

    /// Ends connections whose hosts have not taken a read's data for long while a write waits for the same place, and lets
    /// reads be copied where more memory is read than can be registered at once. With the timer.
    private func inspectLoans() {
        if port.lendsAtALoss() { lending.pause(now) }
        guard lending.count > 0 else { return }
        for index in requests.usedIndices where lending.isInTheWay(requests[index], now) && !isDead(index) {
            owner.connectionFailed(
                requests[index].connection, in: self, reason: "the host does not take data that a write waits for")
        }
    }

    // MARK: Connections

    /// Fabrics and admin commands may use the reserve of memory.
    @inline(__always)
    func isPrivileged(_ index: RequestIndex) -> Bool { connections[requests[index].connection].role != .io }

    /// The connection is closing: no answer will be sent.
    @inline(__always)
    func isDead(_ index: RequestIndex) -> Bool { connections[requests[index].connection].state == .closing }

    /// The port has opened a connection.
    func opened(_ connection: ConnectionIndex, _ origin: ConnectionOrigin, now: MonotonicTime) {
        connections[connection].open(origin, now: now)
        bound.add(connection, origin)
    }

    /// Takes a connection to its end: no more answers; what waits ends now, what runs ends when it comes back.
    func close(_ connection: ConnectionIndex) {
        guard connections[connection].state == .live else { return }
        connections[connection].close()
        order(.close(connection))
        capsules.dropLate(of: connection) { giveBack($0) }
        if let first = connections[connection].firstHalf.ifAny { end(first) }
        for index in requests.usedIndices where requests[index].connection == connection {
            switch requests[index].state {
            case .held: end(index)
            case .awaitingBuffer where memory.waiting.remove(index, in: requests): end(index)
            case .executing where blockIO.waiting.remove(index, in: requests): end(index)
            default: break
            }
        }
        drainIfOver(connection)
    }

    /// A closing connection may have no request any more.
    @inline(__always)
    func drainIfOver(_ connection: ConnectionIndex) {
        if _slowPath(connections[connection].drain()) { owner.connectionDrained(connection, in: self) }
    }

    /// Looks at timers. `heard` is told the controller of each connection over which something has come since the last time;
    /// `released` that of each connection that is over. Returns how many commands were answered.
    func inspect(
        _ now: MonotonicTime, heard: (QueueRole, ControllerPlace) -> Void, released: (ControllerPlace) -> Void
    ) -> Int {
        var answered = 0
        inspectLoans()
        for connection in bound.indices {
            if connections[connection].takeReport() {
                heard(connections[connection].role, connections[connection].controller)
            }
            if answerLoneHalf(of: connection, now: now) { answered += 1 }
            if connections[connection].isOverdue(now) {
                owner.connectionFailed(connection, in: self, reason: "the host has not sent Connect")
            }
            guard connections[connection].isDrained else { continue }
            released(connections[connection].controller)
            release(connection)
        }
        return answered
    }

    /// Tells `body` of each connection that a host has.
    func forEachConnection(_ body: (ConnectionSlot) -> Void) {
        for connection in bound.indices where connections[connection].state == .live { body(connections[connection]) }
    }

    /// Frees the slot of a drained connection: its index is the port's again.
    private func release(_ connection: ConnectionIndex) {
        connections[connection].release()
        bound.remove(connection)
        order(.release(connection))
    }

    /// Answers a queue's first half that has waited for long enough; whether there was one.
    func answerLoneHalf(of connection: ConnectionIndex, now: MonotonicTime) -> Bool {
        guard let first = connections[connection].firstHalf.ifAny,
            now >= requests[first].arrival.advanced(byMilliseconds: Limits.fusedMilliseconds)
        else { return false }
        answer(first, .abortedMissingFused)
        return true
    }

    /// Some connection looks at a reactor's view of a subsystem.
    func uses(_ namespaces: NamespaceTable) -> Bool {
        bound.indices.contains { connections[$0].namespaces == namespaces }
    }

    // MARK: Withdrawing

    /// Takes back a fetch that the port has not begun.
    private func withdrawFetch(_ index: RequestIndex) -> Bool {
        orders.carry(now: now)
        return port.withdraw(index)
    }

    /// Ends commands of `victims` that have not reached the block device (NVMe Base, "Preempt and Abort").
    func abortWaiting(_ victims: Victims) {
        for index in requests.usedIndices where concerns(index, victims) {
            let isWithdrawn =
                switch requests[index].state {
                case .awaitingBuffer: memory.waiting.remove(index, in: requests)
                case .fetching: withdrawFetch(index)
                case .executing: blockIO.waiting.remove(index, in: requests)
                default: false
                }
            if isWithdrawn { answer(index, .abortedPreemptAndAbort) }
        }
    }

    /// A command of `victims` is at the block device. One whose data is still being fetched is not counted: it is
    /// judged again before it gets there.
    func isRunning(_ victims: Victims) -> Bool {
        for index in requests.usedIndices where concerns(index, victims) {
            if requests[index].state == .executing { return true }
        }
        return false
    }

    private func concerns(_ index: RequestIndex, _ victims: Victims) -> Bool {
        guard requests[index].state != .free, requests[index].header.nsid == victims.nsid else { return false }
        let connection = requests[index].connection
        return connections[connection].namespaces == victims.namespaces
            && victims.hosts.contains(connections[connection].host)
    }

    /// Withdraws a command that has not started; `true` when it was, and is answered. `release` takes an Asynchronous Event
    /// Request out of its queue.
    func abort(
        _ commandID: UInt16, on connection: ConnectionIndex, release: (RequestReference) -> Bool
    ) -> Bool {
        for index in requests.usedIndices {
            guard requests[index].state != .free, requests[index].connection == connection,
                requests[index].header.commandID == commandID
            else { continue }
            switch requests[index].state {
            case .awaitingBuffer where memory.waiting.remove(index, in: requests): break
            case .fetching where withdrawFetch(index): break
            case .executing where blockIO.waiting.remove(index, in: requests): break
            case .executing:
                return connections[connection].role == .io && blockIO.cancel(index, requests[index])
            case .received where connections[connection].firstHalf == index: break
            case .held where release(RequestReference(engine: self, index: index)): break
            default: return false
            }
            answer(index, .commandAbortRequested)
            return true
        }
        return false
    }
}

/// Commands of some hosts to one namespace.
struct Victims {
    let nsid: UInt32
    let hosts: HostSet
    let namespaces: NamespaceTable
}
