import Base
import BlockInterface
import NVMeAuthentication
import Reactor
import Synchronization
import TargetInterface
import TargetTransport
import Trace

/// One reactor's share of the target: its transport, a command engine for each port of it, and the controllers whose admin queues
/// it has (SPDK's and our word for the set that one thread polls).
public final class PollGroup: Poller {
    private let target: Target
    private let transport: any TargetTransport
    private let mailbox: Mailbox
    private let blocks = BlockSet()
    /// The last events of this group, and the hand that records them.
    private let ring: TraceRing
    private let trace: Trace
    private let engines: EngineTable
    private let views: SubsystemViews
    private let control: ControlPath
    private var listeners: [ListenerNumber: TargetListener] = [:]
    /// The connections that the target was told of.
    private var toldConnections = ConnectionCounts()
    private var nextTick = MonotonicTime(nanoseconds: 0)
    private var nextNoticeCheck = MonotonicTime(nanoseconds: 0)
    /// The time of the round that is running.
    private var now = MonotonicTime(nanoseconds: 0)

    /// - Parameters:
    ///   - transport: this reactor's own.
    ///   - mailbox: drained by `poll`; other reactors and the control plane write to it.
    ///   - node: the NUMA node of the reactor; `nil` if it is not known.
    ///   - ring: the reactor's, if what the group does is to be traced.
    public init(
        target: Target, transport: any TargetTransport, mailbox: Mailbox = Mailbox(), node: Int? = nil,
        ring: TraceRing = TraceRing()
    ) {
        self.target = target
        self.transport = transport
        self.mailbox = mailbox
        self.ring = ring
        trace = ring.trace
        let handle = GroupHandle(mailbox)
        engines = EngineTable(
            group: target.join(handle, node: node), options: target.options, blocks: blocks, trace: ring.trace)
        views = SubsystemViews(target, blocks)
        control = ControlPath(target, engines, views)
        super.init()
        blocks.beforeUnmapping = { [unowned self] memory in self.transport.forget(memory) }
        handle.attach(self)
    }

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        var work = mailbox.drainSome()
        // Asking for connections is a system call: not in every round.
        if now >= nextNoticeCheck {
            nextNoticeCheck = now.advanced(byNanoseconds: Limits.eventCheckNanoseconds)
            while let notice = transport.nextNotice(now: now) {
                handle(notice)
                work += 1
            }
        }
        work += engines.poll(now: now)
        // Submitted before it is polled: what a device in memory does is done at once, and answered in this round.
        blocks.submit()
        work += blocks.poll { engines.blockOperationEnded($0) }
        work += control.goOn(now: now)
        if now >= nextTick {
            work += control.inspect(now)
            transport.tick(now: now)
            tellConnections()
            control.endOverdue(now)
            nextTick = now.advanced(byMilliseconds: target.options.tickMilliseconds)
        }
        engines.finishRound(now: now)
        blocks.submit()
        return work
    }

    public override var nextDeadline: MonotonicTime {
        if engines.hasEvents { return now }
        if views.isUnfinished || control.hasNews { return now }
        // An answer that waits for memory is not told when there is some.
        if blocks.isBlocked || control.hasPages { return now.advanced(byNanoseconds: Limits.blockedRetryNanoseconds) }
        // Without connections there is nothing to time: the reactor sleeps until somebody comes.
        return transport.connectionCounts.total > 0 ? nextTick : .distantFuture
    }

    public override var isDearToWake: Bool { true }

    public override func prepareToSleep() {
        // A notice that is there keeps its descriptor readable, where it has one.
        if transport.noticeDescriptor < 0 { expectEvents() }
        mailbox.arm()
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
        if descriptor == transport.noticeDescriptor { return expectEvents() }
        if !transport.acknowledgeNotification(descriptor) { blocks.acknowledgeNotification(descriptor) }
    }

    public override var descriptorGeneration: UInt64 { transport.descriptorGeneration &+ blocks.generation }

    public override var descriptors: [Int32] {
        [mailbox.descriptor] + transport.descriptors + blocks.descriptors
    }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    // MARK: Listeners

    /// Ends all connections and frees everything. The group must not be polled again.
    public func close() {
        for (number, listener) in listeners {
            transport.stopListening(number)
            target.removeListener(listener)
        }
        listeners = [:]
        transport.endConnections()
        engines.removeAll()
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
            engines.opened(connection, of: port, origin, now: now)
        case .ended(let port, let connection):
            trace.record(.connectionEnded, connection.position, 0)
            control.close(engines.queue(connection, of: port))
        case .refused(let peer, let reason):
            trace.record(.connectionRefused, 0, 0)
            target.observe(.connectionRefused(peer: peer, reason: reason))
        case .listenerLost(let number):
            guard let listener = listeners.removeValue(forKey: number) else { return }
            target.lost(listener)
        }
    }

    /// A host wants a connection: find the reactor that will serve it.
    private func requested(_ connection: PendingConnection) {
        let isAdmin = connection.origin.isAdmin
        let chosen = target.chooseGroup(isAdmin: isAdmin, near: connection.origin.node)
        if chosen.index == engines.group {
            transport.accept(connection, now: now)
            settled(isAdmin: isAdmin)
        } else {
            let ticket = transport.handOver(connection)
            chosen.group.send { $0.adopt(ticket, isAdmin: isAdmin) }
        }
    }

    /// A connection that this group was chosen for has been accepted, or refused.
    private func settled(isAdmin: Bool) {
        engines.meet(transport.ports, owner: control)
        toldConnections = transport.connectionCounts
        target.settle(engines.group, isAdmin: isAdmin, held: toldConnections)
    }

    /// Tells the target how many connections there are, where that has changed.
    private func tellConnections() {
        let held = transport.connectionCounts
        guard held != toldConnections else { return }
        toldConnections = held
        target.note(held, of: engines.group)
    }

    // MARK: Counts

    /// The pools of each port that this group has met. Counts all requests: not for the I/O path.
    package var poolUse: [PoolUse] { engines.poolUse }
    /// Controllers that connections of this group belong to, and the places of their table.
    package var heldControllers: Int { control.heldControllers }
    package var controllerPlaces: Int { control.controllerPlaces }
    /// Registrations of namespaces' own memory, which are kept for the next use; and reads that use them now.
    package var keptRegions: Int { engines.keptRegions }
    package var loans: Int { engines.loans }
    /// Subsystems that this group knows.
    package var heldViews: Int { views.count }
}

