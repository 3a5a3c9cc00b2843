import BlockInterface
import Synchronization
import TargetInterface

/// A namespace as it was opened.
struct OpenNamespace: Sendable {
    var nsid: UInt32
    var device: any BlockDevice
    var isReadOnly: Bool
    /// Identifiers that the namespace reports.
    var identity: BlockIdentity
    var anaGroup: UInt32
    /// The store of reservations that persist through power loss; without it the namespace does not offer that.
    var store: (any ReservationStore)?
}

extension BlockGeometry {
    /// The most that a Compare and Write may cover, in bytes (NVM Command Set, "Atomic Compare & Write Unit"): what the
    /// device writes whole or not at all, but no more than is sensible for the purpose.
    var compareAndWriteSize: UInt32 { min(atomicWriteSize, Limits.compareAndWriteBytes) }
}

/// A namespace of a subsystem. The device behind it may grow, shrink or vanish; `geometry` is what hosts are told.
final class Namespace: Sendable {
    let definition: OpenNamespace
    /// Which opening of a device this is.
    let instance: UInt64
    /// The number that the last failure to make its device's cache durable took (`Target.cacheMayBeLost`); 0 where none has.
    private let lossNumber = Atomic<UInt64>(0)
    private let state: Mutex<BlockGeometry>
    let reservation: Mutex<ReservationState>

    /// - Parameter reservation: the one that was stored.
    init(_ definition: OpenNamespace, _ reservation: Reservation, instance: UInt64) {
        self.definition = definition
        self.instance = instance
        self.reservation = Mutex(ReservationState(reservation))
        state = Mutex(definition.device.geometry)
    }

    var nsid: UInt32 { definition.nsid }

    var lastLoss: UInt64 { lossNumber.load(ordering: .acquiring) }

    /// The `TercetNamespaceIdentity.instance` that its hosts are told: it changes whenever what the device had cached may have been
    /// lost.
    var cacheInstance: UInt64 { max(instance, lastLoss) }

    func noteLoss(_ number: UInt64) { lossNumber.store(number, ordering: .releasing) }

    /// The geometry as of the last refresh; no blocks when the device is gone.
    var geometry: BlockGeometry { state.withLock { $0 } }

    /// Asks the device for its size; `true` when hosts have something new to hear.
    func refresh() -> Bool {
        let change = definition.device.refresh()
        return state.withLock { geometry in
            switch change {
            case .unchanged: return false
            case .resized:
                let changed = geometry != definition.device.geometry
                geometry = definition.device.geometry
                return changed
            case .vanished:
                let changed = geometry.blockCount != 0
                geometry.blockCount = 0
                return changed
            }
        }
    }
}
