import Base
import NVMeSpec
import Synchronization
import TargetInterface

/// The states in which listeners' hosts see namespaces, and the identifiers of their controllers: for targets that serve one
/// subsystem together.
extension Target {
    /// Changes the states of groups of a subsystem's namespaces (NVMe Base, "Asymmetric Namespace Access"); `nil` takes back
    /// what was said. Hosts for which a group's state differs from before are told.
    func setANAStates(_ changes: [ANAGroupPlace: ANAState?], of nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn) else { throw TercetError(.notFound, "there is no subsystem \(nqn)") }
        let (former, states) = subsystem.state.withLock { state in
            let former = state.anaStates
            state.anaStates.set(changes)
            return (former, state.anaStates)
        }
        for group in groups { group.send { $0.renewAccess(subsystem) } }
        let changed = Set(changes.keys.map(\.group))
        for controller in subsystem.controllers
        where changed.contains(where: { group in
            former.state(of: group, at: controller.listener) != states.state(of: group, at: controller.listener)
        }) {
            raise(.anaChange, on: controller)
        }
    }

    /// Changes the identifiers that a subsystem's controllers get from now on.
    func setControllerIDs(_ range: ClosedRange<UInt16>, of nqn: String) throws(TercetError) {
        guard let subsystem = subsystem(nqn) else { throw TercetError(.notFound, "there is no subsystem \(nqn)") }
        subsystem.state.withLock { $0.definition.controllerIDs = range }
    }

    /// The listener by which a host came that sees the target at an address: the one of this address, or one for every address.
    func listener(at address: SocketAddress?) -> SocketAddress? {
        guard let address else { return nil }
        let listeners = state.withLock { $0.catalog.listeners }
        return
            (listeners.first { $0.address == address }
            ?? listeners.first { $0.address.isWildcard && $0.address.port == address.port })?.address
    }
}
