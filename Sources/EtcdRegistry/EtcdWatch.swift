import Foundation
import Synchronization
import VolumeRegistry

/// The wait for the next changes of a registry.
final class EtcdWatch: @unchecked Sendable {
    // Unchecked: `cancel` may be called by any thread; one thread uses the rest.
    private let client: EtcdClient
    private let revision: Revision
    private let isCancelled = Atomic(false)
    private let decoder = JSONDecoder()

    /// A member has to say within this time that it watches.
    private static let firstBytesMilliseconds = 3000
    /// The longest line of a watch, in bytes.
    private static let greatestLine = 128 << 20

    init(_ client: EtcdClient, after revision: Revision) {
        self.client = client
        self.revision = revision
    }

    func cancel() {
        isCancelled.store(true, ordering: .releasing)
        client.wake()
    }

    /// An outcome of listening to one member.
    private enum Word {
        case changes([RegistryChange])
        case compacted
        /// The revision is one that the member does not know yet, or that never was.
        case early
        /// Nothing has changed.
        case nothing
        /// The watch had begun, and the member is there no more.
        case broken
    }

    /// The changes, as soon as there is one; empty if the wait was cancelled.
    func next() throws(RegistryError) -> [RegistryChange] {
        while !isCancelled.load(ordering: .acquiring) {
            let word = try client.anywhere {
                (endpoint, milliseconds) throws(EtcdClient.Problem) in
                try self.listen(at: endpoint, within: milliseconds)
            }
            switch word {
            case .nothing: continue
            case .broken: client.next()
            case .changes(let changes): return changes
            case .compacted: throw .compacted(after: revision)
            case .early:
                // The member may lag behind; the cluster says what is true.
                let request = RangeRequest(key: Data(client.place.registryKey.utf8))
                let header = try EtcdRegistry.range(client, request).header
                guard let present = header?.revision?.value, present >= revision.number else {
                    throw .compacted(after: revision)
                }
                usleep(50_000)
                client.next()
            }
        }
        return []
    }

    private func listen(at endpoint: Int, within milliseconds: Int) throws(EtcdClient.Problem) -> Word {
        let volumes = client.place.volumes
        let request = WatchRequest(
            create: WatchRequest.Create(
                key: Data(volumes.utf8), rangeEnd: EtcdRegistry.end(ofKeysFrom: volumes),
                startRevision: WireInteger(revision.number + 1)))
        guard let body = try? JSONEncoder().encode(request) else {
            throw .elsewhere("the request cannot be written")
        }
        var bytes = Data()
        var hasBegun = false
        var heard: Result<Word, EtcdClient.Problem>?
        let outcome = client.stream(
            // After the time of a call the watch is begun anew: so a member that hangs is noticed.
            "/v3/watch", body, at: endpoint, milliseconds: client.milliseconds,
            firstBytesMilliseconds: min(milliseconds, Self.firstBytesMilliseconds),
            isCancelled: { isCancelled.load(ordering: .acquiring) }
        ) { piece in
            bytes.append(contentsOf: piece)
            while heard == nil, let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
                heard = self.read(Data(bytes[bytes.startIndex..<end]), hasBegun: &hasBegun)
                bytes = Data(bytes[(end + 1)...])
            }
            return heard == nil && bytes.count <= Self.greatestLine
        }
        if let heard { return try heard.get() }
        if case .answered(let status) = outcome, status != 200 { throw client.problem(status, bytes) }
        switch outcome {
        case .cancelled: return .nothing
        case .failed(let failure) where hasBegun: return failure.isTimeout ? .nothing : .broken
        case .failed(let failure): throw .elsewhere(failure.reason)
        case .answered where hasBegun: return .broken
        case .answered: throw .elsewhere("it has ended the watch")
        }
    }

    /// One line of a watch; `nil` if it is none that ends the wait.
    private func read(_ line: Data, hasBegun: inout Bool) -> Result<Word, EtcdClient.Problem>? {
        guard !line.isEmpty else { return nil }
        guard let said = try? decoder.decode(WatchLine.self, from: line), said.result != nil || said.error != nil else {
            return .failure(.elsewhere("a line of its watch is none of etcd's"))
        }
        if let error = said.error {
            return .failure(client.problem(code: error.code ?? 14, String((error.message ?? "").prefix(200))))
        }
        guard let result = said.result else { return nil }
        if result.canceled == true {
            if let oldest = result.compactRevision?.value, oldest > 0 { return .success(.compacted) }
            let reason = result.cancelReason ?? "it has ended the watch"
            return .failure(
                client.problem(code: reason.contains("permission denied") ? 7 : 14, String(reason.prefix(200))))
        }
        if result.created == true {
            hasBegun = true
            if let present = result.header?.revision?.value, present < revision.number { return .success(.early) }
        }
        guard let events = result.events, !events.isEmpty else { return nil }
        return .success(.changes(events.map { change($0) }))
    }

    private func change(_ event: WatchLine.Result.Event) -> RegistryChange {
        RegistryChange(
            revision: Revision(event.kv.modRevision?.value ?? 0),
            name: String(decoding: event.kv.key.dropFirst(client.place.volumes.utf8.count), as: UTF8.self),
            text: event.type == "DELETE" ? nil : Array(event.kv.value ?? Data()))
    }
}
