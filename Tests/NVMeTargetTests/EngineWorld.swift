import Base
import BlockInterface
import CLibNVMe
import InProcessTransport
import MemoryBlock
import NVMeTarget
import TargetInterface
import TargetTransport
import Testing

/// A target on in-process transports: commands in, answers out, in a time that the test makes. No fabric, no thread.
final class EngineWorld {
    let target: Target
    let state: DesiredState
    /// By poll group. Hosts connect to the first; the target spreads their queues.
    private let transports: [InProcessTransport]
    var transport: InProcessTransport { transports[0] }
    let groups: [PollGroup]
    let events = TargetEvents()
    private(set) var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private var nextID: UInt16 = 1

    static let nqn = TargetWorld.nqn
    static let hostNQN = "nqn.2014-08.org.nvmexpress:uuid:host"

    /// - Parameter device: the namespace's; 4 MiB of memory in blocks of 512 bytes by default.
    init(
        _ options: TargetOptions = TargetWorld.smallOptions, groups count: Int = 1,
        reservations: (any ReservationStore)? = nil, device: (any BlockDevice)? = nil
    ) throws {
        let events = events
        let target = Target(
            options: options, surroundings: BareSurroundings(reservations: reservations), bootInstance: 7, now: now,
            observe: { events.record($0) })
        self.target = target
        state = DesiredState(target)
        transports = (0..<count).map { _ in InProcessTransport(options) }
        groups = transports.map { PollGroup(target: target, transport: $0) }
        let device = try device ?? RAMDevice(byteCount: 4 << 20)
        try change {
            $0.subsystems = [
                SubsystemDefinition(
                    nqn: Self.nqn, serialNumber: "T1", namespaces: [TargetWorld.namespace(1, device, fill: 0xAB)])
            ]
        }
    }

    /// A world whose device can be held up.
    static func steered(
        _ options: TargetOptions = TargetWorld.smallOptions, groups: Int = 1
    ) throws -> (EngineWorld, SteeredDevice) {
        let device = SteeredDevice()
        return (try EngineWorld(options, groups: groups, device: device), device)
    }

    /// Tells the target to be something else, which it is then.
    func change(_ body: (inout TargetDefinition) -> Void) throws {
        try state.change(body)
        settle()
        // Each step may wait for the reactor.
        for _ in 0..<256 where try !state.proceed() { settle() }
        guard try state.proceed(), state.report.missing.isEmpty else { throw WorldError("\(state.report.missing)") }
    }

    /// The namespaces of the world's subsystem become others.
    func setNamespaces(_ namespaces: NamespaceDefinition...) throws {
        try change { $0[Self.nqn]?.namespaces = namespaces }
    }

    func add(_ namespace: NamespaceDefinition) throws { try change { $0[Self.nqn]?.namespaces.append(namespace) } }

    deinit { for group in groups { group.close() } }

    // MARK: Time

    /// Polls until nothing is to be done.
    func settle() {
        // As reactors that were woken up: they ask for connections at once.
        for group in groups { group.wokeUp() }
        for _ in 0..<4096 where poll() == 0 { return }
    }

    /// One round of each reactor.
    func poll() -> Int { groups.reduce(0) { $0 + $1.poll(now: now) } }

    /// Lets time go by, in steps of 10 ms.
    func pass(milliseconds: UInt64) {
        for _ in 0..<max(1, milliseconds / 10) {
            now = now.advanced(byMilliseconds: min(milliseconds, 10))
            settle()
        }
    }

    /// Lets time go by until the condition holds, or is over.
    func pass(atMost milliseconds: UInt64, until condition: () throws -> Bool) rethrows -> Bool {
        for _ in 0..<milliseconds / 10 {
            if try condition() { return true }
            pass(milliseconds: 10)
        }
        return try condition()
    }

    // MARK: Queues

    /// - Parameter address: the one of the target's that the host uses.
    func open(queueID: UInt16 = 0, entries: UInt32 = 32, at address: SocketAddress? = nil) -> InProcessQueue {
        let queue = transports[0].connect(queueID: queueID, entries: entries, localAddress: address)
        settle()
        return queue
    }

    /// Fetches and answers wait while this is set, as for room in a send queue.
    var isFull = false { didSet { for transport in transports { transport.isFull = isFull } } }

