import Base
import Foundation
import VolumeRegistry

extension EtcdRegistry {
    /// Begins a lease.
    ///
    /// - Parameter seconds: the time that it lasts without a renewal. The cluster may grant more, at least one and a half times
    ///   what it takes to elect a leader (etcd 3.4: 2 s), and never less.
    public func grantLease(seconds: Int64) async throws(RegistryError) -> Lease {
        guard seconds > 0 else { throw RegistryError(.invalid, "a lease of \(seconds) s") }
        let lease = Lease(id: .random(in: 1...(.max)), seconds: seconds)
        let words = place.words
        return try await performForLeases { client throws(RegistryError) in
            let granted: Int64
            do throws(RegistryError) {
                let answer = try client.call(
                    "/v3/lease/grant",
                    LeaseGrantRequest(seconds: WireInteger(seconds), id: WireInteger(lease.id)),
                    returning: LeaseAnswer.self
                )
                granted = answer.id?.value == lease.id ? answer.seconds?.value ?? 0 : 0
            } catch {
                // The answer to a first call was lost: nobody else has this number.
                guard error.code == .conflict(present: nil) else { throw error }
                granted = try Self.renew(client, lease)
            }
            guard granted >= seconds else {
                throw RegistryError(
                    .failed, "\(words): a lease of \(seconds) s was asked for, and \(granted) s were granted")
            }
            return Lease(id: lease.id, seconds: granted)
        }
    }

    /// Renews a lease: its time begins anew, at some moment between the call and its return.
    ///
    /// - Returns: the time in seconds.
    /// - Throws: `leaseLost` if it has ended.
    @discardableResult
    public func keepAlive(_ lease: Lease) async throws(RegistryError) -> Int64 {
        try await performForLeases { client throws(RegistryError) in try Self.renew(client, lease) }
    }

    private static func renew(_ client: EtcdClient, _ lease: Lease) throws(RegistryError) -> Int64 {
        let answer = try client.call(
            "/v3/lease/keepalive", LeaseRequest(id: WireInteger(lease.id)), returning: KeepAliveAnswer.self
        )
        // An ended lease is told by a time of 0 or less, or by none.
        guard let seconds = answer.result?.seconds?.value, seconds > 0, answer.result?.id?.value == lease.id else {
            throw .leaseLost(lease.id)
        }
        return seconds
    }

    /// Ends a lease, and with it what was claimed with it. A lease that has ended already is no error.
    public func revoke(_ lease: Lease) async throws(RegistryError) {
        try await performForLeases { client throws(RegistryError) in
            do throws(RegistryError) {
                _ = try client.call(
                    "/v3/lease/revoke", LeaseRequest(id: WireInteger(lease.id)), returning: LeaseAnswer.self)
            } catch {
                guard error.code == .leaseLost else { throw error }
            }
        }
    }

