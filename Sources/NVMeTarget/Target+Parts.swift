import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface

/// The changes that a definition is brought about by, one part at a time. `Application` makes them.
extension Target {
    /// Adds a subsystem without namespaces.
    func addSubsystem(_ definition: SubsystemDefinition) throws(TercetError) {
        let added = state.withLock { state in
            guard state.subsystems[definition.nqn] == nil else { return false }
            state.subsystems[definition.nqn] = Subsystem(definition, index: state.nextIndex, seed: bootInstance)
            state.nextIndex += 1
            state.catalog.add(definition)
            return true
        }
        guard added else { throw TercetError(.exists, "there is a subsystem \(definition.nqn) already") }
        discoveryChanged()
    }

    /// Removes a subsystem; its hosts are disconnected. Where there is none, nothing is to be done.
    func removeSubsystem(_ nqn: String) {
        let removed = state.withLock { state -> Subsystem? in
            guard let subsystem = state.subsystems.removeValue(forKey: nqn) else { return nil }
            state.catalog.remove(subsystem.definition)
            return subsystem
        }
        guard let subsystem = removed else { return }
        subsystem.state.withLock {
            $0.isRemoved = true
            $0.namespaces = NamespaceIndex()
        }
        for controller in subsystem.controllers { end(controller, .removed) }
        synchronize(subsystem)
        discoveryChanged()
    }

