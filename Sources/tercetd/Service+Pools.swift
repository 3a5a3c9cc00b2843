import Base
import BlockInterface
import ControlPlane
import Dispatch
import Logging
import NVMeTarget
import NamespacePool
import Synchronization
import TargetConfiguration
import TargetInterface

/// An open pool, under the name by which it was opened.
struct OpenPool {
    let nqn: String
    let store: PoolStore
}

/// Pools: their namespaces become a part of what the target is to be, and changes of them take turns with all others.
extension Service {
    /// Files are made and removed here: neither on a reactor nor where the control socket is answered.
    private static let disk = DispatchQueue(label: "pools")

    // MARK: A definition with its pools

    /// A definition with the namespaces that its pools have, and the pools that cannot be opened, which are left out.
    func filled(_ definition: TargetDefinition) async -> (definition: TargetDefinition, missing: [MissingPart]) {
        var (filled, missing) = (definition, [MissingPart]())
        for place in filled.subsystems.indices {
            let nqn = filled.subsystems[place].nqn
            guard let folder = filled.subsystems[place].pool?.folder else { continue }
            do throws(TercetError) {
                filled.subsystems[place].fill(from: try await store(of: nqn, in: folder, definition))
            } catch {
                missing.append(MissingPart(part: .subsystem(nqn), reason: error.description))
            }
        }
        return (filled.leavingOut(missing.map(\.part)), missing)
    }

    private func store(
        of nqn: String, in folder: String, _ definition: TargetDefinition
    ) async throws(TercetError) -> PoolStore {
        if let open = pools.first(where: { $0.nqn == nqn && $0.store.folder == folder }) { return open.store }
        // A subsystem may have got another name, and a pool another folder: one that is not wanted any more lets go of its folder.
        forgetPools(notIn: definition)
        let reservations = surroundings.reservations
        let store = try await Self.disk.run { () throws(TercetError) in
            try PoolStore(folder: folder) { reservations?.remove(subsystem: nqn, nsid: $0) }
        }
        pools.append(OpenPool(nqn: nqn, store: store))
        for remark in store.remarks { logger.warning("\(remark)", metadata: ["subsystem": "\(nqn)"]) }
        await finish(store, nqn)
        return store
    }

    /// Closes pools that a definition does not have.
    func forgetPools(notIn definition: TargetDefinition) {
        pools.removeAll { definition[$0.nqn]?.pool?.folder != $0.store.folder }
    }

    /// Removes files of namespaces that have been deleted. What cannot be removed is not seen by anybody, and is tried again.
    private func finish(_ store: PoolStore, _ nqn: String) async {
        do throws(TercetError) { try await Self.disk.run { () throws(TercetError) in try store.finish() } } catch {
            logger.error(
                "a deleted namespace still takes room; its file is removed with the next change, or at the next start",
                metadata: ["subsystem": "\(nqn)", "error": "\(error)"])
        }
    }

    // MARK: Changes

    /// Lets hosts change pools.
    func openPoolDoor() {
        poolDoor.open { [weak self] nqn, change, host in
            guard let self else { return .failure(.unavailable("the daemon is stopping")) }
            do throws(PoolRefusal) {
                return .success(try await self.change(pool: nqn, change, by: host))
            } catch { return .failure(error) }
        }
    }

    /// Makes a change of a pool durable, and brings it about at the target.
    ///
    /// - Parameter author: a host's NQN, or another name for the log.
    func change(pool nqn: String, _ change: PoolChange, by author: String) async throws(PoolRefusal) -> UInt32 {
        await takeTurn()
        defer { giveTurn() }
        if isStopping { throw .unavailable("the daemon is stopping") }
        guard let store = pools.first(where: { $0.nqn == nqn })?.store, let pool = told.definition[nqn]?.pool else {
            throw .unavailable("there is no pool '\(nqn)', or it is not open")
        }
        let nsid = try await make(change, nqn, store, PoolLimits(pool))
        logger.notice(
            "pool changed",
            metadata: ["subsystem": "\(nqn)", "nsid": "\(nsid)", "change": "\(change.word)", "by": "\(author)"])
        return nsid
    }