extension PollGroup: PollGroupDuties {
    func listen(_ listener: TargetListener) -> String? {
        do throws(TercetError) { listeners[try transport.listen(at: listener.address)] = listener } catch {
            return error.description
        }
        target.addListener(listener)
        return nil
    }

    func stopListening(_ listener: TargetListener) {
        for (number, other) in listeners where other == listener {
            transport.stopListening(number)
            listeners[number] = nil
            target.removeListener(listener)
        }
    }

    func adopt(_ ticket: any TransportTicket, isAdmin: Bool) {
        transport.adopt(ticket, now: now)
        settled(isAdmin: isAdmin)
        // It may have been refused, which is a notice.
        expectEvents()
    }

    func closeQueue(_ location: QueueLocation) {
        if let queue = engines.queue(at: location) { control.close(queue) }
    }

    var queueLoads: [QueueLoad] { control.queueLoads }

    func deliverEvents(of controller: Controller) { control.deliverEvents(of: controller) }

    func synchronize(_ subsystem: Subsystem) { views.synchronize(subsystem) }

    func renewAccess(_ subsystem: Subsystem) { views.existingView(of: subsystem)?.renewAccess() }

    func whenSettled(_ done: @escaping @Sendable () -> Void) { views.whenSettled(done) }

    func synchronize(_ subsystem: Subsystem, nsid: UInt32) { views.synchronize(subsystem, nsid: nsid) }

    func abort(_ commandID: UInt16, in queue: QueueLocation) -> Bool { control.abort(commandID, in: queue) }

    func finishAbort(_ ticket: RequestTicket, isAborted: Bool) { control.finishAbort(ticket, isAborted: isAborted) }

    func poolChanged(
        _ ticket: RequestTicket, _ outcome: Result<UInt32, PoolRefusal>, of controller: Controller, returns: Bool
    ) { control.poolChanged(ticket, outcome, of: controller, returns: returns) }

    func fence(_ subsystem: Subsystem, nsid: UInt32, victims: HostSet, barrier: FenceBarrier) {
        control.fence(subsystem, nsid: nsid, victims: victims, barrier: barrier)
    }

    func authenticationComputed(_ result: WorkResult, for queue: QueueLocation, number: UInt64) {
        control.authenticationComputed(result, for: queue, number: number, now: now)
    }

    func dateFormerKeys(of subsystem: Subsystem) { subsystem.state.withLock { $0.keys.date(now) } }

    func resume(_ ticket: RequestTicket) { control.resume(ticket, now: now) }

    func stored(_ change: ReservationChange, problem: String?) { control.stored(change, problem: problem) }

    func takeTurn(_ ticket: RequestTicket, of namespace: Namespace) {
        control.takeTurn(ticket, of: namespace, now: now)
    }

    func takenOn(_ change: ReservationChange) { control.takenOn(change) }
}
