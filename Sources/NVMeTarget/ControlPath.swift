import Base
import NVMeAuthentication
import NVMeSpec
import Synchronization
import TargetInterface
import TargetTransport

/// Fabrics, admin and reservation commands, and the ends of connections: everything of a poll group that is not I/O.
///
/// Each kind of command is a part that says how the command ends (`ControlReply`); here that is carried out.
final class ControlPath: CommandEngineOwner {
    private let target: Target
    private let engines: EngineTable
    private let views: SubsystemViews
    /// Controllers that connections of this group belong to.
    private let controllers = ControllerTable()
    private let connects: ConnectCommands
    private let held: HeldRequests
    private let identify: IdentifyPages
    private let logs: LogPages
    private let features: Features
    private let properties: Properties
    private let events: EventRequests
    private let aborts: AbortCommands
    private let reservations: ReservationCommands
    private let pools: PoolCommands
    private let authentication: QueueAuthentication
    private let fences: Fences
    private let announcements = Announcements()
    private let pages: PageAnswers

    init(_ target: Target, _ engines: EngineTable, _ views: SubsystemViews) {
        self.target = target
        self.engines = engines
        self.views = views
        held = HeldRequests(target, engines)
        connects = ConnectCommands(target: target, group: engines.group, held: held, views: views)
        identify = IdentifyPages(target: target)
        logs = LogPages(target: target)
        features = Features(target: target)
        properties = Properties(target: target)
        events = EventRequests(engines: engines)
        aborts = AbortCommands(target: target, engines: engines, controllers: controllers)
        reservations = ReservationCommands(target, engines, announcements)
        pools = PoolCommands(target: target, engines: engines)
        authentication = QueueAuthentication(target, engines)
        fences = Fences(target.options, engines, views)
        pages = PageAnswers(engines)
    }

    /// The queues of this group that belong to a controller.
    var queueLoads: [QueueLoad] {
        var loads: [QueueLoad] = []
        engines.forEachConnection { slot in
            guard let controller = controllers[slot.controller] else { return }
            loads.append(
                QueueLoad(
                    subsystem: controller.subsystem.nqn, host: controller.hostNQN, controllerID: controller.id,
                    queueID: slot.queueID, reactor: engines.group, entries: slot.entries, underWay: slot.unanswered,
                    answered: slot.answered))
        }
        return loads
    }

    // MARK: Commands

    /// A command that is not I/O has its data: do it.
    func execute(_ request: RequestReference, now: MonotonicTime) {
        let controller = controllers[request.queue.controller]
        if case .fabrics(let command) = request.command {
            return finish(request, fabrics(command, request, controller, now), controller)
        }
        guard let controller, controller.state.withLock({ $0.isOperational }) else {
            return finish(request, .refused(.commandSequenceError), controller)
        }
        let control = ControlRequest(reference: request, controller: controller, now: now)
        switch request.command {
        case .admin(let command):
            finish(request, reply(to: command, control), controller)
            // A log that was read lets its events through again.
            if case .getLogPage = command { events.deliver(of: controller) }
        case .io(let command): finish(request, reservations.reply(to: command, control), controller)
        case .fabrics, .none: finish(request, .refused(.commandSequenceError), controller)
        }
    }

    /// Answers a command as its part has said: at once, or where its data is long, piece by piece.
    private func finish(_ request: RequestReference, _ reply: ControlReply, _ controller: Controller?) {
        guard case .page(let page, let offset, let length) = reply else { return request.finish(reply, controller) }
        guard let status = pages.begin(request, page, offset: offset, length: length) else { return }
        request.finish(status.isSuccess ? .done : .refused(status), controller)
    }

    /// Fabrics commands (NVMe Base, "Fabrics Command Set").
    private func fabrics(
        _ command: FabricsCommand, _ request: RequestReference, _ controller: Controller?, _ now: MonotonicTime
    ) -> ControlReply {
        let role = request.queue.role
        // NVMe Base, "Authentication Required".
        guard role != .authenticating || command.mayComeBeforeAuthentication else {
            return .refused(.authenticationRequired)
        }
        switch command {
        case .invalid(let status): return .refused(status)
        case .connect(let connect):
            guard role == .unconnected else { return .refused(.commandSequenceError) }
            return self.connect(connect, request, now)
        case .propertyGet(let property):
            guard let controller else { return .refused(.commandSequenceError) }
            return properties.reply(
                to: property, ControlRequest(reference: request, controller: controller, now: now))
        case .propertySet(let property):
            guard let controller else { return .refused(.commandSequenceError) }
            return properties.reply(
                to: property, ControlRequest(reference: request, controller: controller, now: now))
        case .disconnect:
            guard role != .unconnected else { return .refused(.commandSequenceError) }
            // NVMe-oF "Disconnect": the I/O queue ends after the answer.
            return request.queue.queueID == 0 ? .refused(.invalidQueueType) : .done
        case .authenticationSend(let command):
            guard let controller else { return .refused(.commandSequenceError) }
            return authentication.send(
                command, ControlRequest(reference: request, controller: controller, now: now))
        case .authenticationReceive(let command):
            guard let controller else { return .refused(.commandSequenceError) }
            return authentication.receive(
                command, ControlRequest(reference: request, controller: controller, now: now))
        }
    }

