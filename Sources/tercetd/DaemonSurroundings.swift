import Base
import BlockBackend
import BlockInterface
import TargetConfiguration
import TargetInterface

/// How this daemon opens devices, names what has no name, keeps reservations and changes pools.
struct DaemonSurroundings: TargetSurroundings {
    let seed: IdentitySeed
    let reservations: (any ReservationStore)?
    let pools: (any PoolKeeper)?

    func open(_ specification: BlockSpecification) throws(TercetError) -> any BlockDevice { try specification.open() }

    func identity(of namespace: NamespaceDefinition, in nqn: String, device: BlockIdentity) -> BlockIdentity {
        namespace.identity(inSubsystem: nqn, device: device, seed: seed)
    }

    func serialNumber(of nqn: String, in definition: TargetDefinition) -> String {
        seed.serialNumber(nqn: nqn, listeners: definition.listeners.map(\.description))
    }
}
