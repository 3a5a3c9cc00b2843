import Base
import NVMeSpec
import Replication
import Simulation
import Succession
import TargetInterface
import VolumeDriver
import VolumeRegistry

/// The steps by which a daemon does what the succession of its volume says.
extension SuccessionDaemon {
    /// A step that calls the registry once, and is done with the answer.
    func asking<Answer>(
        _ body: @escaping (MemoryOwners) throws(RegistryError) -> Answer,
        answer: @escaping (Result<Answer, RegistryError>?) -> Void
    ) -> () -> Bool {
        var isAsked = false
        var isDone = false
        return { [unowned self] in
            if !isAsked {
                isAsked = true
                call(body) {
                    isDone = true
                    answer($0)
                }
            }
            return isDone
        }
    }

    func claim(_ lease: LeaseNumber) -> () -> Bool {
        guard let held = leases[lease] else {
            return { [unowned self] in
                take(.volume(Self.volume, .claimFailed))
                return true
            }
        }
        let name = name
        return asking { registry throws(RegistryError) in
            try registry.claim(Self.volume, for: name, held)
        } answer: { [unowned self] result in
            guard case .success(let claim) = result else { return take(.volume(Self.volume, .claimFailed)) }
            take(.volume(Self.volume, .claimed(ClaimNumber(claim.number), lease)))
        }
    }

    func pass(_ claim: ClaimNumber, _ successor: String) -> () -> Bool {
        giveUp { [unowned self] registry throws(RegistryError) in
            guard let other = listing.daemons.first(where: { $0.record.name == successor }) else {
                throw RegistryError(.leaseLost, "daemon \(successor): is not there any more")
            }
            return try registry.pass(Self.volume, claim: Revision(claim.number), to: other)
        }
    }

    func giveUp(_ body: @escaping (MemoryOwners) throws(RegistryError) -> Revision) -> () -> Bool {
        asking(body) { [unowned self] result in
            guard case .success(let moment) = result else { return take(.volume(Self.volume, .givingUpFailed)) }
            take(.volume(Self.volume, .gaveUp(ClaimNumber(moment.number))))
        }
    }

    /// Ends a step that has got a result.
    func done(_ event: VolumeSuccession.Event) -> Bool {
        take(.volume(Self.volume, event))
        return true
    }

    func attach(_ fencing: VolumeSuccession.Fencing) -> () -> Bool {
        var end: MonotonicTime?
        return { [unowned self] in
            let limit = end ?? now.advanced(byMilliseconds: Self.attachMilliseconds)
            if end == nil {
                end = limit
                if fencing == .yields, world.isAttached(butBy: self) { return done(.attachFailed) }
                let made = world.attach(self)
                owned = made
            }
            guard let owned else { return done(.attachFailed) }
            if owned.blockDevice != nil, !owned.isLost { return done(.attached) }
            guard owned.isLost || now >= limit else { return false }
            letGo()
            return done(.attachFailed)
        }
    }

    /// Takes on the hosts' reservation, leads the front to the volume, and then tells hosts.
    func serve() -> () -> Bool {
        guard let term else { return { true } }
        if world.profile.successionDefect == .optimizedBeforeAttached, owned == nil { isShown = true }
        let serving = ServingSteps()
        return { [unowned self] in
            guard isServing, let served, let device = owned?.blockDevice else { return true }
            switch serving.next(self, served) {
            case .waits: return false
            case .failed: return done(.stalled)
            case .isReady: break
            }
            served.front.lead(to: device, during: term.end)
            guard served.front.follow() else { return false }
            isShown = true
            touch()
            world.serves(self)
            return true
        }
    }

    func detach() -> () -> Bool {
        var stage = DetachStage.quiet(until: nil)
        return { [unowned self] in
            guard let served, let owned else { return done(.detached) }
            switch stage {
            case .quiet(let end):
                let limit = end ?? now.advanced(byMilliseconds: Self.quietMilliseconds)
                stage = .quiet(until: limit)
                served.front.leadNowhere()
                owned.touch()
                guard served.front.follow() || now >= limit else { return false }
                let departure = succession.volumes[Self.volume]?.departure
                owned.volume.detach(leavesReservations: departure?.isToSuccessor == true)
                stage = .detaching(until: now.advanced(byMilliseconds: Self.detachMilliseconds))
                return false
            case .detaching(let limit):
                guard owned.isLost || now >= limit else { return false }
                owned.volume.abandon()
                owned.touch()
                stage = .disconnecting(until: now.advanced(byMilliseconds: Self.detachMilliseconds))
                return false
            case .disconnecting(let limit):
                guard owned.isDisconnected || now >= limit else { return false }
                // I/O that did not end before ends with the volume.
                guard served.front.follow() || now >= limit.advanced(byMilliseconds: 2000) else { return false }
                letGo()
                return done(.detached)
            }
        }
    }

    private enum DetachStage {
        case quiet(until: MonotonicTime?)
        case detaching(until: MonotonicTime)
        case disconnecting(until: MonotonicTime)
    }
}
