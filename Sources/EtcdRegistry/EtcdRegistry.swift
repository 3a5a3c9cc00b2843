import Base
import Dispatch
import Foundation
import Synchronization
import VolumeRegistry

/// A registry in etcd 3.4 or later, for the programs of several machines.
///
/// An entry is a key, and the revision of its last change is etcd's own. Each change is one transaction with a guard. It writes
/// a name of its own beside the entry: so a change whose answer was lost is found again, and is not made twice.
public final class EtcdRegistry: Registry, @unchecked Sendable {
    // Unchecked: the clients are used on their queues only; those that nobody uses are behind a lock.
    public let place: EtcdPlace
    let milliseconds: Int
    private let client: EtcdClient
    private let queue = DispatchQueue(label: "tercet registry")
    /// Calls for leases, which must not wait for others.
    private let leaseClient: EtcdClient
    private let leaseQueue = DispatchQueue(label: "tercet leases")
    /// Clients of watches that have ended.
    let watchClients = Mutex<[EtcdClient]>([])

    /// The form of what is kept at the prefix.
    private static let version = 1
    /// Entries that are read with one call.
    private static let pageSize: Int64 = 500

    private struct Kind: Codable {
        var version: Int
    }

    /// Opens a registry.
    ///
    /// - Parameters:
    ///   - makes: where there is none, one is made.
    ///   - milliseconds: how long a call tries the members, instead of the place's own time.
    /// - Throws: `notFound` if there is none, `unknownVersion`, `damaged`, `notPermitted`, `unavailable`.
    public init(_ place: EtcdPlace, makes: Bool = false, milliseconds: Int? = nil) async throws(RegistryError) {
        self.place = place
        let milliseconds = milliseconds ?? place.deadlineSeconds * 1000
        self.milliseconds = milliseconds
        client = EtcdClient(place, milliseconds: milliseconds)
        leaseClient = EtcdClient(place, milliseconds: milliseconds)
        try await perform { client throws(RegistryError) in try Self.open(client, makes: makes) }
    }

    private static func open(_ client: EtcdClient, makes: Bool) throws(RegistryError) {
        let place = client.place
        let key = Data(place.registryKey.utf8)
        var found = try range(client, RangeRequest(key: key)).kvs?.first
        if found == nil, makes {
            let kind = try? JSONEncoder().encode(Kind(version: version))
            // Another program may be faster: then it has made it.
            _ = try client.transact(
                TransactionRequest(
                    compare: [Guard(place.registryKey, revision: 0)],
                    success: [TransactionStep(put: PutRequest(key: key, value: kind ?? Data()))],
                    failure: [TransactionStep(range: RangeRequest(key: key))]))
            found = try range(client, RangeRequest(key: key)).kvs?.first
        }
        guard let found else {
            throw RegistryError(
                .notFound,
                "\(place.words): there is no registry at \(place.prefix); tercet volume create NAME, tercet registry add and tercet "
                    + "registry import make one")
        }
        guard let kind = try? JSONDecoder().decode(Kind.self, from: found.value ?? Data()) else {
            throw RegistryError(
                .damaged,
                "\(place.words): the key \(place.registryKey) is none of a registry of Tercet: name another prefix; nothing was changed"
            )
        }
        guard kind.version == version else {
            throw RegistryError(
                .unknownVersion,
                "\(place.words): the registry has version \(kind.version), and this release knows \(version): use the release that "
                    + "wrote it, or a later one; nothing was changed")
        }
    }

    // MARK: Registry

    public func list() async throws(RegistryError) -> RegistryListing {
        let volumes = place.volumes
        let (revision, found) = try await perform { client throws(RegistryError) in
            try Self.all(client, from: volumes)
        }
        var listing = RegistryListing(revision: revision)
        listing.volumes.reserveCapacity(found.count)
        for entry in found {
            listing.append(
                name: String(decoding: entry.key.dropFirst(volumes.utf8.count), as: UTF8.self),
                revision: Revision(entry.modRevision?.value ?? 0), text: Array(entry.value ?? Data()))
        }
        return listing
    }

    public func get(_ name: String) async throws(RegistryError) -> RegisteredVolume? {
        try VolumeEntry.validate(name: name)
        let request = RangeRequest(key: key(name))
        let found = try await perform { client throws(RegistryError) in
            try Self.range(client, request).kvs?.first
        }
        guard let found else { return nil }
        return RegisteredVolume(
            try VolumeEntry(text: found.value ?? Data(), name: name), Revision(found.modRevision?.value ?? 0))
    }

    public func put(_ entry: VolumeEntry, expecting expected: Revision?) async throws(RegistryError) -> Revision {
        let text = try entry.text()
        let step = TransactionStep(put: PutRequest(key: key(entry.name), value: Data(text.utf8)))
        return try await change(entry.name, step, expecting: expected)
    }

