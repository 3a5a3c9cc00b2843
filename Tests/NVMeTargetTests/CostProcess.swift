import Base
import BlockInterface
import InProcessTransport
import NVMeSpec
import NVMeTarget
import Simulation
import Synchronization
import TargetInterface

/// The process around a target whose reactor is measured: what the reactor hands to other threads is done between two rounds.
final class CostProcess: PoolKeeper {
    private struct Change {
        let change: PoolChange
        let completion: @Sendable (Result<UInt32, PoolRefusal>) -> Void
    }

    private struct State {
        var changes: [Change] = []
        var underWay: Change?
        var work: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    func change(
        pool nqn: String, _ change: PoolChange, for host: String,
        completion: @escaping @Sendable (Result<UInt32, PoolRefusal>) -> Void
    ) { state.withLock { $0.changes.append(Change(change: change, completion: completion)) } }

    func compute(_ work: @escaping @Sendable () -> Void) { state.withLock { $0.work.append(work) } }

    static func namespace(_ nsid: UInt32, isAttached: Bool = false) -> PoolNamespace {
        let uuid = UUIDBytes(bytes: little(nsid, 8) + [UInt8](repeating: 9, count: 8)) ?? UUIDBytes()
        return PoolNamespace(nsid: nsid, uuid: uuid, blockCount: 8192, blockSize: 512, isAttached: isAttached)
    }

    /// Does what was handed to it, as far as the reactor is; returns whether something is under way.
    func goOn(_ world: EngineWorld) throws -> Bool {
        let work = state.withLock { state in
            defer { state.work = [] }
            return state.work
        }
        for work in work { work() }
        if let underWay = state.withLock({ $0.underWay }) {
            guard try world.state.proceed() else { return true }
            guard world.state.report.missing.isEmpty else { throw WorldError("\(world.state.report.missing)") }
            state.withLock { $0.underWay = nil }
            underWay.completion(.success(Self.last(of: world.state.definition)))
            return true
        }
        guard let next = state.withLock({ $0.changes.isEmpty ? nil : $0.changes.removeFirst() }) else {
            return !work.isEmpty
        }
        state.withLock { $0.underWay = next }
        try world.state.change { Self.make(next.change, &$0) }
        return true
    }

    private static func last(of definition: TargetDefinition) -> UInt32 {
        definition[EngineWorld.nqn]?.pool?.namespaces.last?.nsid ?? 0
    }

    /// Only the last namespace comes and goes.
    private static func make(_ change: PoolChange, _ definition: inout TargetDefinition) {
        guard var subsystem = definition[EngineWorld.nqn], var pool = subsystem.pool else { return }
        let place = pool.namespaces.count - 1
        switch change {
        case .create: pool.namespaces.append(namespace(UInt32(place + 2)))
        case .attach(let nsid):
            pool.namespaces[place].isAttached = true
            subsystem.namespaces.append(EngineWorld.namespace(nsid, SimulatedDisk.instant()))
        case .grow(_, let blockCount): pool.namespaces[place].blockCount = blockCount
        case .detach:
            pool.namespaces[place].isAttached = false
            subsystem.namespaces.removeLast()
        case .delete, .deleteAll: pool.namespaces.removeLast()
        }
        subsystem.pool = pool
        definition[EngineWorld.nqn] = subsystem
    }
}

/// The surroundings of a target in such a process.
struct CostSurroundings: TargetSurroundings {
    let process: CostProcess
    private let bare = BareSurroundings()

    init(process: CostProcess) { self.process = process }

    var reservations: (any ReservationStore)? { nil }
    var pools: (any PoolKeeper)? { process }

    func compute(_ work: @escaping @Sendable () -> Void) { process.compute(work) }

    func open(_ specification: BlockSpecification) throws(TercetError) -> any BlockDevice {
        try bare.open(specification)
    }

    func identity(of namespace: NamespaceDefinition, in nqn: String, device: BlockIdentity) -> BlockIdentity {
        bare.identity(of: namespace, in: nqn, device: device)
    }

    func serialNumber(of nqn: String, in definition: TargetDefinition) -> String {
        bare.serialNumber(of: nqn, in: definition)
    }
}
