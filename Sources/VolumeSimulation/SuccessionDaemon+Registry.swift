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
        let record = record
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
                        }, asked: asked, preferences: [Self.volume: preferences(seen)])))
            announce(seen)
        }
    }

    // MARK: Preferences

    var prefers: Bool { world.profile.preferredDaemon == place && world.profile.failBack != .never }

    private var record: DaemonRecord {
        DaemonRecord(
            name: name, place: place, volumes: [Self.volume], preferences: readiness.map { [Self.volume: $0] })
    }

    /// Looks whether the volume could be served here.
    func lookForReadiness() {
        readinessAt = now.advanced(byMilliseconds: Self.readinessMilliseconds)
        let mayBe = world.reachesMembers(place) || world.profile.successionDefect == .failBackWithoutPath
        guard state == .standingBy, mayBe, let served else { return readiness = nil }
        readiness = VolumePreference(failBack: world.profile.failBack.rawValue, hosts: served.hosts)
    }

    /// The words of others on the volume while it is served here.
    private func preferences(_ seen: OwnersListing) -> [Preference] {
        guard isServing, let served else { return [] }
        if let used = owned?.volume.ended, used != usesSeen {
            usesSeen = used
            take(.volume(Self.volume, .used))
        }
        return seen.daemons.compactMap { other in
            guard other.record.name != name, let preference = other.record.preferences?[Self.volume],
                let failBack = FailBack(rawValue: preference.failBack)
            else { return nil }
            return Preference(
                daemon: other.record.name, failBack: failBack,
                hasLivingPath: served.hosts.isSubset(of: preference.hosts))
        }
    }

    /// Says anew what others are told, where that has changed.
    private func announce(_ seen: OwnersListing) {
        guard let lease = succession.lease, let held = leases[lease.number],
            !seen.daemons.contains(PresentDaemon(record, lease: held.id))
        else { return }
        let record = record
        call { registry throws(RegistryError) in
            try registry.announce(record, held)
        } answer: { _ in
        }
    }
}
