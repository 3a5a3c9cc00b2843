import Base
import BlockInterface
import NVMeSpec
import TargetInterface
import TargetTransport
import Trace

/// The command engines of a poll group, one for each port of its transport.
final class EngineTable {
    /// The poll group's number, which is a part of where its queues are.
    let group: Int
    private let options: TargetOptions
    private let blocks: BlockSet
    private let trace: Trace
    private var engines: [CommandEngine] = []
    /// The same, for each round: counting references would cost more than the look.
    private var looks: [Unmanaged<CommandEngine>] = []

    init(group: Int, options: TargetOptions, blocks: BlockSet, trace: Trace) {
        self.group = group
        self.options = options
        self.blocks = blocks
        self.trace = trace
    }

    /// Makes an engine for each port that is new.
    func meet(_ ports: [any TransportPort], owner: any CommandEngineOwner) {
        while engines.count < ports.count {
            let port = ports[engines.count]
            engines.append(
                CommandEngine(
                    index: PortIndex(position: UInt32(engines.count)), port: port, options: options, blocks: blocks,
                    trace: trace, owner: owner))
            looks = engines.map { .passUnretained($0) }
            blocks.announce([port.traits.memory, port.traits.capsuleMemory])
        }
    }

    func removeAll() {
        looks = []
        engines = []
    }

    // MARK: A round. By index: an iterator over objects allocates in unoptimised builds, where tests count too.

    @inline(__always)
    func poll(now: MonotonicTime) -> Int {
        var work = 0
        for place in 0..<looks.count { work += looks[place]._withUnsafeGuaranteedRef { $0.poll(now: now) } }
        return work
    }

    @inline(__always)
    func blockOperationEnded(_ completion: BlockCompletion) {
        looks[Int(completion.tag >> 32)]._withUnsafeGuaranteedRef {
            $0.blockOperationEnded(
                RequestIndex(position: UInt32(truncatingIfNeeded: completion.tag)), completion.status)
        }
    }

    @inline(__always)
    func finishRound(now: MonotonicTime) {
        for place in 0..<looks.count { looks[place]._withUnsafeGuaranteedRef { $0.finishRound(now: now) } }
    }

    /// A port has events for the next round.
    var hasEvents: Bool {
        for place in 0..<engines.count where engines[place].port.hasEvents { return true }
        return false
    }

    /// Looks at timers, as `CommandEngine.inspect` does.
    func inspect(
        _ now: MonotonicTime, heard: (QueueRole, ControllerPlace) -> Void, released: (ControllerPlace) -> Void
    ) -> Int {
        var answered = 0
        for place in 0..<engines.count { answered += engines[place].inspect(now, heard: heard, released: released) }
        return answered
    }

    /// Tells `body` of each connection that a host has.
    func forEachConnection(_ body: (ConnectionSlot) -> Void) {
        for engine in engines { engine.forEachConnection(body) }
    }

    // MARK: Queues and requests

    func opened(_ connection: ConnectionIndex, of port: PortIndex, _ origin: ConnectionOrigin, now: MonotonicTime) {
        engines[port.offset].opened(connection, origin, now: now)
    }

    func queue(_ connection: ConnectionIndex, of port: PortIndex) -> QueueReference {
        QueueReference(engine: engines[port.offset], index: connection)
    }

    /// A queue of this group, while it is the one that was meant.
    func queue(at location: QueueLocation) -> QueueReference? {
        guard location.port.offset < engines.count else { return nil }
        let queue = queue(location.connection, of: location.port)
        return queue.location(in: group) == location ? queue : nil
    }

    func request(_ index: RequestIndex, of port: PortIndex) -> RequestReference {
        RequestReference(engine: engines[port.offset], index: index)
    }

    /// A held request, if it is still there: closing a connection ends its held requests.
    func request(of ticket: RequestTicket) -> RequestReference? {
        guard let queue = queue(at: ticket.queue), queue.isLive else { return nil }
        return request(ticket.request, of: ticket.queue.port)
    }

    func ticket(of request: RequestReference) -> RequestTicket {
        RequestTicket(queue: request.queue.location(in: group), request: request.index)
    }

    /// Withdraws a command of one of this group's queues, as `CommandEngine.abort` does.
    func abort(_ commandID: UInt16, in queue: QueueLocation, release: (RequestReference) -> Bool) -> Bool {
        guard self.queue(at: queue) != nil else { return false }
        return engines[queue.port.offset].abort(commandID, on: queue.connection, release: release)
    }

    // MARK: Hosts that lost their registration

    /// Ends commands of `victims` that have not reached the block device.
    func abortWaiting(_ victims: Victims) {
        for engine in engines { engine.abortWaiting(victims) }
    }

    /// A command of `victims` is at the block device.
    func isRunning(_ victims: Victims) -> Bool { engines.contains { $0.isRunning(victims) } }

    /// Some connection looks at a view of a subsystem.
    func uses(_ namespaces: NamespaceTable) -> Bool { engines.contains { $0.uses(namespaces) } }

    // MARK: Counts

    /// The pools of each port. Counts all requests: not for the I/O path.
    var poolUse: [PoolUse] { engines.map(\.poolUse) }
    /// Registrations of namespaces' own memory, which are kept for the next use; and reads that use them now.
    var keptRegions: Int { engines.reduce(0) { $0 + $1.port.keptLoans } }
    var loans: Int { engines.reduce(0) { $0 + $1.lending.count } }
}