    private func connect(
        _ connect: ConnectCommand, _ request: RequestReference, _ now: MonotonicTime
    ) -> ControlReply {
        let peer = request.queue.peer
        switch connects.connect(connect, request, now: now) {
        case .held: return .later
        case .refusedBecause(let refusal, let host, let subsystem):
            target.observe(
                .connectRefused(host: host, subsystem: subsystem, peer: peer, reason: refusal.reason))
            request.setResult(refusal.failure.result)
            return .refused(refusal.failure.status)
        case .connected(let controller, let view, let demand):
            var result = ConnectResult(controllerID: controller.id)
            if case .keys(let peer) = demand {
                result = ConnectResult(controllerID: controller.id, requiresAuthentication: true)
                authentication.begin(peer, request, controller, now: now)
            }
            request.connect(
                ConnectedQueue(
                    mustAuthenticate: result.requiresAuthentication, entries: UInt32(connect.sqSize) + 1,
                    hasNoFlowControl: connect.attributes.contains(.disableSQFlowControl),
                    controller: controllers.retain(controller),
                    view: view?.connected(controller)))
            if request.queue.role == .admin { target.connected(controller, peer: peer) }
            return .result(UInt64(result.rawValue))
        }
    }

    /// Admin commands (NVMe Base, "Admin Command Set").
    private func reply(to command: AdminCommand, _ request: ControlRequest) -> ControlReply {
        switch command {
        case .invalid(let status): .refused(status)
        case .identify(let command): identify.reply(to: command, request)
        case .getLogPage(let command): logs.reply(to: command, request)
        case .getFeatures(let command): features.reply(to: command, request)
        case .setFeatures(let command): features.reply(to: command, request)
        case .keepAlive: .done
        case .asynchronousEventRequest: events.hold(request)
        case .abort(let command): aborts.reply(to: command, request)
        case .namespaceManagement(let command): pools.reply(to: command, request)
        case .namespaceAttachment(let command): pools.reply(to: command, request)
        case .namespaceGrowth(let command): pools.reply(to: command, request)
        case .quiesce(let command): quiesce(command, request)
        }
    }

    /// Quiesce: ends another association of this host, and is answered when its commands are over.
    ///
    /// A host whose command timed out takes it for failed; the command may still be at a block device, and land after one that
    /// the host sent later, over another association. So a host's new association begins when the commands of those that have
    /// ended are over, and this command ends one that the target still takes for alive.
    private func quiesce(_ command: QuiesceCommand, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        guard command.controllerID != controller.id, !controller.isDiscovery else { return .refused(.invalidField) }
        if let other = controller.subsystem.controller(command.controllerID) {
            // Somebody else's association is none of this host's business.
            guard other.hostNQN == controller.hostNQN, other.hostID == controller.hostID else {
                return .refused(.invalidField)
            }
            target.end(other, .replaced)
        }
        let isHeld = held.hold(
            request.reference, until: .controller(command.controllerID), of: controller.subsystem, now: request.now)
        return isHeld ? .later : .done
    }

    // MARK: Commands that waited

    /// The commands of ended associations are over that a request waited for.
    func resume(_ ticket: RequestTicket, now: MonotonicTime) {
        if let request = held.take(ticket) { execute(request, now: now) }
    }

    func deliverEvents(of controller: Controller) { events.deliver(of: controller) }

    func abort(_ commandID: UInt16, in queue: QueueLocation) -> Bool { aborts.withdraw(commandID, in: queue) }

    func finishAbort(_ ticket: RequestTicket, isAborted: Bool) { aborts.finish(ticket, isAborted: isAborted) }

    func poolChanged(
        _ ticket: RequestTicket, _ outcome: Result<UInt32, PoolRefusal>, of controller: Controller, returns: Bool
    ) { pools.finish(ticket, outcome, of: controller, returns: returns) }

    /// Work of an exchange is done.
    func authenticationComputed(
        _ result: WorkResult, for queue: QueueLocation, number: UInt64, now: MonotonicTime
    ) {
        guard let (request, reply) = authentication.computed(result, for: queue, number: number, now: now) else {
            return
        }
        finish(request, reply, controllers[request.queue.controller])
    }

    func fence(_ subsystem: Subsystem, nsid: UInt32, victims: HostSet, barrier: FenceBarrier) {
        fences.add(subsystem, nsid: nsid, victims: victims, barrier: barrier)
    }

    func stored(_ change: ReservationChange, problem: String?) { reservations.stored(change, problem: problem) }

    func takenOn(_ change: ReservationChange) { reservations.takenOn(change) }

    /// It is the turn of a reservation command that waited for others on the namespace.
    func takeTurn(_ ticket: RequestTicket, of namespace: Namespace, now: MonotonicTime) {
        // The host may have gone.
        guard let request = engines.request(of: ticket), let controller = controllers[request.queue.controller],
            case .io(let command) = request.command
        else { return reservations.endChange(of: namespace) }
        let control = ControlRequest(reference: request, controller: controller, now: now)
        finish(request, reservations.turn(command, namespace, control), controller)
    }

