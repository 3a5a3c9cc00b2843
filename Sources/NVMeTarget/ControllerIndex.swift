import Base
import NVMeSpec

/// The controllers of a subsystem, and which hosts are there: connected, with commands that are not over, or registered
/// with a namespace.
struct ControllerIndex: Sendable {
    private var byID: [UInt16: Controller] = [:]
    private var ascending = AscendingList<UInt16>()
    private var byHost: [UUIDBytes: [Controller]] = [:]
    /// The things that a host has here: controllers, ended ones whose commands are not over, registrations.
    private var claims: [UUIDBytes: Int] = [:]
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

    /// In the order of their identifiers. For the control plane: it takes as long as there are controllers.
    var all: [Controller] { identifiers.compactMap { byID[$0] } }

    /// In the order of their identifiers.
    func controllers(of host: UUIDBytes) -> [Controller] { (byHost[host] ?? []).sorted { $0.id < $1.id } }

    /// The host has something here that its place is kept for.
    func isPresent(_ host: UUIDBytes) -> Bool { claims[host] != nil }

    mutating func add(_ controller: Controller) {
        byID[controller.id] = controller
        ascending.insert(controller.id)
        byHost[controller.hostID, default: []].append(controller)
        claim(controller.hostID)
    }

    /// Takes an ended controller out; where it has commands it is `draining` from now on.
    mutating func end(_ controller: Controller, isBusy: Bool) {
        guard byID[controller.id] === controller else { return }
        byID[controller.id] = nil
        ascending.remove(controller.id)
        byHost[controller.hostID]?.removeAll { $0 === controller }
        if byHost[controller.hostID]?.isEmpty == true { byHost[controller.hostID] = nil }
        if isBusy {
            for scope in DrainScope.all(of: controller) { draining[scope, default: []].append(controller) }
        } else {
            release(controller.hostID)
        }
    }

    /// Takes on who is registered with a namespace.
    mutating func changeRegistrants(from old: [UUIDBytes], to new: [UUIDBytes]) {
        for host in new { claim(host) }
        for host in old { release(host) }
    }

    mutating func removeAll() { self = ControllerIndex() }

    private mutating func claim(_ host: UUIDBytes) { claims[host, default: 0] += 1 }

    private mutating func release(_ host: UUIDBytes) {
        guard let count = claims[host] else { return }
        claims[host] = count > 1 ? count - 1 : nil
    }

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
        if wasDraining { release(controller.hostID) }
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
