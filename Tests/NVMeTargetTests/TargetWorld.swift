import BlockInterface
import FabricInterface
import MemoryBlock
import NVMeTarget
import RDMATransport
import Simulation
import TargetInterface
import Testing

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
    private var hosts: [RawHost] = []
    private let sharedReceives: Int
    typealias Queue = RawQueue
    var lastID: UInt16 = 0

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
        sharedReceives = options.sharedReceiveEntries
        simulation = Simulation(network: network)
        var limits = DeviceLimits.simulated
        change(&limits)
        targetDevice = network.makeDevice("target", addresses: ["192.0.2.1"], limits: limits)
        let events = events
        target = Target(
            options: options, surroundings: BareSurroundings(reservations: nil), bootInstance: 7, now: network.now,
            observe: { events.record($0) })
        state = DesiredState(target)
        fabrics = (0..<count).map { [targetDevice] _ in SimulatedFabric([targetDevice]) }
        groups = fabrics.map { [target] in PollGroup(target: target, transport: RDMATargetTransport($0, options)) }
        for group in groups { simulation.add(group) }
        let device = try device ?? RAMDevice(byteCount: 4 << 20)
        try self.change {
            $0.listeners = [address]
            $0.subsystems = [Self.subsystem(device)]
        }
    }

    deinit { end { for host in hosts { host.destroyAll() } } }

    var loans: Int { groups.reduce(0) { $0 + $1.loans } }

    func addHost() -> RawHost {
        let number = hosts.count + 1
        let device = network.makeDevice("host\(number)", addresses: ["192.0.2.\(10 + number)"])
        let host = RawHost(number, device)
        hosts.append(host)
        simulation.add(host)
        return host
    }

    @discardableResult
    func run(milliseconds: UInt64, until isOver: () -> Bool) -> Bool {
        simulation.run(forNanoseconds: milliseconds * 1_000_000, until: isOver)
    }

    func settle(until isOver: () -> Bool) { run(milliseconds: 2000, until: isOver) }

    /// Lets the world go on until something holds; the test fails where it does not within a virtual time.
    func wait(_ what: String, milliseconds: UInt64 = 2000, until condition: () -> Bool) throws {
        guard run(milliseconds: milliseconds, until: condition) else {
            throw WorldError("\(what) did not come within \(milliseconds) ms, seed \(network.seed); \(events.all)")
        }
    }

    /// How long a message is on its way, in milliseconds; as usual again with `nil`.
    func slowDown(milliseconds: UInt64?) {
        let usual = SimulatedDelays().transit
        network.delays.transit = milliseconds.map { $0 * 1_000_000...$0 * 1_000_000 } ?? usual
    }

    func open(_ host: RawHost, _ change: (RawQueue) -> Void = { _ in }) throws -> RawQueue {
        let queue = try host.open(address, change)
        try wait("a queue pair") { queue.accepted != nil || queue.end != nil }
        return queue
    }

    /// - Parameter change: the options of the I/O queues.
    func attach(
        _ host: RawHost? = nil, ioQueues: UInt16 = 1, nqn: String = TargetWorld.nqn, keepAlive: UInt32 = 0,
        entries: UInt32 = 32, _ change: (RawQueue) -> Void = { _ in }
    ) throws -> AttachedHost {
        let host = host ?? addHost()
        return try attach(host.name, ioQueues: ioQueues, nqn: nqn, keepAlive: keepAlive, entries: entries) { id in
            let queue = try open(host) {
                if id > 0 {
                    ($0.queueID, $0.hostSendQueueSize) = (id, UInt16(entries - 1))
                    change($0)
                }
            }
            guard queue.isOpen else { throw WorldError("queue \(id) was refused: \(queue.rejection ?? [])") }
            return queue
        }
    }

    func attached() throws -> (TargetWorld, AttachedHost) { (self, try attach()) }

    func attachWitness(ioQueues: UInt16) throws -> AttachedHost { try attach(ioQueues: ioQueues) }

    /// - Parameter length: bytes of the capsule that are sent, where they are not all.
    @discardableResult
    func send(_ command: RawCommand, behind data: [UInt8], length: Int? = nil, on queue: RawQueue) -> UInt16 {
        lastID &+= 1
        queue.send(command.with(id: lastID), behind: data, length: length)
        return lastID
    }

    func execute(_ command: RawCommand, behind data: [UInt8], on queue: RawQueue) throws -> RawStatus {
        let id = send(command, behind: data, on: queue)
        return try #require(status(of: id, on: queue), "the queue ended: \(queue.end ?? ""); \(events.all)")
    }

    var transportUse: [String: [Int]] {
        [
            "receives": fabrics.flatMap { $0.contexts.map(\.postedSharedReceives) },
            "queue pairs": [targetDevice.existingQueuePairs], "loans": groups.map(\.loans),
            "regions": [targetDevice.registeredRegions - groups.reduce(0) { $0 + $1.keptRegions }],
        ]
    }

    /// A reactor has three registered regions for itself.
    var isTransportEmpty: Bool {
        let contexts = fabrics.flatMap(\.contexts)
        return contexts.allSatisfy { $0.postedSharedReceives == sharedReceives }
            && transportUse["regions"] == [3 * contexts.count] && transportUse["queue pairs"] == [0] && loans == 0
    }
}

extension AttachedHost {
    var host: RawHost { admin.host }
}
