import Base
import BlockBackend
import BlockInterface
import Dispatch
import TargetConfiguration
import TargetInterface

/// How this daemon opens devices, names what has no name, keeps reservations and changes pools.
struct DaemonSurroundings: TargetSurroundings {
    let seed: IdentitySeed
    let reservations: (any ReservationStore)?
    let pools: (any PoolKeeper)?
    private let arithmetic = DispatchQueue(label: "authentication")

    init(seed: IdentitySeed, reservations: (any ReservationStore)?, pools: (any PoolKeeper)?) {
        self.seed = seed
        self.reservations = reservations
        self.pools = pools
    }

    func compute(_ work: @escaping @Sendable () -> Void) { arithmetic.async(execute: work) }

    func open(_ specification: BlockSpecification) throws(TercetError) -> any BlockDevice { try specification.open() }

    func identity(of namespace: NamespaceDefinition, in nqn: String, device: BlockIdentity) -> BlockIdentity {
        namespace.identity(inSubsystem: nqn, device: device, seed: seed)
    }

    func serialNumber(of nqn: String, in definition: TargetDefinition) -> String {
        seed.serialNumber(nqn: nqn, listeners: definition.listeners.map(\.description))
    }
}
