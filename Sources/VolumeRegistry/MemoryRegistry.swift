import Base
import Synchronization

/// A registry in the memory of one process, for tests and simulations. It keeps entries as text, as others do.
public final class MemoryRegistry: Registry {
    private struct Change {
        var revision: Revision
        var name: String
        /// `nil` if the entry was removed.
        var text: String?
    }

    private struct State {
        var entries: [String: (text: String, revision: Revision)] = [:]
        var revision = Revision(0)
        var history: [Change] = []
        /// Those that wait for the next change, by a number of their own.
        var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
        var pools: (text: [UInt8], revision: Revision)?
    }

    private let state = Mutex(State())
    private let keptChanges: Int
    let claims: MemoryOwners

    /// - Parameters:
    ///   - keptChanges: how many changes are known to those that ask for them.
    ///   - now: the clock by which leases end.
    public init(keptChanges: Int = 1000, now: @escaping @Sendable () -> MonotonicTime = { .now() }) {
        self.keptChanges = keptChanges
        claims = MemoryOwners(now: now)
    }

    public func list() async throws(RegistryError) -> RegistryListing {
        state.withLock { state in
            var listing = RegistryListing(revision: state.revision)
            for (name, entry) in state.entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
                listing.append(name: name, revision: entry.revision, text: Array(entry.text.utf8))
            }
            return listing
        }
    }

    public func get(_ name: String) async throws(RegistryError) -> RegisteredVolume? {
        try VolumeEntry.validate(name: name)
        guard let (text, revision) = state.withLock({ $0.entries[name] }) else { return nil }
        return RegisteredVolume(try VolumeEntry(text: Array(text.utf8), name: name), revision)
    }

    public func put(
        _ entry: VolumeEntry, expecting expected: Revision?
    ) async throws(RegistryError) -> Revision {
        let text = try entry.text()
        return try change(entry.name, to: text, expecting: expected)
    }

    public func delete(_ name: String, expecting expected: Revision) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: name)
        return try change(name, to: nil, expecting: expected)
    }

    /// Writes any text as an entry, as another release or a mistake might.
    package func write(text: String, name: String) {
        _ = try? change(name, to: text, expecting: state.withLock { $0.entries[name]?.revision })
    }

    private func change(
        _ name: String, to text: String?, expecting expected: Revision?
    ) throws(RegistryError) -> Revision {
        let result = state.withLock { state -> Result<(Revision, [CheckedContinuation<Void, Never>]), RegistryError> in
            let present = state.entries[name]?.revision
            guard present == expected else {
                return .failure(.conflict(name, present: present, expected: expected))
            }
            state.revision.number += 1
            state.entries[name] = text.map { ($0, state.revision) }
            state.history.append(Change(revision: state.revision, name: name, text: text))
            if state.history.count > keptChanges { state.history.removeFirst(state.history.count - keptChanges) }
            let waiting = Array(state.waiting.values)
            state.waiting = [:]
            return .success((state.revision, waiting))
        }
        let (revision, waiting) = try result.get()
        for continuation in waiting { continuation.resume() }
        return revision
    }

    public func poolRecord() async throws(RegistryError) -> (text: [UInt8], revision: Revision)? {
        state.withLock { $0.pools }
    }

    public func put(poolRecord text: String, expecting expected: Revision?) async throws(RegistryError) -> Revision {
        let result = state.withLock { state -> Result<Revision, RegistryError> in
            guard state.pools?.revision == expected else {
                return .failure(.poolConflict(present: state.pools?.revision))
            }
            let revision = Revision((expected?.number ?? 0) + 1)
            state.pools = (Array(text.utf8), revision)
            return .success(revision)
        }
        return try result.get()
    }

    public func changes(after revision: Revision) async throws(RegistryError) -> [RegistryChange] {
        while !Task.isCancelled {
            let found = state.withLock { state -> [Change]? in
                guard revision <= state.revision, revision.number + Int64(state.history.count) >= state.revision.number
                else { return nil }
                return state.history.filter { $0.revision > revision }
            }
            guard let found else { throw .compacted(after: revision) }
            if !found.isEmpty {
                return found.map {
                    RegistryChange(revision: $0.revision, name: $0.name, text: $0.text.map { Array($0.utf8) })
                }
            }
            await nextChange(after: revision)
        }
        return []
    }

    /// Returns after the next change, or when the task is cancelled.
    private func nextChange(after revision: Revision) async {
        let waiter = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isOver = state.withLock { state in
                    // A change, or the cancellation, may have come before.
                    if state.revision > revision || Task.isCancelled { return true }
                    state.waiting[waiter] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: waiter) }?.resume()
        }
    }
}

extension RegistryChange {
    /// A change as it is stored: `nil` text if the entry was removed.
    public init(revision: Revision, name: String, text: [UInt8]?) {
        guard let text else {
            self.init(revision: revision, name: name, kind: .deleted)
            return
        }
        do throws(RegistryError) {
            self.init(revision: revision, name: name, kind: .put(try VolumeEntry(text: text, name: name)))
        } catch {
            self.init(revision: revision, name: name, kind: .unreadable(error))
        }
    }
}