    public func delete(_ name: String, expecting expected: Revision) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: name)
        // Etcd takes 0 for a key that is not there.
        guard expected.number > 0 else {
            throw .conflict(name, present: try await revision(name), expected: expected)
        }
        let step = TransactionStep(deleteRange: DeleteRangeRequest(key: key(name)))
        return try await change(name, step, expecting: expected)
    }

    // MARK: Reading

    private func key(_ name: String) -> Data { Data((place.volumes + name).utf8) }

    private func revision(_ name: String) async throws(RegistryError) -> Revision? {
        let request = RangeRequest(key: key(name))
        return try await perform { client throws(RegistryError) in
            try Self.range(client, request).kvs?.first?.modRevision.map { Revision($0.value) }
        }
    }

    static func range(
        _ client: EtcdClient, _ request: RangeRequest
    ) throws(RegistryError) -> RangeAnswer {
        try client.call("/v3/kv/range", request, returning: RangeAnswer.self)
    }

    /// All keys that begin so, as they were at one moment.
    private static func all(
        _ client: EtcdClient, from beginning: String
    ) throws(RegistryError) -> (Revision, [KeyValue]) {
        var found: [KeyValue] = []
        var moment: WireInteger?
        var attempts = 0
        var next = Data(beginning.utf8)
        while true {
            let answer: RangeAnswer
            do throws(RegistryError) {
                answer = try range(
                    client,
                    RangeRequest(
                        key: next, rangeEnd: end(ofKeysFrom: beginning), limit: WireInteger(pageSize), revision: moment)
                )
            } catch {
                // That moment was compacted away between two pages.
                guard error.code == .compacted, attempts < 5 else { throw error }
                attempts += 1
                (found, moment, next) = ([], nil, Data(beginning.utf8))
                continue
            }
            found += answer.kvs ?? []
            if moment == nil { moment = answer.header?.revision }
            guard answer.more == true, let last = answer.kvs?.last?.key else {
                return (Revision(moment?.value ?? 0), found)
            }
            next = last + [0]
        }
    }

    /// The first key behind all that begin so.
    static func end(ofKeysFrom beginning: String) -> Data {
        var bytes = Data(beginning.utf8)
        bytes[bytes.count - 1] += 1
        return bytes
    }

    // MARK: Changing

    private func change(
        _ name: String, _ step: TransactionStep, expecting expected: Revision?
    ) async throws(RegistryError) -> Revision {
        let key = self.key(name)
        let place = self.place
        return try await perform { client throws(RegistryError) in
            let before = client.lastRevision
            let mark = UUIDBytes.random().description
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(place.volumes + name, revision: expected?.number ?? 0)],
                    success: [
                        step,
                        TransactionStep(put: PutRequest(key: Data(place.changeKey.utf8), value: Data(mark.utf8))),
                    ],
                    failure: [TransactionStep(range: RangeRequest(key: key))]))
            guard let revision = answer.header?.revision?.value, let steps = answer.responses else {
                throw Self.misunderstood(place)
            }
            if answer.succeeded == true {
                guard steps.count == 2, (steps[0].put != nil || steps[0].deleteRange?.deleted?.value == 1) else {
                    throw Self.misunderstood(place)
                }
                return Revision(revision)
            }
            guard steps.count == 1, let found = steps[0].range else { throw Self.misunderstood(place) }
            // This change may have been made by an attempt whose answer was lost.
            if let done = try Self.find(mark, client, from: revision, after: max(before, expected?.number ?? 0)) {
                return done
            }
            let present = found.kvs?.first?.modRevision.map { Revision($0.value) }
            throw .conflict(name, present: present, expected: expected)
        }
    }

    private static func misunderstood(_ place: EtcdPlace) -> RegistryError {
        RegistryError(.failed, "\(place.words): the answer to a change is none of etcd's: look at what is there")
    }

    /// The revision of the change with a mark, among those after a revision up to another.
    private static func find(
        _ mark: String, _ client: EtcdClient, from newest: Int64, after oldest: Int64
    ) throws(RegistryError) -> Revision? {
        var revision = newest
        while revision > oldest {
            let request = RangeRequest(key: Data(client.place.changeKey.utf8), revision: WireInteger(revision))
            let found: KeyValue?
            do throws(RegistryError) {
                found = try range(client, request).kvs?.first
            } catch {
                guard error.code == .compacted else { throw error }
                throw RegistryError(
                    .failed,
                    "\(client.place.words): the answer to a change was lost, and it cannot be known any more whether it was made: look at "
                        + "what is there")
            }
            guard let found, let changed = found.modRevision?.value else { return nil }
            if found.value == Data(mark.utf8) { return Revision(changed) }
            revision = changed - 1
        }
        return nil
    }

    // MARK: Queues

    /// Runs `body` on the registry's thread.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (EtcdClient) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await queue.run { () throws(RegistryError) in try body(self.client) }
    }

    /// Runs `body` on the leases' thread.
    func performForLeases<Value: Sendable>(
        _ body: @escaping @Sendable (EtcdClient) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await leaseQueue.run { () throws(RegistryError) in try body(self.leaseClient) }
    }
}
