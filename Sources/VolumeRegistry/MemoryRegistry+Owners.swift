import Base
import Synchronization

/// Owners in the memory of one process. Its leases end by the clock that it was given.
package final class MemoryOwners: Sendable {
    private struct State {
        var leases: [Int64: (lease: Lease, end: MonotonicTime)] = [:]
        var owners: [String: VolumeOwner] = [:]
        var daemons: [String: PresentDaemon] = [:]
        var reservations: [UUIDBytes: [UInt8]] = [:]
        var revision = Revision(0)
        var lastLease: Int64 = 0

        mutating func expire(_ now: MonotonicTime) {
            leases = leases.filter { $0.value.end > now }
            owners = owners.filter { leases[$0.value.lease] != nil }
            daemons = daemons.filter { leases[$0.value.lease] != nil }
        }

        mutating func next() -> Revision {
            revision.number += 1
            return revision
        }
    }

    private let state = Mutex(State())
    private let now: @Sendable () -> MonotonicTime

    package init(now: @escaping @Sendable () -> MonotonicTime) { self.now = now }

    /// Runs `body` with the leases that have ended removed.
    private func change<Value>(
        _ body: (inout sending State, MonotonicTime) throws(RegistryError) -> sending Value
    ) throws(RegistryError) -> Value {
        let now = now()
        return try state.withLock { state throws(RegistryError) in
            state.expire(now)
            return try body(&state, now)
        }
    }

    package func grant(_ seconds: Int64) throws(RegistryError) -> Lease {
        guard (1...86_400).contains(seconds) else { throw RegistryError(.invalid, "a lease of \(seconds) s") }
        return try change { state, now throws(RegistryError) in
            state.lastLease += 1
            let lease = Lease(id: state.lastLease, seconds: seconds)
            state.leases[lease.id] = (lease, now.advanced(byMilliseconds: UInt64(seconds) * 1000))
            return lease
        }
    }

    package func keepAlive(_ lease: Lease) throws(RegistryError) -> Int64 {
        try change { state, now throws(RegistryError) in
            guard let found = state.leases[lease.id]?.lease else { throw .leaseLost(lease.id) }
            state.leases[lease.id]?.end = now.advanced(byMilliseconds: UInt64(found.seconds) * 1000)
            return found.seconds
        }
    }

    package func revoke(_ lease: Lease) throws(RegistryError) {
        try change { state, now throws(RegistryError) in
            state.leases[lease.id] = nil
            state.expire(now)
        }
    }

    package func claim(_ volume: String, for owner: String, _ lease: Lease) throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try change { state, _ throws(RegistryError) in
            guard state.leases[lease.id] != nil else { throw .leaseLost(lease.id) }
            if let present = state.owners[volume] {
                guard present.lease == lease.id else { throw .owned(volume, by: present) }
                return present.revision
            }
            let claim = state.next()
            state.owners[volume] = VolumeOwner(name: owner, lease: lease.id, revision: claim)
            return claim
        }
    }

    package func pass(_ volume: String, claim: Revision, to daemon: PresentDaemon) throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try change { state, _ throws(RegistryError) in
            let present = state.owners[volume]
            if let present, present.lease == daemon.lease { return present.revision }
            guard present?.revision == claim else { throw .owned(volume, by: present) }
            guard state.leases[daemon.lease] != nil else { throw .leaseLost(daemon.lease) }
            let claim = state.next()
            state.owners[volume] = VolumeOwner(name: daemon.record.name, lease: daemon.lease, revision: claim)
            return claim
        }
    }

    package func release(_ volume: String, claim: Revision) throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try change { state, _ throws(RegistryError) in
            let present = state.owners[volume]
            guard let present else { return state.revision }
            guard present.revision == claim else { throw .owned(volume, by: present) }
            state.owners[volume] = nil
            return state.next()
        }
    }

    package func announce(_ daemon: DaemonRecord, _ lease: Lease) throws(RegistryError) {
        _ = try daemon.text()
        try change { state, _ throws(RegistryError) in
            guard state.leases[lease.id] != nil else { throw .leaseLost(lease.id) }
            guard state.daemons[daemon.name].map({ $0.lease == lease.id }) ?? true else {
                throw .nameInUse(daemon.name)
            }
            state.daemons[daemon.name] = PresentDaemon(daemon, lease: lease.id)
        }
    }

    func forget(_ volume: UUIDBytes) { state.withLock { $0.reservations[volume] = nil } }

    package func reservation(_ volume: UUIDBytes) -> [UInt8]? { state.withLock { $0.reservations[volume] } }

    package func keep(
        _ reservation: [UInt8]?, _ volume: UUIDBytes, _ name: String, claim: Revision
    ) throws(RegistryError) {
        try change { state, _ throws(RegistryError) in
            let present = state.owners[name]
            guard present?.revision == claim else { throw .owned(name, by: present) }
            state.reservations[volume] = reservation
        }
    }

    package func listing() throws(RegistryError) -> OwnersListing {
        try change { state, _ throws(RegistryError) in
            var listing = OwnersListing(revision: state.revision)
            listing.owners = state.owners
            listing.daemons = state.daemons.values.sorted { $0.record.name < $1.record.name }
            return listing
        }
    }
}

extension MemoryRegistry {
    public func grantLease(seconds: Int64) async throws(RegistryError) -> Lease { try claims.grant(seconds) }

    @discardableResult
    public func keepAlive(_ lease: Lease) async throws(RegistryError) -> Int64 { try claims.keepAlive(lease) }

    public func revoke(_ lease: Lease) async throws(RegistryError) { try claims.revoke(lease) }

    public func claim(_ volume: String, for owner: String, _ lease: Lease) async throws(RegistryError) -> Revision {
        try claims.claim(volume, for: owner, lease)
    }

    public func pass(
        _ volume: String, claim: Revision, to daemon: PresentDaemon
    ) async throws(RegistryError) -> Revision { try claims.pass(volume, claim: claim, to: daemon) }

    @discardableResult
    public func release(_ volume: String, claim: Revision) async throws(RegistryError) -> Revision {
        try claims.release(volume, claim: claim)
    }

    public func announce(_ daemon: DaemonRecord, _ lease: Lease) async throws(RegistryError) {
        try claims.announce(daemon, lease)
    }

    public func hostReservation(of volume: UUIDBytes) async throws(RegistryError) -> [UInt8]? {
        claims.reservation(volume)
    }

    public func keep(
        hostReservation reservation: [UInt8]?, of volume: UUIDBytes, _ name: String, claim: Revision
    ) async throws(RegistryError) { try claims.keep(reservation, volume, name, claim: claim) }

    public func forgetHostReservation(of volume: UUIDBytes) async throws(RegistryError) { claims.forget(volume) }

    public func owners() async throws(RegistryError) -> OwnersListing { try claims.listing() }
}
