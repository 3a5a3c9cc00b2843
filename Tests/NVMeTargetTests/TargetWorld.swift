import Base
import BlockInterface
import CLibNVMe
import FabricInterface
import MemoryBlock
import NVMeTarget
import RDMATransport
import Reactor
import Simulation
import Synchronization
import TargetInterface
import Testing

/// An unexpected finding of a test that cannot go on.
struct WorldError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Events that the target told its operator.
final class TargetEvents: Sendable {
    private let lines = Mutex<[String]>([])
    func record(_ event: TargetEvent) { lines.withLock { $0.append("\(event)") } }
    var all: [String] { lines.withLock { $0 } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
}

/// A target with its poll groups and hosts on one simulated network.
final class TargetWorld {
    let network: SimulatedNetwork
    let simulation: Simulation
    let targetDevice: SimulatedDevice
    let target: Target
    let state: DesiredState
    let groups: [PollGroup]
    private let fabrics: [SimulatedFabric]
    let address: SocketAddress
    let events = TargetEvents()
    let disk: any BlockDevice
    private var hostCount = 0
    private(set) var hosts: [RawHost] = []

    /// Literally, as the discovery log of NVMe names it.
    static let discovery = "nqn.2014-08.org.nvmexpress.discovery"
    static let nqn = "nqn.2024-01.io.tercet:volume"

    static let smallOptions = TargetOptions(
        queueDepth: 32, maxIOQueues: 8, sharedReceiveEntries: 128, requests: 256, dataMemory: 8 << 20,
        controlMemory: 256 << 10,
        maxNamespaces: 16)

    /// A world whose namespace is on a simulated disk, which can be held up.
    static func onDisk(
        options: TargetOptions = TargetWorld.smallOptions, groups: Int = 1, seed: UInt64 = 1
    ) throws -> (TargetWorld, SimulatedDisk) {
        let world = try TargetWorld(options: options, groups: groups, seed: seed) {
            SimulatedDisk("disk", network: $0, blockCount: 8192)
        }
        guard let disk = world.disk as? SimulatedDisk else { throw WorldError("no disk") }
        return (world, disk)
    }

    init(
        options: TargetOptions = TargetWorld.smallOptions, groups count: Int = 1, seed: UInt64 = 1,
        limits: DeviceLimits = .simulated, reservations: (any ReservationStore)? = nil,
        device: ((SimulatedNetwork) -> any BlockDevice)? = nil
    ) throws {
        network = SimulatedNetwork(seed: seed)
        simulation = Simulation(network: network)
        targetDevice = network.makeDevice("target", addresses: ["192.0.2.1"], limits: limits)
        let disk = try device?(network) ?? RAMDevice(byteCount: 4 << 20)
        self.disk = disk
        let events = events
        let target = Target(
            options: options, surroundings: BareSurroundings(reservations: reservations), bootInstance: 7,
            now: network.now, observe: { events.record($0) })
        self.target = target
        state = DesiredState(target)
        let device = targetDevice
        let fabrics = (0..<count).map { _ in SimulatedFabric([device]) }
        self.fabrics = fabrics
        groups = fabrics.map { PollGroup(target: target, transport: RDMATargetTransport($0, options)) }
        address = SocketAddress(host: "192.0.2.1", port: 4420)!
        for group in groups { simulation.add(group) }
        try change {
            $0.listeners = [address]
            $0.subsystems = [
                SubsystemDefinition(
                    nqn: Self.nqn, serialNumber: "T1", namespaces: [Self.namespace(1, disk, fill: 0xAB)])
            ]
        }
    }

    /// A namespace whose UUID has one value in all its bytes: its number, unless told otherwise.
    static func namespace(_ nsid: UInt32, _ device: any BlockDevice, fill: UInt8? = nil) -> NamespaceDefinition {
        let uuid = [UInt8](repeating: fill ?? UInt8(truncatingIfNeeded: nsid), count: 16)
        return NamespaceDefinition(nsid: nsid, backing: .device(device), identity: BlockIdentity(uuid: uuid))
    }

    /// Tells the target to be something else, and waits until it is.
    func change(_ body: (inout TargetDefinition) -> Void) throws {
        try state.change(body)
        try wait("the change") { (try? state.proceed()) == true }
        guard state.report.missing.isEmpty else { throw WorldError("\(state.report.missing)") }
    }