    /// Sends a command; its identifier.
    @discardableResult
    func send(_ command: RawCommand, _ data: InProcessData = .none, on queue: InProcessQueue) -> UInt16 {
        var command = command
        command.id = nextID
        nextID += 1
        queue.send(command.bytes, data)
        return command.id
    }

    /// A command's answer and its data, if it has been answered.
    func answer(to id: UInt16, on queue: InProcessQueue) -> (completion: RawCompletion, data: [UInt8])? {
        settle()
        let found = queue.answers.first { RawCompletion($0.entry, invalidatedKey: nil).commandID == id }
        return found.map { (RawCompletion($0.entry, invalidatedKey: nil), $0.data) }
    }

    func status(of id: UInt16, on queue: InProcessQueue) -> RawStatus? { answer(to: id, on: queue)?.completion.status }

    @discardableResult
    func execute(
        _ command: RawCommand, _ data: InProcessData = .none, on queue: InProcessQueue
    ) throws -> (completion: RawCompletion, data: [UInt8]) {
        let id = send(command, data, on: queue)
        guard let answer = answer(to: id, on: queue) else {
            throw WorldError("command \(id) is not answered; \(events.all)")
        }
        return answer
    }

    // MARK: Hosts

    /// Connect and its data, each field as a test wants it.
    func connect(_ connect: EngineConnect, on queue: InProcessQueue) throws -> RawCompletion {
        try execute(connect.command, .fromHost(connect.data), on: queue).completion
    }

    /// An admin queue whose controller is enabled.
    func admin(
        nqn: String = EngineWorld.nqn, keepAlive: UInt32 = 0, host: EngineHost.Name = .init(),
        at address: SocketAddress? = nil
    ) throws -> (queue: InProcessQueue, id: UInt16) {
        let queue = open(at: address)
        let reply = try connect(
            EngineConnect(nqn: nqn, keepAlive: keepAlive, hostNQN: host.nqn, hostID: host.id), on: queue)
        guard reply.isSuccess else { throw WorldError("Connect: \(reply.status)") }
        try execute(.configure(0x0046_0001), on: queue)
        return (queue, UInt16(truncatingIfNeeded: reply.dword0))
    }

    /// The first bytes of a log page.
    func log(_ page: nvme_cmd_get_log_lid, _ bytes: Int, at offset: Int = 0, on admin: InProcessQueue) throws -> [UInt8]
    {
        let command = RawCommand.getLog(page, bytes: bytes).with(12, UInt32(offset))
        let answer = try execute(command, .toHost(bytes), on: admin)
        guard answer.completion.isSuccess else { throw WorldError("log \(page): \(answer.completion.status)") }
        return answer.data
    }

    static func address(_ port: UInt16) -> SocketAddress { SocketAddress(host: "192.0.2.1", port: port)! }

