import Base
import NVMeTarget
import Succession
import TargetInterface
import VolumeRegistry

/// Keeps the reservation of a volume's hosts in the registry, for the owners to come.
final class SuccessionReservations: ReservationStore, @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    private unowned let daemon: SuccessionDaemon

    init(_ daemon: SuccessionDaemon) { self.daemon = daemon }

    var keepsAll: Bool { true }

    func load(subsystem: String, nsid: UInt32) -> [UInt8]? { nil }

    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void
    ) {
        guard case .serving(let claim) = daemon.state else {
            return completion("the volume is not served here any more")
        }
        let kept = bytes?()
        daemon.call { registry throws(RegistryError) in
            try registry.keep(
                kept, VolumeWorld.volume, SuccessionDaemon.volume, claim: Revision(claim.number))
        } answer: { result in
            switch result {
            case .success: completion(nil)
            case .failure(let error): completion(error.message)
            case nil: completion("the registry does not answer")
            }
        }
    }
}

/// The way from an attach to the moment at which hosts may come: the reservation that is kept is taken on.
struct ServingSteps {
    enum Outcome {
        case waits, failed, isReady
    }

    private enum Stage {
        case asks
        case asked
        case knows([UInt8]?)
        case taking(ReservationTakeOver)
        case isReady
    }
    private let stage = Box()

    private final class Box { var stage = Stage.asks }

    func next(_ daemon: SuccessionDaemon, _ served: OwnerTarget) -> Outcome {
        switch stage.stage {
        case .asks:
            if daemon.world.profile.successionDefect == .hostReservationForgotten {
                stage.stage = .isReady
                return .isReady
            }
            stage.stage = .asked
            let box = stage
            daemon.call { registry throws(RegistryError) in
                registry.reservation(VolumeWorld.volume)
            } answer: { result in
                guard case .success(let kept) = result else { return box.stage = .asks }
                box.stage = .knows(kept)
            }
            return .waits
        case .asked: return .waits
        case .knows(let kept):
            do throws(TercetError) {
                guard let taking = try served.target.beginTakingOn(reservation: kept, of: 1, in: OwnerTarget.nqn)
                else { return .waits }
                stage.stage = .taking(taking)
            } catch { return .failed }
            return .waits
        case .taking(let taking):
            guard taking.known.hasCome else { return .waits }
            taking.finish()
            stage.stage = .isReady
            return .isReady
        case .isReady: return .isReady
        }
    }
}
