import Base
import BlockInterface
import NVMeSpec
import Reactor
import Synchronization
import TargetTransport
import Trace

/// What one reactor serves: its transport, a command engine for each port of it, and the controllers whose admin queues it has
/// (SPDK's and our word for the set that one thread polls).
public final class PollGroup: Poller {
    let target: Target
    let transport: any TargetTransport
    let mailbox: Mailbox
    let blocks = BlockSet()
    /// The last events of this group, and the hand that records them.
    private let ring: TraceRing
    let trace: Trace
    private(set) var index = 0
    /// By port.
    private(set) var engines: [CommandEngine] = []
    private(set) var views: [Int: SubsystemView] = [:]
    /// Some of them may be of subsystems that have been removed.
    private var checksViews = false
    /// Controllers that connections of this group belong to.
    var controllers = ControllerTable()
    private var listeners: [ListenerNumber: TargetListener] = [:]
    /// Reservation commands that found another one at work on their namespace.
    var waitingReservations: [RequestTicket] = []
    var drains: [Drain] = []
    var heldRequests: [HeldRequest] = []
    private var nextTick = MonotonicTime(nanoseconds: 0)
    private var nextNoticeCheck = MonotonicTime(nanoseconds: 0)

    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)

    /// - Parameters:
    ///   - transport: this reactor's own.
    ///   - mailbox: drained by `poll`; other reactors and the control plane write to it.
    ///   - ring: the reactor's, if what the group does is to be traced.
    public init(
        target: Target, transport: any TargetTransport, mailbox: Mailbox = Mailbox(), ring: TraceRing = TraceRing()
    ) {
        self.target = target
        self.transport = transport
        self.mailbox = mailbox
        self.ring = ring
        trace = ring.trace
        super.init()
        blocks.beforeUnmapping = { [unowned self] memory in self.transport.forget(memory) }
        index = target.join(Remote(self))
    }

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        var work = mailbox.drain()
        // Asking for connections is a system call: not in every round.
        if now >= nextNoticeCheck {
            nextNoticeCheck = now.advanced(byNanoseconds: Limits.eventCheckNanoseconds)
            while let notice = transport.nextNotice(now: now) {
                handle(notice)
                work += 1
            }
        }
        // By index: an iterator over objects allocates in unoptimised builds, where tests count too.
        for place in 0..<engines.count { work += engines[place].poll(now: now) }
        // Submitted before it is polled: what a device in memory does is done at once, and answered in this round.
        blocks.submit()
        work += blocks.poll { completion in
            trace.record(.blockDone, UInt32(truncatingIfNeeded: completion.tag), UInt64(completion.status.rawValue))
            engines[Int(completion.tag >> 32)].blockOperationEnded(
                RequestIndex(position: UInt32(truncatingIfNeeded: completion.tag)), completion.status)
        }
        retryReservations()
        checkDrains()
        if now >= nextTick {
            work += tick(now)
            nextTick = now.advanced(byMilliseconds: Limits.tickMilliseconds)
        }
        for place in 0..<engines.count { engines[place].finishRound(now: now) }
        blocks.submit()
        return work
    }

    public override var nextDeadline: MonotonicTime {
        for place in 0..<engines.count where engines[place].port.hasEvents { return now }
        if blocks.isBlocked { return now.advanced(byNanoseconds: Limits.blockedRetryNanoseconds) }
        // Without connections there is nothing to time: the reactor sleeps until somebody comes.
        return transport.hasConnections ? nextTick : .distantFuture
    }

    public override func prepareToSleep() {
        // A notice that is there keeps its descriptor readable, where it has one.
        if transport.noticeDescriptor < 0 { expectEvents() }
        transport.armNotifications()
        blocks.armNotifications()
    }

    /// Asks for notices of connections in the next round: for one who polls without ever sleeping.
    package func expectEvents() { nextNoticeCheck = MonotonicTime(nanoseconds: 0) }

    public override func wokeUp() {
        mailbox.acknowledge()
        expectEvents()
        transport.acknowledgeNotifications()
        blocks.acknowledgeNotifications()
    }

    // A system call for each descriptor that was not the one would take longer than the work that woke the reactor up.
    public override func becameReady(_ descriptor: Int32) {
        if descriptor == mailbox.descriptor { return mailbox.acknowledge() }
        if descriptor == transport.noticeDescriptor {
            nextNoticeCheck = MonotonicTime(nanoseconds: 0)
            return
        }
        if !transport.acknowledgeNotification(descriptor) { blocks.acknowledgeNotification(descriptor) }
    }

    public override var descriptorGeneration: UInt64 { transport.descriptorGeneration &+ blocks.generation }

    public override var descriptors: [Int32] {
        [mailbox.descriptor] + transport.descriptors + blocks.descriptors
    }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    // MARK: Listeners

    /// Listens at an address. On the group's own thread.
    public func listen(_ listener: TargetListener) throws(TransportError) {
        let number = try transport.listen(at: listener.address)
        listeners[number] = listener
        target.addListener(listener)
    }

    /// Stops listening at an address. Connections stay.
    public func stopListening(_ listener: TargetListener) {
        for (number, other) in listeners where other == listener {
            transport.stopListening(number)
            listeners[number] = nil
            target.removeListener(listener)
        }
    }

    /// Ends all connections and frees everything. The group must not be polled again.
    public func close() {
        for (number, listener) in listeners {
            transport.stopListening(number)
            target.removeListener(listener)
        }
        listeners = [:]
        transport.endConnections()
        engines = []
        transport.close()
    }

    // MARK: Connections

    private func handle(_ notice: ConnectionNotice) {
        switch notice {
        case .requested(let connection):
            trace.record(.connectionRequested, UInt32(connection.origin.queueID), 0)
            requested(connection)
        case .opened(let port, let connection, let origin):
            trace.record(.connectionEstablished, connection.position, UInt64(origin.queueID))
            engines[port.offset].opened(connection, origin, now: now)
        case .ended(let port, let connection):
            trace.record(.connectionEnded, connection.position, 0)
            closeConnection(connection, in: engines[port.offset])
        case .refused(let peer, let reason):
            trace.record(.connectionRefused, 0, 0)
            target.observe(.connectionRefused(peer: peer, reason: reason))
        case .listenerLost(let number):
            guard let listener = listeners.removeValue(forKey: number) else { return }
            target.removeListener(listener)
            target.observe(.listenerLost(address: listener.address.description))
        }
    }

    /// A host wants a connection: find the reactor that will serve it.
    private func requested(_ connection: PendingConnection) {
        let chosen = target.chooseGroup(isAdmin: connection.origin.queueID == 0)
        if chosen.index == index {
            transport.accept(connection, now: now)
            meetPorts()
        } else {
            chosen.group.adopt(transport.handOver(connection))
        }
    }

    /// Takes a connection over that another reactor has received.
    func adopt(_ ticket: any TransportTicket) {
        transport.adopt(ticket, now: now)
        meetPorts()
        // It may have been refused, which is a notice.
        nextNoticeCheck = MonotonicTime(nanoseconds: 0)
    }

    /// Makes an engine for each port that is new.
    private func meetPorts() {
        let ports = transport.ports
        while engines.count < ports.count {
            engines.append(
                CommandEngine(
                    index: PortIndex(position: UInt32(engines.count)), port: ports[engines.count],
                    options: target.options, blocks: blocks, trace: trace, owner: self))
            let traits = ports[engines.count - 1].traits
            blocks.announce([traits.memory, traits.capsuleMemory])
        }
    }

    /// Takes a connection to its end, and with an admin queue its controller.
    func closeConnection(_ connection: ConnectionIndex, in engine: CommandEngine) {
        guard engine.connections[connection].state == .live else { return }
        engine.close(connection)
        guard let controller = controllers[engine.connections[connection].controller] else { return }
        if engine.connections[connection].role == .admin {
            target.end(controller, .adminConnectionLost)
        } else {
            let queueID = engine.connections[connection].queueID
            let location = location(of: connection, in: engine)
            controller.state.withLock { state in
                if state.ioQueues[queueID] == location { state.ioQueues[queueID] = nil }
            }
        }
    }

    /// Closes the queue that another reactor means, if it is still there.
    func closeQueue(_ location: QueueLocation) {
        if let engine = engine(of: location) { closeConnection(location.connection, in: engine) }
    }

    // MARK: Tables

    private func location(of connection: ConnectionIndex, in engine: CommandEngine) -> QueueLocation {
        QueueLocation(
            group: index, port: engine.index, connection: connection,
            generation: engine.connections[connection].generation)
    }

    func location(of request: RequestReference) -> QueueLocation {
        location(of: request.connection, in: request.engine)
    }

    /// The engine of a queue of this group, while the queue is the one that was meant.
    func engine(of location: QueueLocation) -> CommandEngine? {
        guard location.port.offset < engines.count else { return nil }
        let engine = engines[location.port.offset]
        return engine.connections[location.connection].generation == location.generation ? engine : nil
    }

    /// The controller of a request's connection.
    func controller(of request: RequestReference) -> Controller? {
        controllers[request.engine.connections[request.connection].controller]
    }

    /// The view of a subsystem, made when first asked for.
    func view(of subsystem: Subsystem) -> SubsystemView {
        if let view = views[subsystem.index] { return view }
        let view = SubsystemView(subsystem, capacity: target.options.maxNamespaces)
        views[subsystem.index] = view
        synchronize(view)
        return view
    }

    /// Frees the views of removed subsystems that no connection and no fence looks at any more.
    func dropEndedViews() {
        guard checksViews else { return }
        checksViews = false
        for (index, view) in views where view.subsystem.isRemoved {
            let isUsed =
                drains.contains { $0.victims.namespaces == view.namespaces }
                || engines.contains { engine in
                    engine.bound.contains { engine.connections[$0].namespaces == view.namespaces }
                }
            if isUsed { checksViews = true } else { views[index] = nil }
        }
    }

    /// Looks at all namespaces of a view's subsystem anew.
    func synchronize(_ view: SubsystemView) {
        checksViews = true
        view.synchronize(blocks) { report($0, of: view, $1) }
        if target.options.deliberateDefect == .reservationNotJudged { view.letEverybodyIn() }
    }

    /// Looks at one namespace anew.
    func synchronize(_ view: SubsystemView, nsid: UInt32) {
        view.synchronize(nsid, blocks) { report($0, of: view, $1) }
        if target.options.deliberateDefect == .reservationNotJudged { view.letEverybodyIn() }
    }

    private func report(_ nsid: UInt32, of view: SubsystemView, _ error: TercetError) {
        target.observe(.namespaceFailed(subsystem: view.subsystem.nqn, nsid: nsid, reason: error.description))
    }
}