    private func make(
        _ change: PoolChange, _ nqn: String, _ store: PoolStore, _ limits: PoolLimits
    ) async throws(PoolRefusal) -> UInt32 {
        switch change {
        case .create(let blockCount, let uuid):
            let namespace: PoolNamespace
            do throws(PoolRefusal) {
                namespace = try await Self.disk.run { () throws(PoolRefusal) in
                    try store.make(blockCount: blockCount, uuid: uuid, within: limits)
                }
            } catch {
                logger.error("a namespace is not made", metadata: ["subsystem": "\(nqn)", "error": "\(error)"])
                throw error
            }
            try await bringAbout()
            return namespace.nsid
        case .attach(let nsid):
            try await set(true, nsid, store)
            try await bringAbout()
            let part = TargetPart.namespace(nsid, subsystem: nqn)
            guard let lost = missing.first(where: { $0.part == part }) else { return nsid }
            try await set(false, nsid, store)
            try await bringAbout()
            logger.error(
                "a namespace is not attached",
                metadata: ["subsystem": "\(nqn)", "nsid": "\(nsid)", "error": "\(lost.reason)"])
            throw .failed(lost.reason)
        case .detach(let nsid):
            try await set(false, nsid, store)
            try await bringAbout()
            return nsid
        case .grow(let nsid, let blockCount):
            try await Self.disk.run { () throws(PoolRefusal) in
                try store.grow(nsid, blockCount: blockCount, within: limits)
            }
            try await bringAbout()
            target.refreshNamespaces()
            return nsid
        case .delete(let nsid): return try await delete([nsid], nqn, store)
        case .deleteAll: return try await delete(store.namespaces.map(\.nsid), nqn, store)
        }
    }

    private func set(_ isAttached: Bool, _ nsid: UInt32, _ store: PoolStore) async throws(PoolRefusal) {
        try await Self.disk.run { () throws(PoolRefusal) in try store.setAttached(isAttached, nsid) }
    }

    private func delete(_ nsids: [UInt32], _ nqn: String, _ store: PoolStore) async throws(PoolRefusal) -> UInt32 {
        for nsid in nsids { try await Self.disk.run { () throws(PoolRefusal) in try store.remove(nsid) } }
        try await bringAbout()
        await finish(store, nqn)
        return nsids.first ?? 0
    }

    private func bringAbout() async throws(PoolRefusal) {
        do throws(TercetError) { _ = try await apply(written.configuration) } catch { throw .failed(error.description) }
    }

    // MARK: For the control socket

    /// Makes a namespace, and attaches it if that is wanted. A call that is repeated finds what is there.
    func createInPool(_ given: PoolCreateRequest) async throws(TercetError) -> PoolState.Namespace {
        guard let pool = told.definition[given.subsystem]?.pool else { throw noPool(given.subsystem) }
        let blockCount = try blocks(of: given.size, blockSize: pool.blockSize)
        var uuid: UUIDBytes?
        if let text = given.uuid {
            uuid = UUIDBytes(text)
            guard let uuid, !uuid.isZero else {
                throw TercetError(
                    .invalid,
                    "uuid: '\(text)' is no UUID; allowed: \"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\", not all zeroes")
            }
        }
        let nsid = try await change(given.subsystem, .create(blockCount: blockCount, uuid: uuid))
        if given.isAttached ?? false, namespace(nsid, of: given.subsystem)?.isAttached == false {
            _ = try await change(given.subsystem, .attach(nsid))
        }
        guard let made = namespace(nsid, of: given.subsystem) else {
            throw TercetError(.notFound, "pool '\(given.subsystem)': namespace \(nsid) has been deleted meanwhile")
        }
        return PoolState.Namespace(made)
    }

    /// Gives a namespace more blocks; hosts are told.
    func growInPool(_ given: PoolGrowRequest) async throws(TercetError) {
        // A namespace that is not there is refused with the change.
        let size = namespace(given.nsid, of: given.subsystem)?.blockSize ?? 1
        let blockCount = try blocks(of: given.size, blockSize: size)
        try await change(given.subsystem, .grow(given.nsid, blockCount: blockCount))
    }

