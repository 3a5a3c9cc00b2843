import Base
import Succession
import VolumeRegistry
import VolumedConfiguration

/// The leases of this daemon in the registry.
extension Successor {
    func grant() async {
        do throws(RegistryError) {
            try await revokeRest()
            let asked = MonotonicTime.now()
            let lease = try await registry.grantLease(seconds: settings.leaseSeconds)
            do throws(RegistryError) { try await registry.announce(record, lease) } catch {
                revoke(lease)
                throw error
            }
            let number = LeaseNumber(lease.id)
            leases[number] = lease
            answered(.leases)
            take(.granted(number, seconds: lease.seconds, asked: asked))
        } catch {
            tell(error, .leases)
            take(.grantFailed)
        }
    }

    /// Gives a lease of this daemon back. Where the registry does not answer, that is done before the next one is asked for: what is bound to
    /// it, this daemon's name and claims, would stay there for the rest of its time.
    func revoke(_ lease: Lease) {
        let number = LeaseNumber(lease.id)
        revocations[number] = Task {
            do throws(RegistryError) { try await self.registry.revoke(lease) } catch { self.unrevoked[number] = lease }
            self.revocations[number] = nil
        }
    }

    /// Ends the lease of another daemon, which is gone.
    func revoke(ofAnother lease: LeaseNumber) {
        revocations[lease] = Task {
            try? await self.registry.revoke(Lease(id: lease.number, seconds: 0))
            self.revocations[lease] = nil
        }
    }

    private func revokeRest() async throws(RegistryError) {
        for task in revocations.values { await task.value }
        for (number, lease) in unrevoked {
            do throws(RegistryError) { try await registry.revoke(lease) } catch {
                if error.code == .unavailable || error.code == .inUse { throw error }
            }
            unrevoked[number] = nil
        }
    }

    func renew(_ lease: LeaseNumber) async {
        guard let held = leases[lease] else { return take(.leaseLost(lease)) }
        let asked = MonotonicTime.now()
        do throws(RegistryError) {
            let seconds = try await registry.keepAlive(held)
            answered(.leases)
            take(.renewed(lease, seconds: seconds, asked: asked))
        } catch {
            tell(error, .leases)
            take(error.code == .leaseLost ? .leaseLost(lease) : .renewalFailed(lease))
        }
    }
}