    /// A host with an enabled controller and I/O queues.
    func attach(
        ioQueues: UInt16 = 1, host: EngineHost.Name = .init(), nqn: String = EngineWorld.nqn, keepAlive: UInt32 = 0,
        entries: UInt32 = 32, at address: SocketAddress? = nil
    ) throws -> EngineHost {
        let (admin, id) = try admin(nqn: nqn, keepAlive: keepAlive, host: host, at: address)
        let count = UInt32(ioQueues - 1)
        try execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, count << 16 | count), on: admin)
        let queues = try (1...ioQueues).map {
            try io(id, queueID: $0, host: host, nqn: nqn, entries: entries, at: address)
        }
        return EngineHost(world: self, name: host, admin: admin, io: queues, controllerID: id)
    }

    /// An I/O queue of a controller.
    func io(
        _ controllerID: UInt16, queueID: UInt16 = 1, host: EngineHost.Name = .init(), nqn: String = EngineWorld.nqn,
        entries: UInt32 = 32, at address: SocketAddress? = nil
    ) throws -> InProcessQueue {
        let queue = open(queueID: queueID, entries: entries, at: address)
        let reply = try connect(
            EngineConnect(
                nqn: nqn, controllerID: controllerID, queueID: queueID, sqSize: UInt16(entries - 1), hostNQN: host.nqn,
                hostID: host.id), on: queue)
        guard reply.isSuccess else { throw WorldError("Connect of an I/O queue: \(reply.status)") }
        return queue
    }

    // MARK: Audits

    /// The used places, equal before and after something that leaves nothing behind.
    struct Pools: Equatable {
        var uses: [PoolUse]
        var heldCapsules: Int
        var controllers: [Int]
        var subsystemControllers: [Int]
    }

    var pools: Pools {
        Pools(
            uses: groups.flatMap(\.poolUse), heldCapsules: heldCapsules, controllers: groups.map(\.heldControllers),
            subsystemControllers: target.subsystems.map { $0.controllerCount })
    }

    /// Buffers of capsules that have not been given back.
    var heldCapsules: Int { transports.reduce(0) { $0 + $1.ports[0].heldCapsules } }

    /// The used places when nothing is under way, with all that a reactor makes only once already made.
    func baseline() throws -> Pools {
        if groups.contains(where: { $0.poolUse.isEmpty }) {
            try attach(ioQueues: UInt16(groups.count), host: 0xFF).leave()
        }
        pass(milliseconds: 500)
        return pools
    }

    func expectPools(
        _ expected: Pools, _ what: String = "", within milliseconds: UInt64 = 2000,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        _ = pass(atMost: milliseconds) { pools == expected }
        #expect(pools == expected, "\(what)", sourceLocation: sourceLocation)
    }

    /// Everything is back in its pools when the hosts' queues idle.
    func expectIdle(sourceLocation: SourceLocation = #_sourceLocation) {
        settle()
        for use in groups.flatMap(\.poolUse) {
            #expect(use.requests.filter { $0.key != .held }.isEmpty, sourceLocation: sourceLocation)
            #expect(use.bytesInUse == 0 && use.lateCapsules == 0, sourceLocation: sourceLocation)
        }
    }
}

extension [UInt8] {
    /// A number of so many bytes, the lowest first.
    func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * UInt64($1)) }
    }
}

/// A host with its queues.
struct EngineHost {
    /// Its NQN, and its identifier of one value in all bytes.
    struct Name: ExpressibleByIntegerLiteral {
        let nqn: String
        let id: [UInt8]

        init(_ number: UInt8? = nil) {
            nqn = EngineWorld.hostNQN + (number.map { "-\($0)" } ?? "")
            id = [UInt8](repeating: number ?? 7, count: 16)
        }
        init(nqn: String, id: [UInt8]) { (self.nqn, self.id) = (nqn, id) }
        init(integerLiteral value: UInt8) { self.init(value) }
    }

    let world: EngineWorld
    let name: Name
    let admin: InProcessQueue
    let io: [InProcessQueue]
    let controllerID: UInt16

    var queues: [InProcessQueue] { [admin] + io }
    var isGone: Bool { queues.allSatisfy(\.isClosed) }
    var isThere: Bool { !queues.contains(where: \.isClosed) }

    /// All its queues go at once.
    func leave() {
        for queue in queues { queue.disconnect() }
        world.settle()
    }

    @discardableResult
    func execute(_ command: RawCommand, _ data: InProcessData = .none, queue: Int = 0) throws -> RawStatus {
        try world.execute(command, data, on: io[queue]).completion.status
    }

    func manage(_ command: RawCommand, _ data: InProcessData = .none) throws -> RawCompletion {
        try world.execute(command, data, on: admin).completion
    }

    @discardableResult
    func write(_ value: UInt8, at lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) throws
        -> RawStatus
    {
        try execute(
            .io(nvme_cmd_write, lba, blocks, nsid: nsid), .fromHost([UInt8](repeating: value, count: 512 * blocks)),
            queue: queue)
    }

    func read(_ lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1) throws -> [UInt8] {
        try world.execute(.io(nvme_cmd_read, lba, blocks, nsid: nsid), .toHost(512 * blocks), on: io[0]).data
    }

    /// It is still served: it writes and reads it back.
    func expectServed(_ what: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
        do {
            let value = UInt8.random(in: 1...255)
            #expect(try write(value, at: 64) == .success, "\(what)", sourceLocation: sourceLocation)
            #expect(try read(64).allSatisfy { $0 == value }, "\(what)", sourceLocation: sourceLocation)
        } catch { Issue.record("another host is not served, \(what): \(error)", sourceLocation: sourceLocation) }
    }
}
