import AllocationProbe
import CLibNVMe
import InProcessTransport
import NVMeAuthentication
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// A world of some size, and the costs of the commands that were measured in it.
final class CommandCosts {
    struct Size { var subsystems, namespaces, hosts, registrants: Int }

    /// The cost of a command in its costliest round.
    struct Cost {
        var allocations = 0
        var time = Duration.zero
    }

    /// A command, and the queue that it is for.
    struct Row {
        let name: String
        let command: RawCommand
        var data = InProcessData.none
        /// It is not answered before something happens.
        var isHeld = false
    }

    /// The host that has to show who it is.
    static let keyedHost = HostName(nqn: "\(HostName.plain)-keyed", number: 9_000_000)

    let size: Size
    /// How often a command is measured; the median counts.
    let rounds: Int
    let process = CostProcess()
    /// Does what the process does beside the reactor; without one the reactor's thread does.
    private let control: PinnedThread?
    let keys: AuthenticationKeys
    let world: EngineWorld
    /// Hosts that are connected and wait for events.
    private(set) var crowd: [EngineHost] = []
    /// In the order in which the commands were measured first.
    private(set) var names: [String] = []
    private(set) var covered: Set<CommandKey> = []
    private var samples: [String: [Cost]] = [:]

    init(_ size: Size, rounds: Int, control: PinnedThread? = nil) throws {
        self.size = size
        self.rounds = rounds
        self.control = control
        keys = try AuthenticationKeys(
            host: AuthenticationKey(random: 32, hash: .sha256), controller: AuthenticationKey(random: 48, hash: nil))
        // A reactor of RDMA has 1,024 connections; this one has all hosts'.
        world = try EngineWorld(
            .small { ($0.maxNamespaces, $0.controlMemory, $0.requests) = (65536, 4 << 20, 4096) }, connections: 2048,
            surroundings: CostSurroundings(process: process))
        try configure()
        try register()
        for number in 0..<size.hosts {
            let name = HostName(nqn: "\(HostName.plain)-crowd-\(number)", number: number + 1)
            let host = try world.attach(ioQueues: 0, host: name)
            // Namespace attribute notices.
            try world.succeed(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 8), on: host.admin)
            crowd.append(host)
        }
        listen()
    }

    /// The median of what was measured.
    func cost(_ name: String) -> Cost {
        let all = samples[name, default: []]
        let time = all.map(\.time).sorted()[all.count / 2]
        return Cost(allocations: all.map(\.allocations).sorted()[all.count / 2], time: time)
    }

    /// Every host of the crowd waits for an event, and has heard of all that have been.
    func listen() {
        for host in crowd {
            world.send(.getLog(NVME_LOG_LID_CHANGED_NS, bytes: 4096), .toHost(4096), on: host.admin)
            world.send(.event, on: host.admin)
        }
        world.settle()
    }

    /// Lets a command be done, with all that comes of it; returns its answer.
    @discardableResult
    func run(_ row: Row, on queue: InProcessQueue) throws -> InProcessAnswer? {
        let id = world.send(row.command, row.data, on: queue)
        covered.insert(CommandKey(row.command, queueID: queue.queueID))
        try watch(row.name) { row.isHeld || queue.answer(to: id) != nil }
        let answer = queue.answer(to: id)
        #expect(answer?.isSuccess != false, "\(row.name): \(answer?.status ?? .success)")
        return answer
    }

    /// Lets what has been begun be done, with all that comes of it.
    func watch(_ name: String, isOver: () -> Bool) throws {
        if samples[name] == nil { names.append(name) }
        var cost = Cost()
        for _ in 0..<1_000_000 {
            // As a reactor that was woken up: it asks for connections at once.
            for group in world.groups { group.wokeUp() }
            let (before, start) = (allocationsOfThread(), ContinuousClock.now)
            let work = world.poll()
            cost.time = max(cost.time, ContinuousClock.now - start)
            cost.allocations = max(cost.allocations, Int(allocationsOfThread() - before))
            let isBusy = try control?.run { try process.goOn(world) } ?? process.goOn(world)
            guard work == 0, !isBusy, isOver() else { continue }
            return samples[name, default: []].append(cost)
        }
        throw WorldError("no end of \(name); \(world.events.all.suffix(3))")
    }

    // MARK: The world

    private func configure() throws {
        let device = SimulatedDisk.instant()
        try world.change { definition in
            definition.listeners = [EngineWorld.address(4420)]
            // Subsystems that let in any host, and such as name the host that asks.
            definition.subsystems += (0..<size.subsystems).map {
                SubsystemDefinition(
                    nqn: "nqn.2024-01.io.tercet:cost-\(1_000_000 + $0)", serialNumber: "C",
                    access: $0 % 2 == 0 ? .anyHost : .hosts([HostName.plain]))
            }
            // One more is to be made.
            definition[EngineWorld.nqn]?.namespaces += (2..<UInt32(size.namespaces)).map {
                var namespace = EngineWorld.namespace($0, device)
                namespace.anaGroup = $0 % 16 + 1
                return namespace
            }
            definition[EngineWorld.nqn]?.pool = PoolDefinition(
                folder: "/pool", capacity: 1 << 50, maxNamespaces: 65536, blockSize: 512, managers: [HostName.plain],
                namespaces: (1..<UInt32(size.namespaces)).map { CostProcess.namespace($0, isAttached: true) })
            // As many hosts have keys, and only one of them comes.
            var all = Dictionary(
                uniqueKeysWithValues: (1..<size.hosts).map { ("\(HostName.plain)-absent-\($0)", keys) })
            all[Self.keyedHost.nqn] = keys
            definition[EngineWorld.nqn]?.authentication = AuthenticationDefinition(
                keys: all, algorithms: AuthenticationAlgorithms(groups: [.ffdhe2048]))
        }
    }

    /// Hosts are registered with the first namespace; most are gone, and some of those in the middle are there. One more is to
    /// register.
    private func register() throws {
        let present = size.registrants / 2..<size.registrants / 2 + min(20, size.registrants - 1)
        for number in 0..<size.registrants - 1 {
            let name = HostName(nqn: "\(HostName.plain)-registered-\(number)", number: 5000 + number)
            let host = try world.attach(host: name)
            try ReservingHost(host).join(UInt64(number % 2 + 1))
            if !present.contains(number) { host.leave() }
            // The target gives the places of connections that have ended back once in a while.
            if number % 200 == 0 { world.pass(milliseconds: 300) }
        }
        world.pass(milliseconds: 500)
    }
}