    /// Adds a namespace to the world's subsystem.
    func add(_ namespace: NamespaceDefinition) throws { try change { $0[Self.nqn]?.namespaces.append(namespace) } }

    /// Removes a namespace of the world's subsystem.
    func remove(_ nsid: UInt32) throws { try change { $0[Self.nqn]?.namespaces.removeAll { $0.nsid == nsid } } }

    func addHost() -> RawHost {
        hostCount += 1
        let device = network.makeDevice("host\(hostCount)", addresses: ["192.0.2.\(10 + hostCount)"])
        let host = RawHost("host-\(hostCount)", device)
        simulation.add(host)
        hosts.append(host)
        return host
    }

    // MARK: Time

    /// Lets the world go on until something holds; a failure of the test where it does not within a virtual time.
    func wait(
        _ what: String, milliseconds: UInt64 = 2000, until condition: () -> Bool
    ) throws {
        guard simulation.run(forNanoseconds: milliseconds * 1_000_000, until: condition) else {
            throw WorldError("\(what) did not come within \(milliseconds) ms, seed \(network.seed); \(events.all)")
        }
    }

    func pass(milliseconds: UInt64) { simulation.run(forNanoseconds: milliseconds * 1_000_000) }

    // MARK: Hosts

    func open(_ host: RawHost, _ options: RawQueueOptions = RawQueueOptions()) throws -> RawQueue {
        let queue = try host.open(address, options)
        try wait("a queue pair") { queue.accepted != nil || queue.end != nil }
        return queue
    }

    func execute(_ queue: RawQueue, _ command: RawCommand, data: [UInt8] = []) throws -> RawCompletion {
        let id = queue.send(command, data: data)
        return try completion(of: id, queue)
    }

    func completion(of id: UInt16, _ queue: RawQueue) throws -> RawCompletion {
        var found: RawCompletion?
        try wait("the completion of command \(id)") {
            found = queue.take(id)
            return found != nil || queue.end != nil
        }
        guard let found else { throw WorldError("the queue ended: \(queue.end ?? ""); \(events.all)") }
        return found
    }

    /// An admin queue whose controller is enabled.
    func admin(
        _ host: RawHost, nqn: String = TargetWorld.nqn, keepAlive: UInt32 = 0, options: RawQueueOptions = .init()
    ) throws -> (queue: RawQueue, controllerID: UInt16) {
        let queue = try open(host, options)
        let reply = try execute(queue, RawConnect(host, nqn: nqn, keepAlive: keepAlive).command)
        guard reply.isSuccess else { throw WorldError("Connect: \(reply.status)") }
        try enable(queue)
        return (queue, UInt16(truncatingIfNeeded: reply.dword0))
    }

    /// CC.EN with IOSQES 6 and IOCQES 4.
    func enable(_ queue: RawQueue) throws {
        let reply = try execute(queue, .configure(0x0046_0001))
        guard reply.isSuccess else { throw WorldError("CC: \(reply.status)") }
    }

    /// An I/O queue of a controller, after Number of Queues.
    func io(
        _ host: RawHost, _ controllerID: UInt16, queueID: UInt16 = 1, options: RawQueueOptions = .init(),
        sqSize: UInt16 = 31
    ) throws -> RawQueue {
        var options = options
        options.queueID = queueID
        let queue = try open(host, options)
        guard queue.isOpen else { throw WorldError("the I/O queue was refused: \(queue.rejection ?? [])") }
        let connect = RawConnect(host, controllerID: controllerID, queueID: queueID, sqSize: sqSize)
        let reply = try execute(queue, connect.command)
        guard reply.isSuccess else { throw WorldError("Connect of an I/O queue: \(reply.status)") }
        return queue
    }

