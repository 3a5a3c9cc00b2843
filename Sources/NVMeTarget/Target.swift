import Base
import BlockInterface
import NVMeSpec
import Synchronization

/// An address at which the target listens.
public struct TargetListener: Hashable, Sendable {
    public var address: SocketAddress
    /// Discovery Log Page Entry "PORTID".
    public var portID: UInt16

    public init(address: SocketAddress, portID: UInt16) {
        self.address = address
        self.portID = portID
    }
}

/// Another discovery service that the log names (subtype 1).
public struct Referral: Hashable, Sendable {
    public var address: SocketAddress
    public var portID: UInt16

    public init(address: SocketAddress, portID: UInt16) {
        self.address = address
        self.portID = portID
    }
}

/// What happened, for the log of whoever runs the target.
public enum TargetEvent: Sendable {
    case hostConnected(host: String, subsystem: String, controller: UInt16, peer: String)
    case hostDisconnected(host: String, subsystem: String, controller: UInt16, reason: String)
    /// A Connect waits for commands of associations of the same host that have ended: these controllers'. They are at a
    /// block device, or for a few seconds on their way to the lost host. Or it has waited for too long, and was refused as
    /// busy.
    case connectHeld(host: String, subsystem: String, controllers: [UInt16], peer: String, isRefused: Bool)
    /// A Connect named a subsystem that is not there, or that the host may not have. The names are as the host sent them.
    case connectRefused(host: String, subsystem: String, peer: String, reason: String)
    /// A connection was not accepted.
    case connectionRefused(peer: String, reason: String)
    case queuePairFailed(peer: String, reason: String)
    case namespaceChanged(subsystem: String, nsid: UInt32, blockCount: UInt64)
    case namespaceFailed(subsystem: String, nsid: UInt32, reason: String)
    case listenerLost(address: String)
}

/// A change that cannot be made.
public struct TargetError: Error, CustomStringConvertible, Sendable {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// The target: its subsystems, what it listens at, and the poll groups that serve it.
///
/// Changes are made here, by the control plane, and handed to the poll groups through their mailboxes.
public final class Target: Sendable {
    struct State {
        var subsystems: [String: Subsystem] = [:]
        var nextIndex = 0
        var catalog = DiscoveryCatalog()
        var groups: [GroupHandle] = []
        var nextAdminGroup = 0
        var nextIOGroup = 0
        /// Numbers that namespaces have taken: one when each was added, and one for each possible loss of a cache.
        var instances: UInt64 = 0
    }

    public let options: TargetOptions
    let discovery: Subsystem
    let state = Mutex(State())
    /// Discovery log "GENCTR".
    let generation = Atomic<UInt64>(1)
    /// When the target was made, for "power on hours".
    let started: MonotonicTime
    let observe: @Sendable (TargetEvent) -> Void
    /// Differs from one run of the daemon to the next.
    public let bootInstance: UInt64