    /// Hosts are to be told of something in the next round, or registrants to be looked at.
    var hasNews: Bool { !announcements.isEmpty || reservations.isBusy }

    /// Answers wait to be written.
    var hasPages: Bool { !pages.isEmpty }

    /// Goes on with what takes several rounds, when block operations have ended. Once a round; returns how much has been done.
    @inline(__always)
    func goOn(now: MonotonicTime) -> Int {
        var work = 0
        if _slowPath(views.isUnfinished) {
            work += 1
            for ticket in views.goOn() {
                if let request = engines.request(of: ticket) { execute(request, now: now) }
            }
        }
        if _slowPath(!announcements.isEmpty) { work += announcements.goOn() }
        if _slowPath(reservations.isDue) { work += reservations.goOn() }
        if _slowPath(!pages.isEmpty) { work += pages.goOn() }
        fences.check()
        return work
    }

    /// Looks at timers. Returns how many commands were answered.
    func inspect(_ now: MonotonicTime) -> Int {
        var answered = 0
        for (request, status) in held.inspect(now) {
            request.finish(.refused(status), controllers[request.queue.controller])
            answered += 1
        }
        let onlyAdmin = target.options.omissions.contains(.trafficBasedKeepAlive)
        answered += engines.inspect(now) { role, place in
            if role == .admin || !onlyAdmin { controllers[place]?.heard(at: now) }
        } released: {
            controllers.release($0)
        }
        return answered
    }

    /// Ends what is over or silent, once the transport has looked at its own timers.
    func endOverdue(_ now: MonotonicTime) {
        views.dropEnded { fences.uses($0) }
        for queue in authentication.overdue(now) { close(queue) }
        if target.options.deliberateDefect == .keepAliveNotWatched { return }
        // Another reactor may have heard of the host since its last tick, and says so with its next.
        let told = now.nanoseconds - min(now.nanoseconds, target.options.tickMilliseconds * 1_000_000)
        for controller in controllers.overdue(MonotonicTime(nanoseconds: told)) {
            target.end(controller, .keepAliveTimeout)
        }
    }

    // MARK: Lost caches

    func cacheMayBeLost(_ nsid: UInt32, _ connection: ConnectionIndex, in engine: CommandEngine) {
        guard let controller = controllers[QueueReference(engine: engine, index: connection).controller],
            let namespace = controller.subsystem.namespace(nsid)
        else { return }
        target.cacheMayBeLost(namespace, of: controller.subsystem, known: controller)
        let registrants = namespace.reservation.withLock { $0.current.registrants }
        announcements.tell(registrants.hosts(), of: controller.subsystem, about: namespace) { [target] in
            target.noteChange(of: nsid, $0)
        }
    }

    func hearsOfLoss(_ number: UInt64, of nsid: UInt32, _ connection: ConnectionIndex, in engine: CommandEngine) -> Bool
    {
        controllers[QueueReference(engine: engine, index: connection).controller]?.hearsOfLoss(number, of: nsid)
            ?? false
    }

    // MARK: Connections

    func connectionFailed(_ connection: ConnectionIndex, in engine: CommandEngine, reason: String) {
        let queue = QueueReference(engine: engine, index: connection)
        queue.countProtocolError()
        target.observe(.queuePairFailed(peer: describe(queue), reason: reason))
        close(queue)
    }

    func connectionDrained(_ connection: ConnectionIndex, in engine: CommandEngine) {
        controllers[QueueReference(engine: engine, index: connection).controller]?.releaseQueue()
    }

    private func describe(_ queue: QueueReference) -> String {
        guard let controller = controllers[queue.controller] else {
            return "queue \(queue.queueID) of a host that has not connected yet"
        }
        return "queue \(queue.queueID) of \(controller.hostNQN)"
    }

    /// Takes a connection to its end, and with an admin queue its controller.
    func close(_ queue: QueueReference) {
        guard queue.isLive else { return }
        authentication.forget(queue.location(in: engines.group))
        queue.close()
        guard let controller = controllers[queue.controller] else { return }
        if queue.queueID == 0 { return target.end(controller, .adminConnectionLost) }
        let (queueID, location) = (queue.queueID, queue.location(in: engines.group))
        controller.state.withLock { state in
            if state.ioQueues[queueID] == location { state.ioQueues[queueID] = nil }
        }
    }

    // MARK: Counts

    /// Controllers that connections of this group belong to, and the places of their table.
    var heldControllers: Int { controllers.heldCount }
    var controllerPlaces: Int { controllers.placeCount }
}

extension FabricsCommand {
    /// It is taken from a host that has still to show who it is.
    fileprivate var mayComeBeforeAuthentication: Bool {
        switch self {
        case .connect, .authenticationSend, .authenticationReceive, .disconnect: true
        case .propertyGet, .propertySet, .invalid: false
        }
    }
}
