import Base
import BlockInterface
import CLibNVMe
import InProcessTransport
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

typealias EngineHost = Host<EngineWorld>

/// A target on in-process transports: commands in, answers out. No fabric, no thread.
final class EngineWorld: World {
    let target: Target
    let state: DesiredState
    /// By poll group. Hosts connect to the first; the target spreads their queues.
    private let transports: [InProcessTransport]
    var transport: InProcessTransport { transports[0] }
    let groups: [PollGroup]
    let events = TargetEvents()
    private(set) var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private var queues: [InProcessQueue] = []
    typealias Queue = InProcessQueue
    var lastID: UInt16 = 0

    /// - Parameters:
    ///   - nodes: the NUMA nodes of the poll groups; there are as many.
    ///   - namespaces: how many there are; all but the first are on disks that do at once what they are given.
    ///   - device: the first namespace's; 4 MiB of memory in blocks of 512 bytes by default.
    ///   - bootInstance: which run of a daemon this is.
    ///   - surroundings: the process around the target, where it is to be more than a keeper of reservations and pools.
    init(
        _ options: TargetOptions = .small(), groups count: Int = 1, nodes: [Int?]? = nil, namespaces: UInt32 = 1,
        reservations: (any ReservationStore)? = nil, pools: (any PoolKeeper)? = nil, device: (any BlockDevice)? = nil,
        connections: Int = TargetOptions.connections, bootInstance: UInt64 = 7,
        surroundings: (any TargetSurroundings)? = nil
    ) throws {
        let events = events
        target = Target(
            options: options,
            surroundings: surroundings ?? BareSurroundings(reservations: reservations, pools: pools),
            bootInstance: bootInstance,
            now: now,
            observe: { events.record($0) })
        state = DesiredState(target)
        let nodes = nodes ?? [Int?](repeating: nil, count: count)
        transports = nodes.map { _ in InProcessTransport(options, connections: connections) }
        groups = zip(transports, nodes).map { [target] in PollGroup(target: target, transport: $0, node: $1) }
        let device = try device ?? RAMDevice(byteCount: 4 << 20)
        try change { $0.subsystems = [Self.subsystem(device)] }
        for nsid in 1..<namespaces { try add(Self.namespace(nsid + 1, SimulatedDisk.instant())) }
    }

    /// A world whose first device can be held up.
    static func steered(
        _ options: TargetOptions = .small(), groups: Int = 1, namespaces: UInt32 = 1
    ) throws -> (EngineWorld, SimulatedDisk) {
        let disk = SimulatedDisk.instant()
        return (try EngineWorld(options, groups: groups, namespaces: namespaces, device: disk), disk)
    }

    deinit {
        end { for queue in queues where !queue.isClosed { queue.disconnect() } }
        for group in groups { group.close() }
    }

    /// Polls until nothing is to be done, and the condition holds.
    func settle(until isOver: () -> Bool) {
        for _ in 0..<256 {
            // As reactors that were woken up: they ask for connections at once.
            for group in groups { group.wokeUp() }
            for _ in 0..<4096 where poll() == 0 { break }
            if isOver() { return }
        }
    }

    func settle() { settle { true } }

    /// One round of each reactor.
    func poll() -> Int { groups.reduce(0) { $0 + $1.poll(now: now) } }

    /// In steps of 10 ms.
    @discardableResult
    func run(milliseconds: UInt64, until isOver: () -> Bool) -> Bool {
        for _ in 0..<max(1, milliseconds / 10) {
            if isOver() { return true }
            now = now.advanced(byMilliseconds: min(milliseconds, 10))
            settle()
        }
        return isOver()
    }

    /// - Parameters:
    ///   - address: the one of the target's that the host uses.
    ///   - node: the NUMA node of the device there.
    func open(
        queueID: UInt16 = 0, entries: UInt32 = 32, at address: SocketAddress? = nil, node: Int? = nil
    ) -> InProcessQueue {
        let queue = transport.connect(queueID: queueID, entries: entries, localAddress: address, node: node)
        queues.append(queue)
        settle()
        return queue
    }

    func attach(
        ioQueues: UInt16 = 1, host: HostName = .init(), nqn: String = EngineWorld.nqn, keepAlive: UInt32 = 0,
        entries: UInt32 = 32, at address: SocketAddress? = nil
    ) throws -> EngineHost {
        try attach(host, ioQueues: ioQueues, nqn: nqn, keepAlive: keepAlive, entries: entries) {
            open(queueID: $0, entries: $0 == 0 ? 32 : entries, at: address)
        }
    }

    func attached(ioQueues: UInt16 = 1, host: HostName = .init()) throws -> (EngineWorld, EngineHost) {
        (self, try attach(ioQueues: ioQueues, host: host))
    }

    /// An admin queue whose controller is enabled.
    func admin(nqn: String = EngineWorld.nqn, keepAlive: UInt32 = 0) throws -> InProcessQueue {
        try attach(ioQueues: 0, nqn: nqn, keepAlive: keepAlive).admin
    }

    func attachWitness(ioQueues: UInt16) throws -> EngineHost { try attach(ioQueues: ioQueues, host: 0xFE) }

    /// Fetches and answers wait while this is set, as for room in a send queue.
    var isFull = false { didSet { for transport in transports { transport.isFull = isFull } } }

    /// I/O queues of each poll group.
    var ioQueues: [Int] { transports.map(\.connectionCounts.io) }

    /// Buffers of capsules that have not been given back.
    var heldCapsules: Int { transports.reduce(0) { $0 + $1.ports[0].heldCapsules } }
    var transportUse: [String: [Int]] { ["capsules": [heldCapsules]] }
    var isTransportEmpty: Bool { heldCapsules == 0 }

    static func address(_ port: UInt16) -> SocketAddress { SocketAddress(host: "192.0.2.1", port: port)! }

    /// The instance in the vendor specific bytes of Identify Namespace, behind the mark of these targets.
    func instance(_ admin: InProcessQueue) throws -> [UInt8] {
        let page = try identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: admin)
        #expect(Array(page[384..<392]) == [0x32, 0x30, 0x74, 0x65, 0x72, 0x63, 0x65, 0x74])
        return Array(page[392..<400])
    }
}

extension SimulatedDisk {
    /// One that does at once all that it is given to do: its network's time stands still.
    static func instant(blockSize: UInt32 = 512, failing status: BlockStatus? = nil) -> SimulatedDisk {
        let network = SimulatedNetwork(seed: 1)
        let disk = SimulatedDisk("instant", network: network, blockSize: blockSize, blockCount: 8192)
        disk.behaviour.latency = 0...0
        disk.behaviour.failure = status
        return disk
    }
}
