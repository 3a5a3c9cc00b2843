import Base
import NVMeSpec
import Replication
import Simulation
import Succession
import TargetInterface
import VolumeDriver
import VolumeRegistry

/// A daemon's calls of its registry.
extension SuccessionDaemon {
    /// Calls the registry.
    ///
    /// - Parameter answer: gets `nil` where none came in time: it is not known then whether the call was heard.
    func call<Answer>(
        _ body: @escaping (MemoryOwners) throws(RegistryError) -> Answer,
        answer: @escaping (Result<Answer, RegistryError>?) -> Void
    ) {
        let run = run
        var isOver = false
        func end(_ result: Result<Answer, RegistryError>?) {
            guard !isOver, self.run == run else { return }
            isOver = true
            if isPaused { inbox.append { answer(result) } } else { answer(result) }
            touch()
        }
        world.callRegistry(of: self) { registry in
            do throws(RegistryError) { return .success(try body(registry)) } catch { return .failure(error) }
        } answer: {
            end($0)
        }
        world.network.schedule(afterNanoseconds: Self.callMilliseconds * 1_000_000) { end(nil) }
    }

    func grant() {
        let asked = now
        let record = DaemonRecord(name: name, place: place, volumes: [Self.volume])
        call { registry throws(RegistryError) in
            let lease = try registry.grant(Self.leaseSeconds)
            do throws(RegistryError) { try registry.announce(record, lease) } catch {
                try registry.revoke(lease)
                throw error
            }
            return lease
        } answer: { [unowned self] result in
            guard case .success(let lease) = result else { return take(.grantFailed) }
            let number = LeaseNumber(lease.id)
            leases[number] = lease
            take(.granted(number, seconds: lease.seconds, asked: asked))
        }
    }

    func renew(_ lease: LeaseNumber) {
        guard let held = leases[lease] else { return take(.leaseLost(lease)) }
        let asked = now
        call { registry throws(RegistryError) in
            try registry.keepAlive(held)
        } answer: { [unowned self] result in
            switch result {
            case .success(let seconds): take(.renewed(lease, seconds: seconds, asked: asked))
            case .failure(let error) where error.code == .leaseLost: take(.leaseLost(lease))
            case .failure, nil: take(.renewalFailed(lease))
            }
        }
    }

    func look() {
        looksAt = now.advanced(byMilliseconds: Self.lookMilliseconds)
        guard !isLooking else { return }
        isLooking = true
        let asked = now
        call { registry throws(RegistryError) in
            try registry.listing()
        } answer: { [unowned self] result in
            isLooking = false
            looksAt = now.advanced(byMilliseconds: Self.lookMilliseconds)
            guard case .success(let seen) = result else { return }
            listing = seen
            take(
                .seen(
                    OwnersView(
                        moment: ClaimNumber(seen.revision.number),
                        owners: seen.owners.mapValues {
                            SeenOwner(
                                name: $0.name, lease: LeaseNumber($0.lease), claim: ClaimNumber($0.revision.number))
                        }, asked: asked)))
        }
    }
}
