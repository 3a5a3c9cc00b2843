import Base
import BlockInterface
import Glibc
import NVMeSpec
import Synchronization
import TargetInterface
import TargetTransport

/// The target: its subsystems, what it listens at, and the poll groups that serve it.
///
/// Changes are made here, by the control plane, and handed to the poll groups through their mailboxes.
public final class Target: Sendable {
    struct State {
        var subsystems: [String: Subsystem] = [:]
        var nextIndex = 0
        var catalog = DiscoveryCatalog()
        var groups: [GroupHandle] = []
        var placement = QueuePlacement(capacity: TargetOptions.connections)
        /// Numbers that namespaces have taken: one when each was added, and one for each possible loss of a cache.
        var instances: UInt64 = 0
        /// All that the target was told, without what is missing.
        var reached: TargetDefinition
        /// Discovery log "PORTID" of each address that the target has listened at.
        var portIDs: [SocketAddress: UInt16] = [:]
        /// Addresses at which the target listened until the address, or its device, was gone.
        var lostListeners: [SocketAddress] = []
        /// When the devices that were opened for paths have been closed.
        var closings: [BlockSpecification.Backing: OneTimeEvent] = [:]
    }

    public let options: TargetOptions
    let discovery: Subsystem
    let state: Mutex<State>
    let surroundings: any TargetSurroundings
    /// Discovery log "GENCTR".
    let generation = Atomic<UInt64>(1)
    /// When the target was made, for "power on hours".
    let started: MonotonicTime
    let observe: @Sendable (TargetEvent) -> Void
    /// Differs from one run of the daemon to the next.
    public let bootInstance: UInt64

