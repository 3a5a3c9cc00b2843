import Base
import BlockInterface
import FabricInterface
import MemoryBlock
import NVMeTarget
import RDMATransport
import Simulation
import TargetInterface

typealias AttachedHost = Host<TargetWorld>

/// A target with its poll groups and hosts on one simulated network.
final class TargetWorld: World {
    let network: SimulatedNetwork
    let simulation: Simulation
    let targetDevice: SimulatedDevice
    let target: Target
    let state: DesiredState
    let groups: [PollGroup]
    private let fabrics: [SimulatedFabric]
    let address = EngineWorld.address(4420)
    let events = TargetEvents()
    private(set) var hosts: [RawHost] = []
    typealias Queue = RawQueue
    var nextID: UInt16 = 1

    /// A world whose namespace is on a simulated disk, which can be held up.
    static func onDisk(
        _ options: TargetOptions = .small(), groups: Int = 1, seed: UInt64 = 1
    ) throws -> (TargetWorld, SimulatedDisk) {
        let network = SimulatedNetwork(seed: seed)
        let disk = SimulatedDisk("disk", network: network, blockCount: 8192)
        return (try TargetWorld(options, groups: groups, network: network, device: disk), disk)
    }

    /// - Parameter limits: those of the target's RDMA device.
    init(
        _ options: TargetOptions = .small(), groups count: Int = 1,
        network: SimulatedNetwork = SimulatedNetwork(seed: 1), device: (any BlockDevice)? = nil,
        limits change: (inout DeviceLimits) -> Void = { _ in }
    ) throws {
        self.network = network
        simulation = Simulation(network: network)
        var limits = DeviceLimits.simulated
        change(&limits)
        let targetDevice = network.makeDevice("target", addresses: ["192.0.2.1"], limits: limits)
        self.targetDevice = targetDevice
        let events = events
        target = Target(
            options: options, surroundings: BareSurroundings(reservations: nil), bootInstance: 7, now: network.now,
            observe: { events.record($0) })
        state = DesiredState(target)
        fabrics = (0..<count).map { _ in SimulatedFabric([targetDevice]) }
        groups = fabrics.map { [target] in PollGroup(target: target, transport: RDMATargetTransport($0, options)) }
        for group in groups { simulation.add(group) }
        let device = try device ?? RAMDevice(byteCount: 4 << 20)
        try self.change {
            $0.listeners = [address]
            $0.subsystems = [Self.subsystem(device)]
        }
    }

    func addHost() -> RawHost {
        let number = hosts.count + 1
        let host = RawHost(number, network.makeDevice("host\(number)", addresses: ["192.0.2.\(10 + number)"]))
        simulation.add(host)
        hosts.append(host)
        return host
    }

    // MARK: Time

    func run(milliseconds: UInt64, until isOver: () -> Bool) -> Bool {
        simulation.run(forNanoseconds: milliseconds * 1_000_000, until: isOver)
    }

    func settle(until isOver: () -> Bool) { _ = run(milliseconds: 2000, until: isOver) }
    func pass(milliseconds: UInt64) { simulation.run(forNanoseconds: milliseconds * 1_000_000) }

    /// Lets the world go on until something holds; the test fails where it does not within a virtual time.
    func wait(_ what: String, milliseconds: UInt64 = 2000, until condition: () -> Bool) throws {
        guard run(milliseconds: milliseconds, until: condition) else {
            throw WorldError("\(what) did not come within \(milliseconds) ms, seed \(network.seed); \(events.all)")
        }
    }

    /// How long a message is on its way, in milliseconds; as usual again with `nil`.
    func slowDown(milliseconds: UInt64?) {
        network.delays = SimulatedDelays()
        if let milliseconds { network.delays.transit = milliseconds * 1_000_000...milliseconds * 1_000_000 }
    }

    // MARK: Hosts

    func open(_ host: RawHost, _ change: (inout RawQueueOptions) -> Void = { _ in }) throws -> RawQueue {
        let queue = try host.open(address, change)
        try wait("a queue pair") { queue.accepted != nil || queue.end != nil }
        return queue
    }

    /// - Parameter change: the options of the I/O queues.
    func attach(
        _ host: RawHost? = nil, ioQueues: UInt16 = 1, nqn: String = TargetWorld.nqn, keepAlive: UInt32 = 0,
        entries: UInt32 = 32, _ change: (inout RawQueueOptions) -> Void = { _ in }
    ) throws -> AttachedHost {
        let host = host ?? addHost()
        return try attach(host.name, ioQueues: ioQueues, nqn: nqn, keepAlive: keepAlive, entries: entries) { id in
            let queue = try open(host) {
                if id > 0 {
                    ($0.queueID, $0.hostSendQueueSize) = (id, UInt16(entries - 1))
                    change(&$0)
                }
            }
            guard queue.isOpen else { throw WorldError("queue \(id) was refused: \(queue.rejection ?? [])") }
            return queue
        }
    }

    func attachWitness(ioQueues: UInt16) throws -> AttachedHost { try attach(ioQueues: ioQueues) }

    /// Sends a capsule as it stands, and bytes behind the command.
    ///
    /// - Parameter length: bytes of the capsule that are sent, where they are not all.
    @discardableResult
    func send(_ command: RawCommand, behind data: [UInt8], length: Int? = nil, on queue: RawQueue) -> UInt16 {
        var command = command
        command.id = takeID()
        queue.send(command, behind: data, length: length)
        return command.id
    }

    func execute(_ command: RawCommand, behind data: [UInt8], on queue: RawQueue) throws -> RawStatus {
        guard let status = status(of: send(command, behind: data, on: queue), on: queue) else {
            throw WorldError("the queue ended: \(queue.end ?? ""); \(events.all)")
        }
        return status
    }

    var transportUse: [String: [Int]] {
        [
            "receives": fabrics.flatMap { $0.contexts.map(\.postedSharedReceives) },
            "queue pairs": [targetDevice.existingQueuePairs], "loans": groups.map(\.loans),
            "regions": [targetDevice.registeredRegions - groups.reduce(0) { $0 + $1.keptRegions }],
        ]
    }
}

extension AttachedHost {
    var host: RawHost { admin.host }
}