    /// Makes `owner` a volume's owner while a lease lasts, if it has none.
    ///
    /// - Throws: `conflict` if it has one, `leaseLost`.
    public func claim(_ volume: String, for owner: String, _ lease: Lease) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        let key = place.owners + volume
        let words = place.words
        return try await performForLeases { client throws(RegistryError) in
            let put = PutRequest(key: Data(key.utf8), value: Data(owner.utf8), lease: WireInteger(lease.id))
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(key, revision: 0)], success: [TransactionStep(put: put)],
                    failure: [TransactionStep(range: RangeRequest(key: Data(key.utf8)))])
            )
            if answer.succeeded == true, let revision = answer.header?.revision?.value,
                answer.responses?.first?.put != nil
            {
                return Revision(revision)
            }
            guard let steps = answer.responses, steps.count == 1, let range = steps[0].range else {
                throw RegistryError(.failed, "\(words): the answer to a claim is none of etcd's")
            }
            let found = range.kvs?.first.flatMap { Self.owner($0) }
            // The lease is this process's alone: so it was this claim, whose answer was lost.
            if let found, found.lease == lease.id { return found.revision }
            throw .owned(volume, by: found)
        }
    }

    private static func owner(_ found: KeyValue) -> VolumeOwner? {
        guard let revision = found.modRevision?.value else { return nil }
        return VolumeOwner(
            name: String(decoding: (found.value ?? Data()).prefix(256), as: UTF8.self), lease: found.lease?.value ?? 0,
            revision: Revision(revision))
    }

    public func pass(
        _ volume: String, claim: Revision, to daemon: PresentDaemon
    ) async throws(RegistryError) -> Revision {
        let put = PutRequest(
            key: Data((place.owners + volume).utf8), value: Data(daemon.record.name.utf8),
            lease: WireInteger(daemon.lease))
        return try await change(volume, claim: claim, TransactionStep(put: put)) { $0?.lease == daemon.lease }
    }

    @discardableResult
    public func release(_ volume: String, claim: Revision) async throws(RegistryError) -> Revision {
        let step = TransactionStep(deleteRange: DeleteRangeRequest(key: Data((place.owners + volume).utf8)))
        return try await change(volume, claim: claim, step) { $0 == nil }
    }

    /// Changes a volume's owner, if the present claim is the expected one.
    ///
    /// - Parameter isDone: tells whether the present owner is the one that the change makes: its answer may have been lost.
    private func change(
        _ volume: String, claim: Revision, _ step: TransactionStep,
        isDone: @escaping @Sendable (VolumeOwner?) -> Bool
    ) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        let key = place.owners + volume
        let words = place.words
        // Etcd takes 0 for a key that is not there.
        guard claim.number > 0 else { throw RegistryError(.invalid, "volume \(volume): \(claim.number) is no claim") }
        return try await performForLeases { client throws(RegistryError) in
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(key, revision: claim.number)], success: [step],
                    failure: [TransactionStep(range: RangeRequest(key: Data(key.utf8)))]))
            guard let revision = answer.header?.revision?.value, let steps = answer.responses, steps.count == 1 else {
                throw RegistryError(.failed, "\(words): the answer to a change of the owner is none of etcd's")
            }
            if answer.succeeded == true { return Revision(revision) }
            let found = steps[0].range?.kvs?.first.flatMap { Self.owner($0) }
            if isDone(found) { return found?.revision ?? Revision(revision) }
            throw .owned(volume, by: found)
        }
    }

    public func announce(_ daemon: DaemonRecord, _ lease: Lease) async throws(RegistryError) {
        let key = place.daemons + daemon.name
        let words = place.words
        let put = PutRequest(
            key: Data(key.utf8), value: Data(try daemon.text().utf8), lease: WireInteger(lease.id))
        try await performForLeases { client throws(RegistryError) in
            // Nobody else writes to a key of this lease; where there is another's, its lease may end meanwhile.
            let found = try Self.range(client, RangeRequest(key: Data(key.utf8))).kvs?.first
            guard found.map({ $0.lease?.value == lease.id }) ?? true else { throw .nameInUse(daemon.name) }
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(key, revision: found?.modRevision?.value ?? 0)],
                    success: [TransactionStep(put: put)],
                    failure: [TransactionStep(range: RangeRequest(key: Data(key.utf8)))]))
            if answer.succeeded == true { return }
            guard let range = answer.responses?.first?.range else {
                throw RegistryError(.failed, "\(words): the answer to a daemon's word is none of etcd's")
            }
            // It was this call, whose first answer was lost.
            guard range.kvs?.first?.lease?.value == lease.id else { throw .nameInUse(daemon.name) }
        }
    }

    public func hostReservation(of volume: UUIDBytes) async throws(RegistryError) -> [UInt8]? {
        let request = RangeRequest(key: Data("\(place.reservations)\(volume)".utf8))
        return try await perform { client throws(RegistryError) in
            try Self.range(client, request).kvs?.first.map { Array($0.value ?? Data()) }
        }
    }

    public func keep(
        hostReservation reservation: [UInt8]?, of volume: UUIDBytes, _ name: String, claim: Revision
    ) async throws(RegistryError) {
        try VolumeEntry.validate(name: name)
        let (owner, words) = (place.owners + name, place.words)
        guard claim.number > 0 else { throw RegistryError(.invalid, "volume \(name): \(claim.number) is no claim") }
        let key = Data("\(place.reservations)\(volume)".utf8)
        let step =
            reservation.map { TransactionStep(put: PutRequest(key: key, value: Data($0))) }
            ?? TransactionStep(deleteRange: DeleteRangeRequest(key: key))
        try await perform { client throws(RegistryError) in
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(owner, revision: claim.number)], success: [step],
                    failure: [TransactionStep(range: RangeRequest(key: Data(owner.utf8)))]))
            guard let steps = answer.responses, steps.count == 1 else {
                throw RegistryError(.failed, "\(words): the answer to a change of a reservation is none of etcd's")
            }
            if answer.succeeded == true { return }
            throw .owned(name, by: steps[0].range?.kvs?.first.flatMap { Self.owner($0) })
        }
    }

    public func forgetHostReservation(of volume: UUIDBytes) async throws(RegistryError) {
        let step = TransactionStep(
            deleteRange: DeleteRangeRequest(key: Data("\(place.reservations)\(volume)".utf8)))
        try await perform { client throws(RegistryError) in
            _ = try client.transact(TransactionRequest(compare: [], success: [step], failure: []))
        }
    }

    public func owners() async throws(RegistryError) -> OwnersListing {
        let (owners, daemons, words) = (place.owners, place.daemons, place.words)
        return try await perform { client throws(RegistryError) in
            let answer = try client.transact(
                TransactionRequest(
                    compare: [],
                    success: [owners, daemons].map { beginning in
                        TransactionStep(
                            range: RangeRequest(
                                key: Data(beginning.utf8), rangeEnd: Self.end(ofKeysFrom: beginning)))
                    }, failure: []))
            guard let revision = answer.header?.revision?.value, let steps = answer.responses, steps.count == 2,
                let claims = steps[0].range, let present = steps[1].range
            else {
                throw RegistryError(.failed, "\(words): the answer to a look at the owners is none of etcd's")
            }
            var listing = OwnersListing(revision: Revision(revision))
            for found in claims.kvs ?? [] {
                let volume = String(decoding: found.key.dropFirst(owners.utf8.count), as: UTF8.self)
                listing.owners[volume] = Self.owner(found)
            }
            for found in present.kvs ?? [] {
                listing.append(daemon: found.value ?? Data(), lease: found.lease?.value ?? 0)
            }
            return listing
        }
    }
}