    /// A boot instance: seconds and nanoseconds of now, which tell this run from every other one.
    public static func newBootInstance() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) << 32 | UInt64(time.tv_nsec)
    }

    /// - Parameters:
    ///   - bootInstance: a number that no earlier run has used; nor any of those after it, of which each namespace that is
    ///     added takes one, and each that may have lost its cache: `newBootInstance`, outside of simulations.
    ///   - observe: called from any thread; must not block.
    public init(
        options: TargetOptions, surroundings: any TargetSurroundings = BareSurroundings(), bootInstance: UInt64,
        now: MonotonicTime,
        observe: @escaping @Sendable (TargetEvent) -> Void = { _ in }
    ) {
        self.options = options
        self.surroundings = surroundings
        // Sizes that need a start to take effect have taken it.
        state = Mutex(State(reached: TargetDefinition(options: options)))
        self.bootInstance = bootInstance
        self.observe = observe
        started = now
        discovery = Subsystem(
            SubsystemDefinition(nqn: NQN.discovery, serialNumber: "discovery", modelNumber: "Tercet discovery"),
            index: 0, seed: bootInstance, isDiscovery: true)
        state.withLock { $0.nextIndex = 1 }
    }

    /// Lets go of all controllers, once no reactor polls any more. They and their subsystems refer to each other: a process
    /// that has one target after another would keep them all.
    public func close() {
        for subsystem in subsystems + [discovery] {
            subsystem.state.withLock { $0.controllers.removeAll() }
        }
    }

    /// All that the target was told, without what is missing.
    public internal(set) var reached: TargetDefinition {
        get { state.withLock { $0.reached } }
        set { state.withLock { $0.reached = newValue } }
    }

    /// Every subsystem, in the order of their NQNs.
    public var subsystems: [Subsystem] {
        state.withLock { $0.subsystems.values.sorted { $0.nqn < $1.nqn } }
    }

    func subsystem(_ nqn: String) -> Subsystem? {
        nqn == NQN.discovery ? discovery : state.withLock { $0.subsystems[nqn] }
    }

    /// Namespaces whose devices are gone, as of the last refresh.
    public var vanishedNamespaces: [(subsystem: String, nsid: UInt32)] {
        subsystems.flatMap { subsystem in
            subsystem.namespaces.filter { $0.geometry.blockCount == 0 }.map { (subsystem.nqn, $0.nsid) }
        }
    }

    /// Namespaces whose devices fail, where opening them anew may help. For the control plane: it may wait for the devices.
    public var staleNamespaces: [(subsystem: String, nsid: UInt32)] {
        devices.filter { $0.device.isStale }.map { ($0.subsystem, $0.nsid) }
    }

    /// Every namespace's device.
    public var devices: [(subsystem: String, nsid: UInt32, device: any BlockDevice)] {
        subsystems.flatMap { subsystem in
            subsystem.namespaces.map { (subsystem.nqn, $0.nsid, $0.definition.device) }
        }
    }

    /// The number that a namespace has taken last.
    var lastInstance: UInt64 { state.withLock { bootInstance &+ $0.instances } }

    func takeInstance() -> UInt64 {
        state.withLock { state in
            state.instances += 1
            return bootInstance &+ state.instances
        }
    }

    /// A flush of a namespace's device failed, or a write that had to be durable: what the device had cached may be lost. Devices
    /// say so once, and the next flush succeeds (Linux: errseq_t, Documentation/core-api/errseq.rst); so every other controller
    /// hears of it with its own next flush. The namespace has another instance from now on, by which a volume knows that its cache
    /// may be lost. Hosts that are registered with it are then to be told to look.
    func cacheMayBeLost(_ namespace: Namespace, of subsystem: Subsystem, known controller: Controller) {
        if options.deliberateDefect == .failedFlushNotTold { return }
        let number = takeInstance()
        namespace.noteLoss(number)
        controller.state.withLock { $0.heardLosses[namespace.nsid] = number }
        for group in groups { group.send { $0.synchronize(subsystem, nsid: namespace.nsid) } }
    }

    /// Asks all devices for their sizes; hosts are told of changes. For the control plane, every second or so.
    public func refreshNamespaces() {
        for subsystem in subsystems {
            for namespace in subsystem.namespaces where namespace.refresh() {
                subsystem.state.withLock { state in
                    guard state.namespaces[namespace.nsid] === namespace else { return }
                    state.namespaces.note(namespace.geometry, of: namespace.nsid)
                }
                observe(
                    .namespaceChanged(
                        subsystem: subsystem.nqn, nsid: namespace.nsid, blockCount: namespace.geometry.blockCount))
                namespaceChanged(namespace.nsid, of: subsystem)
            }
        }
    }

    // MARK: For the poll groups

    /// Joins a poll group to the target. `node` is the NUMA node of its reactor.
    func join(_ group: GroupHandle, node: Int?) -> Int {
        state.withLock { state in
            state.groups.append(group)
            state.placement.add(node: node)
            return state.groups.count - 1
        }
    }

    var groups: [GroupHandle] { state.withLock { $0.groups } }

    func group(_ index: Int) -> GroupHandle { state.withLock { $0.groups[index] } }

    /// The reactor for a new queue, which came over a device at a NUMA node. `settle` follows.
    func chooseGroup(isAdmin: Bool, near node: Int?) -> (index: Int, group: GroupHandle) {
        state.withLock { state in
            let index = state.placement.choose(isAdmin: isAdmin, near: node)
            return (index, state.groups[index])
        }
    }

    /// A poll group has taken or refused a queue that it was chosen for, and has so many connections now.
    func settle(_ group: Int, isAdmin: Bool, held: ConnectionCounts) {
        state.withLock { $0.placement.settle(group, isAdmin: isAdmin, held: held) }
    }

    /// A poll group has so many connections now.
    func note(_ held: ConnectionCounts, of group: Int) { state.withLock { $0.placement.note(held, of: group) } }

    func addListener(_ listener: TargetListener) {
        state.withLock { state in
            state.catalog.add(listener)
            state.lostListeners.removeAll { $0 == listener.address }
        }
        discoveryChanged()
    }

    /// The address of a listener, or its device, is gone: it is missing from now on, and the next `apply` listens there anew.
    func lost(_ listener: TargetListener) {
        state.withLock { $0.lostListeners.append(listener.address) }
        removeListener(listener)
        observe(.listenerLost(address: listener.address.description))
    }

    /// Addresses at which the target was told to listen, and listened until the address, or its device, was gone. For the control
    /// plane, which tries them again by `apply`.
    public var lostListeners: [SocketAddress] {
        state.withLock { state in state.lostListeners.filter(state.reached.listeners.contains) }
    }

    func removeListener(_ listener: TargetListener) {
        state.withLock { $0.catalog.remove(listener) }
        discoveryChanged()
    }

    /// Ends a controller: all its queues are closed, wherever they are. Does nothing the second time. Its commands are over
    /// when it is no longer among its subsystem's `draining`.
    func end(_ controller: Controller, _ reason: ControllerEnd) {
        guard let queues = controller.subsystem.end(controller) else { return }
        for queue in queues { close(queue) }
        // A host that has never shown who it is was never there.
        guard controller.state.withLock({ $0.isReported }) else { return }
        observe(
            .hostDisconnected(
                host: controller.hostNQN, subsystem: controller.subsystem.nqn, controller: controller.id,
                reason: reason.explanation))
    }

    /// A controller's host is there, and is who it says if it has to show that.
    func connected(_ controller: Controller, peer: String) {
        controller.state.withLock { $0.isReported = true }
        observe(
            .hostConnected(
                host: controller.hostNQN, subsystem: controller.subsystem.nqn, controller: controller.id, peer: peer))
    }

    /// Closes a queue, wherever it is.
    func close(_ queue: QueueLocation) { group(queue.group).send { $0.closeQueue(queue) } }

    /// Tells a controller's host of an event, now or when it next asks.
    func raise(_ event: AsyncEvent, on controller: Controller) {
        let admin = controller.state.withLock { state -> QueueLocation? in
            guard event.isEnabled(by: state.asyncEventConfiguration), state.events.raise(event) else { return nil }
            return state.adminQueue
        }
        if let admin { group(admin.group).send { $0.deliverEvents(of: controller) } }
    }

    func noteChange(of nsid: UInt32, _ controller: Controller) {
        controller.state.withLock { state in
            // One more than the log can name says that there are too many.
            guard state.changedNamespaces.count <= NamespaceList.maxCount else { return }
            state.changedNamespaces.insert(nsid)
        }
        raise(.namespaceAttributeChanged, on: controller)
    }

    /// The discovery log of a controller's host.
    func discoveryLog(for controller: Controller) -> HostDiscoveryLog {
        state.withLock {
            // The generation is raised after a change: one that has just been made may be told under the one before, and a host
            // then sees it change.
            $0.catalog.log(
                of: controller.hostNQN, ownAddress: controller.localAddress,
                generation: generation.load(ordering: .acquiring))
        }
    }

    func discoveryChanged() {
        generation.add(1, ordering: .acquiringAndReleasing)
        for controller in discovery.controllers { raise(.discoveryLogChanged, on: controller) }
    }
}

extension ControllerEnd {
    /// For the log.
    var explanation: String {
        switch self {
        case .adminConnectionLost: "its admin connection ended"
        case .keepAliveTimeout: "keep-alive timeout"
        case .reset: "controller reset"
        case .removed: "no longer allowed, or the subsystem was removed"
        case .namespaceRemoved: "a namespace with which its host is registered was removed"
        case .queueLost: "one of its queues broke"
        case .replaced: "its host has ended it from another association"
        }
    }
}
