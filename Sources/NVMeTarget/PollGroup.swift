import Base
import BlockInterface
import FabricInterface
import NVMeSpec
import Reactor
import Synchronization

/// What one reactor serves: its listeners, its connections, its device groups, and the controllers whose admin queues
/// it has (SPDK's and our word for the set that one thread polls).
public final class PollGroup: Poller {
    let target: Target
    let fabric: Fabric
    let mailbox: Mailbox
    let blocks = BlockSet()
    private(set) var index = 0
    private(set) var devices: [DeviceGroup] = []
    private(set) var views: [Int: SubsystemView] = [:]
    /// Some of them may be of subsystems that have been removed.
    private var checksViews = false
    /// Controllers that queue pairs of this group belong to; a queue pair holds a place in it.
    private(set) var controllers: [Controller?] = []
    var connections: [ConnectionHandle: Place] = [:]
    private var listeners: [ListenerHandle: TargetListener] = [:]
    /// Reservation commands that found another one at work on their namespace.
    var waitingReservations: [RequestTicket] = []
    var drains: [Drain] = []
    var heldRequests: [HeldRequest] = []
    private var nextTick = MonotonicTime(nanoseconds: 0)
    private var nextEventCheck = MonotonicTime(nanoseconds: 0)
    private var generation: UInt64 = 0
    /// Where a connection's queue pair is, and what the host said of itself when it asked for it.
    struct Place {
        var device: UInt32
        var slot: UInt32
        var request: ConnectionRequest
    }

    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)

    /// - Parameters:
    ///   - fabric: this reactor's own.
    ///   - mailbox: drained by `poll`; other reactors and the control plane write to it.
    public init(target: Target, fabric: Fabric, mailbox: Mailbox = Mailbox()) {
        self.target = target
        self.fabric = fabric
        self.mailbox = mailbox
        super.init()
        blocks.beforeUnmapping = { [unowned self] memory in for device in devices { device.forget(memory) } }
        index = target.join(Remote(self))
    }

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        var work = mailbox.drain()
        // Asking for connection events is a system call: not in every round.
        if now >= nextEventCheck {
            nextEventCheck = now.advanced(byNanoseconds: Limits.eventCheckNanoseconds)
            while let event = fabric.nextEvent() {
                handle(event, now: now)
                work += 1
            }
        }
        // By index: an iterator over objects allocates in unoptimised builds, where tests count too.
        for place in 0..<devices.count { work += devices[place].poll(now: now) }
        // Submitted before it is polled: what a device in memory does is done at once, and answered in this round.
        blocks.submit()
        work += blocks.poll { completion in
            devices[Int(completion.tag >> 32)]
                .blockOperationEnded(UInt32(truncatingIfNeeded: completion.tag), completion.status)
        }
        retryReservations()
        checkDrains()
        for place in 0..<devices.count { devices[place].finishRound(now: now) }
        blocks.submit()
        if now >= nextTick {
            work += tick(now)
            nextTick = now.advanced(byMilliseconds: Limits.tickMilliseconds)
        }
        return work
    }

    public override var nextDeadline: MonotonicTime {
        if blocks.isBlocked { return now.advanced(byNanoseconds: Limits.blockedRetryNanoseconds) }
        // Without connections there is nothing to time: the reactor sleeps until somebody comes.
        return connections.isEmpty ? .distantFuture : nextTick
    }

    public override func prepareToSleep() {
        // A connection event that is there keeps its descriptor readable, where it has one.
        if fabric.eventDescriptor < 0 { nextEventCheck = MonotonicTime(nanoseconds: 0) }
        for device in devices { device.context.armNotification() }
        blocks.armNotifications()
    }

    public override func wokeUp() {
        mailbox.acknowledge()
        nextEventCheck = MonotonicTime(nanoseconds: 0)
        for device in devices { device.context.acknowledgeNotification() }
        blocks.acknowledgeNotifications()
    }

    // A system call for each descriptor that was not the one would take longer than the work that woke the reactor up.
    public override func becameReady(_ descriptor: Int32) {
        if descriptor == mailbox.descriptor { return mailbox.acknowledge() }
        if descriptor == fabric.eventDescriptor {
            nextEventCheck = MonotonicTime(nanoseconds: 0)
            return
        }
        for device in devices where device.context.notificationDescriptor == descriptor {
            return device.context.acknowledgeNotification()
        }
        blocks.acknowledgeNotification(descriptor)
    }

    public override var descriptorGeneration: UInt64 { generation &+ blocks.generation }

    public override var descriptors: [Int32] {
        [fabric.eventDescriptor, mailbox.descriptor] + devices.map { $0.context.notificationDescriptor }
            + blocks.descriptors
    }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    // MARK: Listeners

    /// Listens at an address. On the group's own thread.
    public func listen(_ listener: TargetListener) throws(FabricError) {
        let handle = try fabric.listen(at: listener.address, backlog: 128)
        listeners[handle] = listener
        target.addListener(listener)
    }

    /// Stops listening at an address. Connections stay.
    public func stopListening(_ listener: TargetListener) {
        for (handle, other) in listeners where other == listener {
            fabric.stopListening(handle)
            listeners[handle] = nil
            target.removeListener(listener)
        }
    }

    /// Ends all connections and frees everything. The group must not be polled again.
    public func close() {
        for (handle, listener) in listeners {
            fabric.stopListening(handle)
            target.removeListener(listener)
        }
        listeners = [:]
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) { fabric.destroy(connection) }
        connections = [:]
        devices = []
        fabric.close()
    }

    // MARK: Connection manager events

    private func handle(_ event: ConnectionEvent, now: MonotonicTime) {
        switch event {
        case .requested(let connection, let request):
            requested(connection, request, now: now)
        case .established(let connection, _):
            guard let place = connections[connection] else { return }
            let device = devices[Int(place.device)]
            if device.queuePairs[place.slot].pointee.state == .accepted { device.established(place.slot, now: now) }
        case .disconnected(let connection), .deviceRemoved(let connection), .failed(let connection, _),
            .rejected(let connection, _, _):
            guard let place = connections[connection] else { return }
            closeQueuePair(place.slot, in: devices[Int(place.device)], now: now)
        case .listenerLost(let handle):
            guard let listener = listeners.removeValue(forKey: handle) else { return }
            target.removeListener(listener)
            target.observe(.listenerLost(address: listener.address.description))
        case .routeResolved:
            break
        }
    }

    /// A host wants a queue pair: check what it says of itself, and find the reactor that will serve it.
    private func requested(_ connection: ConnectionHandle, _ request: ConnectionRequest, now: MonotonicTime) {
        let parameters: RDMAConnectRequest
        do {
            parameters = try RDMAConnectRequest(decoding: request.parameters.privateData)
            try admissible(parameters, request)
        } catch {
            refuse(connection, error, request)
            return
        }
        let chosen = target.chooseGroup(isAdmin: parameters.queueID == 0)
        if chosen.index == index {
            admit(connection, request, parameters, now: now)
        } else {
            chosen.group.adopt(fabric.handOver(connection), request, parameters)
        }
    }

    private func admissible(_ parameters: RDMAConnectRequest, _ request: ConnectionRequest) throws(RDMARejectStatus) {
        let depth = parameters.queueID == 0 ? Limits.adminQueueDepth : target.options.queueDepth
        guard parameters.hostSendQueueSize < depth else { throw .invalidHostSendQueueSize }
        guard parameters.hostReceiveQueueSize > 0 else { throw .invalidHostReceiveQueueSize }
        guard parameters.queueID <= UInt16(target.options.maxIOQueues) else { throw .invalidQueueID }
        guard request.parameters.initiatorDepth > 0 else { throw .invalidInboundReadDepth }
    }

    func refuse(_ connection: ConnectionHandle, _ status: RDMARejectStatus, _ request: ConnectionRequest) {
        fabric.reject(connection, privateData: status.privateData)
        target.observe(
            .connectionRefused(
                peer: request.peerAddress?.description ?? "an unknown address", reason: status.description))
    }

    /// Makes the queue pair and accepts.
    func admit(
        _ connection: ConnectionHandle, _ request: ConnectionRequest, _ parameters: RDMAConnectRequest,
        now: MonotonicTime
    ) {
        let options = target.options
        var place: (device: DeviceGroup, slot: UInt32)?
        do {
            let context = try fabric.context(
                for: connection,
                ContextOptions(
                    completionQueueEntries: options.sharedReceiveEntries * 4 + 4096,
                    sharedReceiveEntries: options.sharedReceiveEntries, queuePairs: Limits.queuePairs))
            let device = try deviceGroup(of: context)
            guard let slot = device.queuePairs.take() else {
                return refuse(connection, .noResources, request)
            }
            place = (device, slot)
            let entries = Int(parameters.hostSendQueueSize) + 1
            let sends = min(entries * 2 + options.maxDescriptors + 1, context.limits.maxWorkRequests)
            let handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(
                    sendEntries: sends, receiveEntries: 0, usesSharedReceiveQueue: true, sendSegments: 1,
                    maxInlineData: CompletionEntry.byteCount))
            let depth = min(Int(request.parameters.initiatorDepth), context.limits.maxReadsAsInitiator, 255)
            device.bind(
                slot, handle, connection, parameters, entries: entries, sends: sends, readDepth: depth, now: now)
            connections[connection] = Place(device: device.index, slot: slot, request: request)
            try fabric.accept(
                connection,
                ConnectionParameters(
                    responderResources: request.parameters.responderResources, initiatorDepth: UInt8(depth),
                    privateData: RDMAConnectReply(controllerReceiveQueueSize: UInt16(entries)).privateData))
        } catch {
            target.observe(
                .connectionRefused(peer: request.peerAddress?.description ?? "an unknown address", reason: "\(error)"))
            if let place, connections.removeValue(forKey: connection) != nil {
                place.device.unbind(place.slot)
                fabric.destroy(connection)
            } else {
                if let place { place.device.queuePairs.give(place.slot) }
                fabric.reject(connection, privateData: RDMARejectStatus.noResources.privateData)
            }
        }
    }

    private func deviceGroup(of context: FabricContext) throws(FabricError) -> DeviceGroup {
        if let device = devices.first(where: { $0.context === context }) { return device }
        let device = try DeviceGroup(
            index: UInt32(devices.count), context: context, options: target.options, blocks: blocks, owner: self)
        devices.append(device)
        generation += 1
        return device
    }

    // MARK: Ends

    /// Takes a queue pair to its end, and with an admin queue its controller.
    func closeQueuePair(_ slot: UInt32, in device: DeviceGroup, now: MonotonicTime) {
        let queuePair = device.queuePairs[slot]
        guard queuePair.pointee.state != .closing, queuePair.pointee.state != .free else { return }
        device.close(slot, now: now)
        fabric.disconnect(queuePair.pointee.connection)
        guard queuePair.pointee.controller != noSlot,
            let controller = controllers[Int(queuePair.pointee.controller)]
        else { return }
        if queuePair.pointee.role == .admin {
            target.end(controller, .adminConnectionLost)
        } else {
            let queueID = queuePair.pointee.queueID
            controller.state.withLock { state in
                if let location = state.ioQueues[queueID], location.slot == slot, location.group == index {
                    state.ioQueues[queueID] = nil
                }
            }
        }
    }

    /// Closes the queue that another reactor means, if the slot is still that queue's.
    func closeQueue(_ location: QueueLocation, now: MonotonicTime) {
        guard Int(location.device) < devices.count else { return }
        let device = devices[Int(location.device)]
        guard device.queuePairs[location.slot].pointee.generation == location.generation else { return }
        closeQueuePair(location.slot, in: device, now: now)
    }

    // MARK: Tables

    /// What a queue pair's host said of itself when it asked for the connection.
    func connectionRequest(of slot: UInt32, in device: DeviceGroup) -> ConnectionRequest? {
        connections[device.queuePairs[slot].pointee.connection]?.request
    }

    /// The place of a controller in this group's table; each queue pair has a place of its own.
    func retainController(_ controller: Controller) -> UInt32 {
        if let free = controllers.firstIndex(where: { $0 == nil }) {
            controllers[free] = controller
            return UInt32(free)
        }
        controllers.append(controller)
        return UInt32(controllers.count - 1)
    }

    func releaseController(_ place: UInt32) {
        if place != noSlot { controllers[Int(place)] = nil }
    }

    /// The view of a subsystem, made when first asked for.
    func view(of subsystem: Subsystem) -> SubsystemView {
        if let view = views[subsystem.index] { return view }
        let view = SubsystemView(subsystem, capacity: target.options.maxNamespaces)
        views[subsystem.index] = view
        synchronize(view)
        return view
    }

    /// Frees the views of removed subsystems that no queue pair and no fence looks at any more.
    func dropEndedViews() {
        guard checksViews else { return }
        checksViews = false
        for (index, view) in views where view.subsystem.isRemoved {
            let isUsed =
                drains.contains { $0.namespaces == view.namespaces }
                || devices.contains { device in
                    device.boundSlots.contains { device.queuePairs[$0].pointee.namespaces == view.namespaces }
                }
            if isUsed { checksViews = true } else { views[index] = nil }
        }
    }

    func synchronize(_ view: SubsystemView) {
        checksViews = true
        view.synchronize(blocks) { nsid, error in
            target.observe(
                .namespaceFailed(subsystem: view.subsystem.nqn, nsid: nsid, reason: error.description))
        }
    }

    /// The controller of a request's queue pair.
    func controller(of request: UInt32, in group: DeviceGroup) -> Controller? {
        let place = group.queuePairs[group.requests[request].pointee.queuePair].pointee.controller
        return place == noSlot ? nil : controllers[Int(place)]
    }
}