    /// Changes who may connect. Hosts that may no longer are disconnected.
    func setAccess(_ access: HostAccess, of nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn) else { throw TercetError(.notFound, "there is no subsystem \(nqn)") }
        state.withLock { state in
            state.catalog.remove(subsystem.definition)
            subsystem.state.withLock { $0.definition.access = access }
            state.catalog.add(subsystem.definition)
        }
        for controller in subsystem.controllers where !subsystem.allows(host: controller.hostNQN) {
            end(controller, .removed)
        }
        discoveryChanged()
    }

    /// Changes who has to authenticate, and the keys. Connections stay, but for those of hosts that had no keys and need some from
    /// now on.
    func setAuthentication(_ authentication: AuthenticationDefinition, of nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn) else { throw TercetError(.notFound, "there is no subsystem \(nqn)") }
        let isNew = subsystem.state.withLock { state in
            state.definition.authentication = authentication
            return state.keys.change(to: authentication)
        }
        for controller in subsystem.controllers where isNew(controller.hostNQN) { end(controller, .removed) }
        // A reactor knows which time it is.
        groups.first?.send { $0.dateFormerKeys(of: subsystem) }
    }

    /// Changes what hosts are told of a pool, and which of them may change it.
    func setPool(_ pool: PoolDefinition, of nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn) else { throw TercetError(.notFound, "there is no subsystem \(nqn)") }
        subsystem.state.withLock { $0.definition.pool = pool }
    }

    func addNamespace(_ definition: NamespaceDefinition, to nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn), !subsystem.isDiscovery else {
            throw TercetError(.notFound, "there is no subsystem \(nqn)")
        }
        guard definition.nsid >= 1, definition.nsid <= UInt32(options.maxNamespaces) else {
            throw TercetError(
                .invalid, "namespace \(definition.nsid) of \(nqn): identifiers go from 1 to \(options.maxNamespaces)")
        }
        guard subsystem.state.withLock({ $0.namespaces.identifiers.count }) < options.maxNamespaceCount else {
            throw TercetError(
                .exhausted,
                "namespace \(definition.nsid) of \(nqn): with transfers of \(options.maxTransferSize) bytes a subsystem has at "
                    + "most \(options.maxNamespaceCount) namespaces, because hosts read a list of all with one command")
        }
        let device = try open(definition.backing)
        let store = surroundings.reservations
        let stored: StoredReservation?
        do {
            stored = try store?.load(subsystem: nqn, nsid: definition.nsid).map { try StoredReservation(decoding: $0) }
        } catch {
            // Serving without it would let in a host that was fenced.
            throw TercetError(
                .damaged,
                "namespace \(definition.nsid) of \(nqn): its stored reservation cannot be read: \(error); restore the "
                    + "file, or remove it when no host relies on the reservation")
        }
        let opened = OpenNamespace(
            nsid: definition.nsid, device: device, isReadOnly: definition.isReadOnly,
            identity: surroundings.identity(of: definition, in: nqn, device: device.identity),
            anaGroup: definition.anaGroup,
            store: store)
        let reservation = stored.map { Reservation($0) { subsystem.register($0) } } ?? Reservation()
        let namespace = Namespace(opened, reservation, instance: takeInstance())
        guard subsystem.state.withLock({ $0.namespaces.add(namespace) }) else {
            subsystem.unregister(reservation.registrants.hosts().map(\.index))
            throw TercetError(.exists, "\(nqn) has a namespace \(definition.nsid) already")
        }
        observe(
            .namespaceAdded(
                subsystem: nqn, nsid: definition.nsid, device: device.name, blockCount: device.geometry.blockCount,
                blockSize: device.geometry.blockSize))
        namespaceChanged(definition.nsid, of: subsystem)
    }

    private func open(_ backing: NamespaceBacking) throws(TercetError) -> any BlockDevice {
        switch backing {
        case .device(let device): return device
        case .specified(let specification):
            let device = try surroundings.open(specification)
            if let closing = device.closing { state.withLock { $0.closings[specification.backing] = closing } }
            for remark in device.remarks { observe(.deviceRemark(remark)) }
            return device
        }
    }

    /// The end of the last use of what a backing names, if it is to be opened and was before.
    func closing(of backing: NamespaceBacking) -> OneTimeEvent? {
        guard case .specified(let specification) = backing else { return nil }
        return state.withLock { $0.closings[specification.backing] }
    }

    /// Removes a namespace; hosts are told. A host that is registered with it is disconnected: another namespace may come in
    /// its place, and no command that was meant for this one must reach that. A flush that did would make a host believe
    /// that what it had written is durable.
    func removeNamespace(_ nsid: UInt32, from nqn: String) {
        guard let subsystem = subsystem(nqn),
            let namespace = subsystem.state.withLock({ $0.namespaces.remove(nsid) })
        else { return }
        let registrants = namespace.reservation.withLock { $0.end() }
        for registrant in registrants {
            for controller in subsystem.controllers(of: registrant) { end(controller, .namespaceRemoved) }
        }
        namespaceChanged(nsid, of: subsystem)
        // Until then a reactor may take the host of a registrant's place for the registrant.
        whenSettled { subsystem.unregister(registrants.map(\.index)) }
    }

    /// Comes when every reactor has done what it was told before: another namespace may be added then in the place of one
    /// that was removed, and no queue that has to be closed is there to reach it. All reactors have to run.
    var settled: OneTimeEvent {
        let event = OneTimeEvent()
        whenSettled { event.signal() }
        return event
    }

    /// Calls `done` then, from a reactor's thread.
    private func whenSettled(_ done: @escaping @Sendable () -> Void) {
        let groups = groups
        if groups.isEmpty { done() }
        let barrier = FenceBarrier(count: groups.count, completion: done)
        for group in groups { group.whenSettled { barrier.arrive() } }
    }

    func add(referral: SocketAddress) {
        state.withLock { $0.catalog.add(referral: referral) }
        discoveryChanged()
    }

    func remove(referral: SocketAddress) {
        state.withLock { $0.catalog.remove(referral: referral) }
        discoveryChanged()
    }

    /// Listens at an address, on the first reactor, which takes the connection requests and spreads them.
    ///
    /// - Parameter done: called with what went wrong, if anything did.
    func listen(at address: SocketAddress, _ done: @escaping @Sendable (String?) -> Void) {
        let (listener, first) = state.withLock { state in
            let portID = state.portIDs[address] ?? UInt16(state.portIDs.count + 1)
            state.portIDs[address] = portID
            return (TargetListener(address: address, portID: portID), state.groups.first)
        }
        guard let first else { return done("there is no reactor") }
        let observe = observe
        first.send { group in
            let failure = group.listen(listener)
            if failure == nil { observe(.listening(address: address.description)) }
            done(failure)
        }
    }

    /// Stops listening at an address; connections stay. Over when the reactor has done it.
    func stopListening(at address: SocketAddress) -> OneTimeEvent {
        let found = state.withLock { state in
            state.portIDs[address].map { (TargetListener(address: address, portID: $0), state.groups.first) }
        }
        let event = OneTimeEvent()
        guard let (listener, first) = found, let first else {
            event.signal()
            return event
        }
        first.send { $0.stopListening(listener) }
        first.whenSettled { event.signal() }
        observe(.stoppedListening(address: address.description))
        return event
    }

    func namespaceChanged(_ nsid: UInt32, of subsystem: Subsystem) {
        for group in groups { group.send(alone: true) { $0.synchronize(subsystem, nsid: nsid) } }
        for controller in subsystem.controllers { noteChange(of: nsid, controller) }
    }

    /// Lets every poll group look at all of the subsystem's namespaces anew.
    private func synchronize(_ subsystem: Subsystem) {
        for group in groups { group.send(alone: true) { $0.synchronize(subsystem) } }
    }
}