    /// - Parameters:
    ///   - bootInstance: a number that no earlier run has used; nor any of those after it, of which each namespace that is
    ///     added takes one, and each that may have lost its cache. The nanoseconds of the start will do.
    ///   - observe: called from any thread; must not block.
    public init(
        options: TargetOptions, bootInstance: UInt64, now: MonotonicTime,
        observe: @escaping @Sendable (TargetEvent) -> Void = { _ in }
    ) {
        self.options = options
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

    /// Every subsystem, in the order of their NQNs.
    public var subsystems: [Subsystem] {
        state.withLock { $0.subsystems.values.sorted { $0.nqn < $1.nqn } }
    }

    func subsystem(_ nqn: String) -> Subsystem? {
        nqn == NQN.discovery ? discovery : state.withLock { $0.subsystems[nqn] }
    }

    /// Adds a subsystem without namespaces.
    public func addSubsystem(_ definition: SubsystemDefinition) throws(TargetError) {
        let added = state.withLock { state in
            guard state.subsystems[definition.nqn] == nil else { return false }
            state.subsystems[definition.nqn] = Subsystem(definition, index: state.nextIndex, seed: bootInstance)
            state.nextIndex += 1
            state.catalog.add(definition)
            return true
        }
        guard added else { throw TargetError("there is a subsystem \(definition.nqn) already") }
        discoveryChanged()
    }

    /// Removes a subsystem; its hosts are disconnected.
    public func removeSubsystem(_ nqn: String) throws(TargetError) {
        let removed = state.withLock { state -> Subsystem? in
            guard let subsystem = state.subsystems.removeValue(forKey: nqn) else { return nil }
            state.catalog.remove(subsystem.definition)
            return subsystem
        }
        guard let subsystem = removed else { throw TargetError("there is no subsystem \(nqn)") }
        subsystem.state.withLock {
            $0.isRemoved = true
            $0.namespaces = NamespaceIndex()
        }
        for controller in subsystem.controllers { end(controller, .removed) }
        synchronize(subsystem)
        discoveryChanged()
    }

    /// Changes who may connect. Hosts that may no longer are disconnected.
    public func setHosts(of nqn: String, allowsAny: Bool, hosts: Set<String>) throws(TargetError) {
        guard let subsystem = subsystem(nqn) else { throw TargetError("there is no subsystem \(nqn)") }
        state.withLock { state in
            state.catalog.remove(subsystem.definition)
            subsystem.state.withLock {
                $0.definition.allowsAnyHost = allowsAny
                $0.definition.hosts = hosts
            }
            state.catalog.add(subsystem.definition)
        }
        for controller in subsystem.controllers where !subsystem.allows(host: controller.hostNQN) {
            end(controller, .removed)
        }
        discoveryChanged()
    }

    public func addNamespace(_ definition: NamespaceDefinition, to nqn: String) throws(TargetError) {
        guard let subsystem = subsystem(nqn), !subsystem.isDiscovery else {
            throw TargetError("there is no subsystem \(nqn)")
        }
        guard definition.nsid >= 1, definition.nsid <= UInt32(options.maxNamespaces) else {
            throw TargetError(
                "namespace \(definition.nsid) of \(nqn): identifiers go from 1 to \(options.maxNamespaces)")
        }
        var reservation = Reservation()
        do {
            if let stored = try definition.store?.load(subsystem: nqn, nsid: definition.nsid) {
                reservation = try Reservation(decoding: stored)
            }
        } catch {
            // Serving without it would let in a host that was fenced.
            throw TargetError(
                "namespace \(definition.nsid) of \(nqn): its stored reservation cannot be read: \(error); restore the "
                    + "file, or remove it when no host relies on the reservation")
        }
        let namespace = Namespace(definition, reservation, instance: takeInstance())
        guard subsystem.state.withLock({ $0.namespaces.add(namespace) }) else {
            throw TargetError("\(nqn) has a namespace \(definition.nsid) already")
        }
        subsystem.changeRegistrants(from: Reservation(), to: reservation)
        namespaceChanged(definition.nsid, of: subsystem)
    }

    /// Removes a namespace; hosts are told. A host that is registered with it is disconnected: another namespace may come in
    /// its place, and no command that was meant for this one must reach that. A flush that did would make a host believe
    /// that what it had written is durable.
    public func removeNamespace(_ nsid: UInt32, from nqn: String) throws(TargetError) {
        guard let subsystem = subsystem(nqn),
            let namespace = subsystem.state.withLock({ $0.namespaces.remove(nsid) })
        else { throw TargetError("\(nqn) has no namespace \(nsid)") }
        let reservation = namespace.reservation.withLock { $0.current }
        subsystem.changeRegistrants(from: reservation, to: Reservation())
        for registrant in reservation.registrants {
            for controller in subsystem.controllers(of: registrant.host) { end(controller, .namespaceRemoved) }
        }
        namespaceChanged(nsid, of: subsystem)
    }

    /// Returns when every reactor has done what it was told before: another namespace may be added then in the place of one
    /// that was removed, and no queue that has to be closed is there to reach it. All reactors have to run.
    public func settled() async {
        for group in groups {
            await withCheckedContinuation { continuation in group.whenSettled { continuation.resume() } }
        }
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

    private func takeInstance() -> UInt64 {
        state.withLock { state in
            state.instances += 1
            return bootInstance &+ state.instances
        }
    }

    /// A flush of a namespace's device failed, or a write that had to be durable: what the device had cached may be lost. Devices
    /// say so once, and the next flush succeeds (Linux: errseq_t, Documentation/core-api/errseq.rst); so every other controller
    /// hears of it with its own next flush. The namespace has another instance from now on, by which a volume knows that its cache
    /// may be lost, and hosts that are registered with it are told to look.
    func cacheMayBeLost(_ namespace: Namespace, of subsystem: Subsystem, known controller: Controller) {
        let number = takeInstance()
        namespace.noteLoss(number)
        controller.state.withLock { $0.heardLosses[namespace.nsid] = number }
        for group in groups { group.send { $0.synchronize(subsystem, nsid: namespace.nsid) } }
        for registrant in namespace.reservation.withLock({ $0.current.registrants }) {
            for controller in subsystem.controllers(of: registrant.host) { noteChange(of: namespace.nsid, controller) }
        }
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

    /// Sets the ANA state of a group of a subsystem's namespaces (NVMe Base, "Asymmetric Namespace Access").
    public func setANAState(_ anaState: ANAState, group: UInt32, of nqn: String) throws(TargetError) {
        guard let subsystem = subsystem(nqn) else { throw TargetError("there is no subsystem \(nqn)") }
        subsystem.state.withLock {
            $0.anaStates[group] = anaState
            $0.anaChangeCount += 1
        }
        synchronize(subsystem)
        for controller in subsystem.controllers { raise(.anaChange, on: controller) }
    }

    public func addReferral(_ referral: Referral) {
        state.withLock { $0.catalog.add(referral) }
        discoveryChanged()
    }

    public func removeReferral(_ referral: Referral) {
        state.withLock { $0.catalog.remove(referral) }
        discoveryChanged()
    }

    // MARK: For the poll groups

    /// Joins a poll group to the target.
    func join(_ group: GroupHandle) -> Int {
        state.withLock { state in
            state.groups.append(group)
            return state.groups.count - 1
        }
    }

    var groups: [GroupHandle] { state.withLock { $0.groups } }

    func group(_ index: Int) -> GroupHandle { state.withLock { $0.groups[index] } }

    /// The reactor for a new queue: admin and I/O queues each go round the reactors.
    func chooseGroup(isAdmin: Bool) -> (index: Int, group: GroupHandle) {
        state.withLock { state in
            let index = (isAdmin ? state.nextAdminGroup : state.nextIOGroup) % state.groups.count
            if isAdmin { state.nextAdminGroup += 1 } else { state.nextIOGroup += 1 }
            return (index, state.groups[index])
        }
    }

    func addListener(_ listener: TargetListener) {
        state.withLock { $0.catalog.add(listener) }
        discoveryChanged()
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
        observe(
            .hostDisconnected(
                host: controller.hostNQN, subsystem: controller.subsystem.nqn, controller: controller.id,
                reason: reason.explanation))
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

    private func namespaceChanged(_ nsid: UInt32, of subsystem: Subsystem) {
        for group in groups { group.send { $0.synchronize(subsystem, nsid: nsid) } }
        for controller in subsystem.controllers { noteChange(of: nsid, controller) }
    }

    private func noteChange(of nsid: UInt32, _ controller: Controller) {
        controller.state.withLock { state in
            // One more than the log can name says that there are too many.
            guard state.changedNamespaces.count <= NamespaceList.maxCount else { return }
            state.changedNamespaces.insert(nsid)
        }
        raise(.namespaceAttributeChanged, on: controller)
    }

    /// Lets every poll group look at all of the subsystem's namespaces anew.
    private func synchronize(_ subsystem: Subsystem) {
        for group in groups { group.send { $0.synchronize(subsystem) } }
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

    private func discoveryChanged() {
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
