import Foundation
import VolumeRegistry

extension EtcdRegistry {
    public func poolRecord() async throws(RegistryError) -> (text: [UInt8], revision: Revision)? {
        let request = RangeRequest(key: Data(place.pools.utf8))
        return try await perform { client throws(RegistryError) in
            guard let found = try Self.range(client, request).kvs?.first else { return nil }
            return (Array(found.value ?? Data()), Revision(found.modRevision?.value ?? 0))
        }
    }

    public func put(poolRecord text: String, expecting expected: Revision?) async throws(RegistryError) -> Revision {
        let (key, words) = (place.pools, place.words)
        let record = Data(text.utf8)
        return try await perform { client throws(RegistryError) in
            let answer = try client.transact(
                TransactionRequest(
                    compare: [Guard(key, revision: expected?.number ?? 0)],
                    success: [TransactionStep(put: PutRequest(key: Data(key.utf8), value: record))],
                    failure: [TransactionStep(range: RangeRequest(key: Data(key.utf8)))]))
            guard let revision = answer.header?.revision?.value, let steps = answer.responses, steps.count == 1 else {
                throw RegistryError(.failed, "\(words): the answer to a change of the pools is none of etcd's")
            }
            if answer.succeeded == true { return Revision(revision) }
            let found = steps[0].range?.kvs?.first
            let present = found?.modRevision.map { Revision($0.value) }
            // It was this call, whose first answer was lost.
            if let present, found?.value == record, present.number > expected?.number ?? 0 { return present }
            throw .poolConflict(present: present)
        }
    }
}