    private func blocks(of size: UInt64, blockSize: UInt32) throws(TercetError) -> UInt64 {
        guard size % UInt64(blockSize) == 0 else {
            throw TercetError(
                .invalid, "size: \(size) is no multiple of the block size; allowed: multiples of \(blockSize)")
        }
        return size / UInt64(blockSize)
    }

    /// A change that the operator asks for.
    @discardableResult
    func change(_ nqn: String, _ change: PoolChange) async throws(TercetError) -> UInt32 {
        guard told.definition[nqn]?.pool != nil else { throw noPool(nqn) }
        do throws(PoolRefusal) { return try await self.change(pool: nqn, change, by: "control") } catch {
            throw TercetError(error.code, "pool '\(nqn)': \(error)")
        }
    }

    private func namespace(_ nsid: UInt32, of nqn: String) -> PoolNamespace? {
        pools.first { $0.nqn == nqn }?.store.namespaces.first { $0.nsid == nsid }
    }

    private func noPool(_ nqn: String) -> TercetError {
        let names = told.definition.subsystems.filter { $0.pool != nil }.map(\.nqn)
        return TercetError(
            .notFound, "there is no pool '\(nqn)'; there are: \(names.isEmpty ? "none" : names.joined(separator: ", "))"
        )
    }

    /// A pool as it is; `nil` if the subsystem is none, or is not open.
    func poolState(of nqn: String) -> PoolState? {
        guard var pool = told.definition[nqn]?.pool, let store = pools.first(where: { $0.nqn == nqn })?.store else {
            return nil
        }
        pool.namespaces = store.namespaces
        return PoolState(
            folder: pool.folder, capacity: pool.capacity, unallocated: pool.unallocated, free: store.freeBytes,
            maxNamespaces: pool.maxNamespaces, blockSize: pool.blockSize,
            namespaces: pool.namespaces.map { PoolState.Namespace($0) })
    }
}

extension ReservationStore {
    /// Removes what is stored for a namespace, and waits for it; the problem, if there is one.
    fileprivate func remove(subsystem: String, nsid: UInt32) -> String? {
        let (done, problem) = (DispatchSemaphore(value: 0), ReservationProblem())
        save(nil, subsystem: subsystem, nsid: nsid) { text in
            problem.text.withLock { $0 = text }
            done.signal()
        }
        done.wait()
        return problem.text.withLock { $0 }
    }
}

/// The problem of another thread's work, if it has one.
private final class ReservationProblem: Sendable {
    let text = Mutex<String?>(nil)
}

extension SubsystemDefinition {
    /// Takes the namespaces of its pool.
    fileprivate mutating func fill(from store: PoolStore) {
        let all = store.namespaces
        pool?.namespaces = all
        namespaces = all.filter(\.isAttached).map { namespace in
            NamespaceDefinition(
                nsid: namespace.nsid,
                backing: .specified(
                    BlockSpecification(.path(store.path(of: namespace)), blockSize: namespace.blockSize)),
                identity: BlockIdentity(nguid: namespace.uuid.bytes, uuid: namespace.uuid.bytes))
        }
    }
}

extension PoolLimits {
    fileprivate init(_ pool: PoolDefinition) {
        self.init(capacity: pool.capacity, maxNamespaces: pool.maxNamespaces, blockSize: pool.blockSize)
    }
}

extension PoolChange {
    /// For the log.
    fileprivate var word: String {
        switch self {
        case .create: "created"
        case .delete: "deleted"
        case .deleteAll: "all deleted"
        case .attach: "attached"
        case .detach: "detached"
        case .grow: "grown"
        }
    }
}

extension PoolRefusal {
    fileprivate var code: TercetError.Code {
        switch self {
        case .empty, .cannotShrink: .invalid
        case .insufficientCapacity, .noIdentifier: .exhausted
        case .uuidInUse, .alreadyAttached: .exists
        case .notFound, .notAttached: .notFound
        case .unavailable: .unavailable
        case .failed: .failed
        }
    }
}

extension PoolState.Namespace {
    fileprivate init(_ namespace: PoolNamespace) {
        self.init(
            nsid: namespace.nsid, uuid: namespace.uuid.description, size: namespace.byteCount,
            blockSize: namespace.blockSize, isAttached: namespace.isAttached)
    }
}
