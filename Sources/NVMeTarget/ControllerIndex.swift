import Base
import NVMeSpec

/// The controllers of a subsystem, and the hosts that are there: connected, with commands that are not over, or registered with a
/// namespace.
struct ControllerIndex: Sendable {
    private var byID: [UInt16: Controller] = [:]
    private var ascending = AscendingList<UInt16>()
    /// Controllers, ended ones whose commands are not over, and registrations each keep their host's place.
    private var hosts = HostTable()
    /// Controllers that have ended and whose queue pairs still have commands, each under its host and under its identifier;
    /// and who waits for their end.
    private var draining: [DrainScope: [Controller]] = [:]
    private var waiters: [DrainScope: [DrainWaiter]] = [:]

    /// Identifiers, ascending.
    var identifiers: [UInt16] { ascending.elements }
    var count: Int { byID.count }
    var waiterCount: Int { waiters.values.reduce(0) { $0 + $1.count } }

    subscript(id: UInt16) -> Controller? { byID[id] }

    /// The identifiers from `id` on, ascending.
    func identifiers(from id: UInt16) -> ArraySlice<UInt16> { ascending.from(id) }

    /// Whether there are controllers with all of these identifiers.
    func contains(_ identifiers: [UInt16]) -> Bool { ascending.contains(identifiers) }

    /// In the order of their identifiers. For the control plane: it takes as long as there are controllers.
    var all: [Controller] { identifiers.compactMap { byID[$0] } }

    /// In the order of their identifiers.
    func controllers(of host: KnownHost) -> [Controller] { hosts.controllers(of: host) }

    /// Makes a controller of a host and adds it.
    mutating func add(of hostID: UUIDBytes, _ make: (KnownHost) -> Controller) -> Controller {
        let controller = make(KnownHost(id: hostID, index: hosts.claim(hostID)))
        byID[controller.id] = controller
        ascending.insert(controller.id)
        hosts.add(controller)
        return controller
    }

    /// Takes an ended controller out; where it has commands it is `draining` from now on.
    mutating func end(_ controller: Controller, isBusy: Bool) {
        guard byID[controller.id] === controller else { return }
        byID[controller.id] = nil
        ascending.remove(controller.id)
        hosts.remove(controller)
        if isBusy {
            for scope in DrainScope.all(of: controller) { draining[scope, default: []].append(controller) }
        } else {
            hosts.release(controller.host.index)
        }
    }

    /// A host that need not be connected is registered with a namespace: its place.
    mutating func register(_ id: UUIDBytes) -> HostIndex { hosts.claim(id) }

    /// A host that is connected is registered with a namespace.
    mutating func register(_ host: HostIndex) { hosts.claim(host) }

    /// Hosts are no longer registered with a namespace.
    mutating func unregister(_ registrants: [HostIndex]) { hosts.release(registrants) }

    mutating func removeAll() { self = ControllerIndex() }

    // MARK: Ended controllers

    /// Lets somebody wait; `false` where there is nothing to wait for.
    mutating func wait(_ waiter: DrainWaiter) -> Bool {
        guard draining[waiter.scope] != nil else { return false }
        waiters[waiter.scope, default: []].append(waiter)
        return true
    }

    mutating func forget(_ waiter: DrainWaiter) {
        waiters[waiter.scope]?.removeAll { $0 === waiter }
        if waiters[waiter.scope]?.isEmpty == true { waiters[waiter.scope] = nil }
    }

    func drainingControllers(_ scope: DrainScope) -> [Controller] { draining[scope] ?? [] }

    /// The last command of an ended controller is over. Returns those who waited for it alone.
    mutating func drained(_ controller: Controller) -> [DrainWaiter] {
        var ready: [DrainWaiter] = []
        var wasDraining = false
        for scope in DrainScope.all(of: controller) {
            guard let others = draining[scope], others.contains(where: { $0 === controller }) else { continue }
            wasDraining = true
            let left = others.filter { $0 !== controller }
            draining[scope] = left.isEmpty ? nil : left
            if left.isEmpty, let waiting = waiters.removeValue(forKey: scope) { ready += waiting }
        }
        if wasDraining { hosts.release(controller.host.index) }
        return ready
    }
}

/// Associations that have ended: all those of a host with a subsystem, or one.
enum DrainScope: Hashable, Sendable {
    case host(nqn: String, id: UUIDBytes)
    case controller(UInt16)

    /// Those that a controller belongs to.
    static func all(of controller: Controller) -> [DrainScope] {
        [.host(nqn: controller.hostNQN, id: controller.hostID), .controller(controller.id)]
    }
}

/// Somebody who waits for the end of associations' commands.
final class DrainWaiter: Sendable {
    let scope: DrainScope
    /// Called once, from the thread on which the last command ended.
    let resume: @Sendable () -> Void

    init(scope: DrainScope, resume: @escaping @Sendable () -> Void) {
        self.scope = scope
        self.resume = resume
    }
}
