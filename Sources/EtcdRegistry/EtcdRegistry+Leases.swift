import Foundation
import VolumeRegistry

/// A right for some time, which ends by itself where nobody renews it. Keys that are bound to it are removed then.
///
/// A lease never proves that another has stopped: a process may sleep, and not know that its lease has ended.
public struct Lease: Equatable, Sendable {
    public var id: Int64
    /// The time that it lasts without a renewal, as the cluster has granted it.
    public var seconds: Int64
}

/// A volume's owner, as long as its lease lasts.
public struct VolumeOwner: Equatable, Sendable {
    /// The owner's name, as it was claimed.
    public var name: String
    public var lease: Int64
    /// The revision of the claim.
    public var revision: Revision

    public init(name: String, lease: Int64, revision: Revision) {
        self.name = name
        self.lease = lease
        self.revision = revision
    }
}

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
            throw RegistryError(.leaseLost, "lease \(lease.id) has ended")
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
            guard let found = answer.responses?.first?.range?.kvs?.first, let revision = found.modRevision?.value else {
                throw RegistryError(.failed, "\(words): the answer to a claim is none of etcd's")
            }
            // The lease is this process's alone: so it was this claim, whose answer was lost.
            if found.lease?.value == lease.id, found.value == put.value { return Revision(revision) }
            throw RegistryError(
                .conflict(present: Revision(revision)),
                "volume \(volume): \(String(decoding: (found.value ?? Data()).prefix(200), as: UTF8.self)) owns it")
        }
    }

    /// A volume's owner; `nil` if it has none.
    public func owner(of volume: String) async throws(RegistryError) -> VolumeOwner? {
        try VolumeEntry.validate(name: volume)
        let request = RangeRequest(key: Data((place.owners + volume).utf8))
        let found = try await performForLeases { client throws(RegistryError) in
            try Self.range(client, request).kvs?.first
        }
        guard let found, let revision = found.modRevision?.value else { return nil }
        return VolumeOwner(
            name: String(decoding: found.value ?? Data(), as: UTF8.self), lease: found.lease?.value ?? 0,
            revision: Revision(revision))
    }
}
