import Base
import BlockInterface
import NVMeTarget
import NamespacePool
import Simulation
import Synchronization
import TargetInterface

/// A pool without files, whose changes are made when a test says so.
final class TestPool: PoolKeeper {
    private struct Waiting {
        let change: PoolChange
        let completion: @Sendable (Result<UInt32, PoolRefusal>) -> Void
    }

    private struct State {
        var contents: PoolContents
        var waiting: [Waiting] = []
        var hosts: [String] = []
        var failure: PoolRefusal?
    }

    private let state: Mutex<State>
    /// So many blocks, and no more namespaces than there can be.
    private let limits: PoolLimits

    init(_ limits: PoolLimits) throws {
        self.limits = limits
        state = Mutex(State(contents: try PoolContents()))
    }

    /// The hosts that have asked for changes.
    var hosts: [String] { state.withLock { $0.hosts } }
    /// Changes that are to be made.
    var waitingCount: Int { state.withLock { $0.waiting.count } }

    /// The next changes fail so.
    func fail(_ refusal: PoolRefusal?) { state.withLock { $0.failure = refusal } }

    func change(
        pool nqn: String, _ change: PoolChange, for host: String,
        completion: @escaping @Sendable (Result<UInt32, PoolRefusal>) -> Void
    ) {
        state.withLock {
            $0.hosts.append(host)
            $0.waiting.append(Waiting(change: change, completion: completion))
        }
    }

    /// Makes the changes that were asked for, and tells the target.
    func work(in world: EngineWorld) throws {
        while let next = state.withLock({ $0.waiting.isEmpty ? nil : $0.waiting.removeFirst() }) {
            let outcome = state.withLock { state -> Result<UInt32, PoolRefusal> in
                if let failure = state.failure { return .failure(failure) }
                return Result { () throws(PoolRefusal) in try Self.make(next.change, &state.contents, limits) }
            }
            try world.change { [namespaces = state.withLock { $0.contents.namespaces }] definition in
                definition[EngineWorld.nqn]?.pool?.namespaces = namespaces
                let former = definition[EngineWorld.nqn]?.namespaces ?? []
                definition[EngineWorld.nqn]?.namespaces = namespaces.filter(\.isAttached).map { namespace in
                    former.first { $0.nsid == namespace.nsid }
                        ?? NamespaceDefinition(
                            nsid: namespace.nsid, backing: .device(SimulatedDisk.instant()),
                            identity: BlockIdentity(nguid: namespace.uuid.bytes, uuid: namespace.uuid.bytes))
                }
            }
            next.completion(outcome)
        }
    }

    private static func make(
        _ change: PoolChange, _ contents: inout PoolContents, _ limits: PoolLimits
    ) throws(PoolRefusal) -> UInt32 {
        switch change {
        case .create(let blockCount, let uuid):
            let nsid = try contents.make(blockCount: blockCount, uuid: uuid, within: limits).namespace.nsid
            contents.made(nsid)
            return nsid
        case .attach(let nsid), .detach(let nsid):
            try contents.setAttached(change == .attach(nsid), nsid)
            return nsid
        case .grow(let nsid, let blockCount):
            try contents.grow(nsid, blockCount: blockCount, within: limits)
            return nsid
        case .delete(let nsid):
            try contents.remove(nsid)
            contents.removed(nsid)
            return nsid
        case .deleteAll:
            for nsid in contents.namespaces.map(\.nsid) { _ = try make(.delete(nsid), &contents, limits) }
            return 0
        }
    }
}