    /// A host with an admin queue and I/O queues.
    func attach(
        _ host: RawHost? = nil, ioQueues: Int = 1, keepAlive: UInt32 = 0, options: RawQueueOptions = .init(),
        sqSize: UInt16 = 31, hostSendQueueSize: UInt16 = 31
    ) throws -> AttachedHost {
        let host = host ?? addHost()
        var options = options
        options.hostSendQueueSize = hostSendQueueSize
        let (admin, id) = try admin(host, keepAlive: keepAlive)
        let count = UInt32(ioQueues - 1)
        let granted = try execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, count << 16 | count))
        guard granted.isSuccess else { throw WorldError("Number of Queues: \(granted.status)") }
        let queues = try (1...ioQueues).map {
            try io(host, id, queueID: UInt16($0), options: options, sqSize: sqSize)
        }
        return AttachedHost(host: host, admin: admin, controllerID: id, io: queues)
    }

    // MARK: Audits

    /// The free places in the pools of all poll groups.
    var pools: PoolState {
        var state = PoolState()
        state.uses = groups.map(\.poolUse)
        state.controllers = groups.map(\.heldControllers)
        state.receives = fabrics.flatMap { $0.contexts.map(\.postedSharedReceives) }
        state.devicePairs = targetDevice.existingQueuePairs
        state.regions = targetDevice.registeredRegions - groups.reduce(0) { $0 + $1.keptRegions }
        state.loans = groups.map(\.loans)
        state.subsystemControllers = target.subsystems.map { $0.controllerCount }
        return state
    }

    /// The free places when nothing is under way, with all that a reactor makes only once already made.
    func baseline() throws -> PoolState {
        if groups.contains(where: { $0.poolUse.isEmpty }) {
            let temporary = try attach(ioQueues: groups.count)
            temporary.host.destroyAll()
        }
        pass(milliseconds: 500)
        return pools
    }

    func audit() throws -> Audit { Audit(world: self, witness: try attach(), before: try baseline()) }

    /// Waits until the pools are what they were; what differs is a failure of the test.
    func expectPools(
        _ expected: PoolState, _ what: String = "", withinMilliseconds limit: UInt64 = 2000,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        simulation.run(forNanoseconds: limit * 1_000_000) { pools == expected }
        #expect(pools == expected, "\(what), seed \(network.seed)", sourceLocation: sourceLocation)
    }

    /// A host is still served: it writes a pattern and reads it back.
    func expectServed(
        _ attached: AttachedHost, _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) {
        do {
            let value = UInt8.random(in: 1...255, using: &network.random)
            let offset = attached.scratch(4096)
            attached.host.fill(offset, value, count: 4096)
            let write = RawCommand.io(nvme_cmd_write, 64, 8)
            let written = try execute(attached.io[0], write.at(attached.host, offset, 4096))
            #expect(written.status == .success, "\(what)", sourceLocation: sourceLocation)
            attached.host.fill(offset, 0, count: 4096)
            let read = RawCommand.io(nvme_cmd_read, 64, 8)
            let done = try execute(attached.io[0], read.at(attached.host, offset, 4096))
            #expect(done.status == .success, "\(what)", sourceLocation: sourceLocation)
            let isRight = attached.host.memory[offset..<offset + 4096].allSatisfy { $0 == value }
            #expect(isRight, "another host reads what it wrote, \(what)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("another host is not served, \(what): \(error)", sourceLocation: sourceLocation)
        }
    }
}

/// Something is done to a world to which no other host falls victim, and that leaves nothing behind.
struct Audit {
    let world: TargetWorld
    let witness: AttachedHost
    let before: PoolState

    func end(
        _ what: String = "", withinMilliseconds limit: UInt64 = 2000, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        world.expectPools(before, what, withinMilliseconds: limit, sourceLocation: sourceLocation)
        world.expectServed(witness, what, sourceLocation: sourceLocation)
    }
}

/// The free and the used places: equal before and after something that leaves nothing behind.
struct PoolState: Equatable {
    var uses: [[PoolUse]] = []
    var receives: [Int] = []
    var controllers: [Int] = []
    var devicePairs = 0
    var regions = 0
    var loans: [Int] = []
    var subsystemControllers: [Int] = []
}

/// A host with its queues.
final class AttachedHost {
    let host: RawHost
    let admin: RawQueue
    let controllerID: UInt16
    let io: [RawQueue]
    private var scratchOffset: Int?

    init(host: RawHost, admin: RawQueue, controllerID: UInt16, io: [RawQueue]) {
        self.host = host
        self.admin = admin
        self.controllerID = controllerID
        self.io = io
    }

    /// Memory for data, the same each time.
    func scratch(_ bytes: Int) -> Int {
        if let scratchOffset { return scratchOffset }
        let offset = host.allocate(1 << 20)
        scratchOffset = offset
        return offset
    }
}
