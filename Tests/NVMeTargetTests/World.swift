import Base
import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeSpec
import NVMeTarget
import Synchronization
import TargetInterface
import Testing

/// A target and its hosts on one transport, in a time that the test makes.
protocol World: AnyObject {
    associatedtype Queue: HostQueue
    var target: Target { get }
    var state: DesiredState { get }
    var groups: [PollGroup] { get }
    var events: TargetEvents { get }
    /// The identifier of the last command.
    var lastID: UInt16 { get set }
    var transportUse: [String: [Int]] { get }
    /// The transport has everything back that it has for hosts.
    var isTransportEmpty: Bool { get }

    /// Lets time go by until the condition holds, or is over. Returns whether it holds.
    @discardableResult
    func run(milliseconds: UInt64, until isOver: () -> Bool) -> Bool
    /// Lets the world go on until the condition holds, for as long as may come what makes it hold.
    func settle(until isOver: () -> Bool)
    /// A host that no test names.
    func attachWitness(ioQueues: UInt16) throws -> Host<Self>
}

/// A queue of a host: commands out, answers in.
protocol HostQueue: AnyObject {
    func send(_ entry: [UInt8], _ data: InProcessData)
    var answers: [InProcessAnswer] { get }
    /// It has ended, or was never accepted.
    var isClosed: Bool { get }
    /// The host goes away.
    func disconnect()
}

extension InProcessQueue: HostQueue {}

extension HostQueue {
    func answer(to id: UInt16) -> InProcessAnswer? { answers.first { $0.commandID == id } }
}

/// An unexpected finding of a test that cannot go on.
struct WorldError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Events that the target told its operator. They become text when they are asked for, as in the daemon: not on a reactor.
final class TargetEvents: Sendable {
    private let events = Mutex<[TargetEvent]>([])
    func record(_ event: TargetEvent) { events.withLock { $0.append(event) } }
    var all: [String] { events.withLock { $0 }.map { "\($0)" } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
}

extension TargetOptions {
    /// Those of a small target, changed as a test wants them.
    static func small(_ change: (inout TargetOptions) -> Void = { _ in }) -> TargetOptions {
        var options = TargetOptions(
            queueDepth: 32, maxIOQueues: 8, sharedReceiveEntries: 128, requests: 256, dataMemory: 8 << 20,
            controlMemory: 256 << 10, maxNamespaces: 16)
        change(&options)
        return options
    }
}

extension World {
    /// Literally, as the discovery log of NVMe names it.
    static var discovery: String { "nqn.2014-08.org.nvmexpress.discovery" }
    static var nqn: String { "nqn.2024-01.io.tercet:volume" }

    /// A namespace whose UUID holds its number, and another one for another `fill`.
    static func namespace(_ nsid: UInt32, _ device: any BlockDevice, fill: UInt8 = 9) -> NamespaceDefinition {
        let identity = BlockIdentity(uuid: little(nsid, 8) + [UInt8](repeating: fill, count: 8))
        return NamespaceDefinition(nsid: nsid, backing: .device(device), identity: identity)
    }

    /// The subsystem of each world, with one namespace.
    static func subsystem(_ device: any BlockDevice) -> SubsystemDefinition {
        SubsystemDefinition(nqn: nqn, serialNumber: "T1", namespaces: [namespace(1, device)])
    }

    /// Tells the target to be something else, which it is then.
    func change(_ body: (inout TargetDefinition) -> Void) throws {
        try state.change(body)
        try proceed()
        guard state.report.missing.isEmpty else { throw WorldError("\(state.report.missing)") }
    }

    /// Waits until all has been brought about that can be.
    func proceed() throws {
        settle { (try? state.proceed()) == true }
        guard try state.proceed() else { throw WorldError("the change has not come; \(events.all.suffix(5))") }
    }

    func setNamespaces(_ all: NamespaceDefinition...) throws { try change { $0[Self.nqn]?.namespaces = all } }
    func add(_ namespace: NamespaceDefinition) throws { try change { $0[Self.nqn]?.namespaces.append(namespace) } }

    /// The state of group 1, at one listener or at all.
    func setANAState(_ state: ANAState, at listener: SocketAddress? = nil) throws {
        try change { $0[Self.nqn]?.anaStates[ANAGroupPlace(group: 1, listener: listener)] = state }
    }

    func pass(milliseconds: UInt64) { run(milliseconds: milliseconds) { false } }

    // MARK: Commands

    /// Sends a command; its identifier.
    @discardableResult
    func send(_ command: RawCommand, _ data: InProcessData = .none, on queue: Queue) -> UInt16 {
        lastID &+= 1
        queue.send(command.with(id: lastID).bytes, data)
        return lastID
    }

    @discardableResult
    func send(_ connect: RawConnect, on queue: Queue) -> UInt16 {
        send(connect.command, .fromHost(connect.data), on: queue)
    }

    func answer(to id: UInt16, on queue: Queue) -> InProcessAnswer? {
        settle { queue.answer(to: id) != nil || queue.isClosed }
        return queue.answer(to: id)
    }

    func status(of id: UInt16, on queue: Queue) -> RawStatus? { answer(to: id, on: queue)?.status }

    @discardableResult
    func execute(_ command: RawCommand, _ data: InProcessData = .none, on queue: Queue) throws -> InProcessAnswer {
        let id = send(command, data, on: queue)
        if let answer = answer(to: id, on: queue) { return answer }
        throw WorldError("command \(id) is not answered; \(events.all.suffix(5))")
    }

    /// Executes a command that has to succeed.
    @discardableResult
    func succeed(_ command: RawCommand, _ data: InProcessData = .none, on queue: Queue) throws -> InProcessAnswer {
        let answer = try execute(command, data, on: queue)
        guard answer.isSuccess else { throw WorldError("\(command.bytes) ended with \(answer.status)") }
        return answer
    }

    func connect(_ connect: RawConnect, on queue: Queue) throws -> InProcessAnswer {
        try execute(connect.command, .fromHost(connect.data), on: queue)
    }

    /// The first bytes of a log page.
    func log(_ page: nvme_cmd_get_log_lid, _ bytes: Int, at offset: Int = 0, on admin: Queue) throws -> [UInt8] {
        try succeed(.getLog(page, bytes: bytes).with(12, UInt32(offset)), .toHost(bytes), on: admin).data
    }

    func identify(
        _ cns: nvme_identify_cns = NVME_IDENTIFY_CNS_CTRL, nsid: UInt32 = 0, on admin: Queue
    ) throws -> [UInt8] {
        try execute(.identify(cns, nsid: nsid), .toHost(4096), on: admin).data
    }

    /// A host with an enabled controller, and so many I/O queues. Queue 0 is the admin queue.
    func attach(
        _ name: HostName, ioQueues: UInt16, nqn: String, keepAlive: UInt32, entries: UInt32,
        open: (_ queueID: UInt16) throws -> Queue
    ) throws -> Host<Self> {
        func connected(_ queueID: UInt16, _ connect: RawConnect) throws -> (queue: Queue, controllerID: UInt16) {
            let queue = try open(queueID)
            let reply = try succeed(connect.command, .fromHost(connect.data), on: queue)
            return (queue, UInt16(truncatingIfNeeded: reply.dword0))
        }
        let (admin, id) = try connected(0, RawConnect(nqn: nqn, keepAlive: keepAlive, host: name))
        try execute(.enable, on: admin)
        // So many of submission queues and of completion queues, 0-based.
        if ioQueues > 0 {
            try execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, UInt32(ioQueues - 1) * 0x1_0001), on: admin)
        }
        let size = UInt16(entries - 1)
        let io = try (1..<ioQueues + 1).map {
            try connected($0, RawConnect(nqn: nqn, controllerID: id, queueID: $0, sqSize: size, host: name)).queue
        }
        return Host(world: self, name: name, admin: admin, io: io, controllerID: id)
    }

    // MARK: Audits

    /// The first reactor's.
    var use: PoolUse { groups[0].poolUse[0] }

    var pools: Pools {
        Pools(
            uses: groups.map(\.poolUse), controllers: groups.map(\.heldControllers), transport: transportUse,
            subsystemControllers: target.subsystems.map { $0.controllerCount })
    }

    func audit() throws -> Audit<Self> {
        // All is made that a reactor makes only once.
        try attachWitness(ioQueues: UInt16(groups.count)).leave()
        let witness = try attachWitness(ioQueues: 1)
        pass(milliseconds: 500)
        return Audit(world: self, witness: witness, before: pools)
    }

    func audited() throws -> (Self, Audit<Self>) { (self, try audit()) }

    /// A world ends with what the target owes to each test: nothing is under way when its hosts wait for nothing, and nothing is
    /// left when they have gone.
    func end(_ goAway: () -> Void) {
        run(milliseconds: 2000) { isIdle }
        #expect(isIdle, "the hosts wait for nothing: \(pools)")
        goAway()
        run(milliseconds: 10_000) { isEmpty }
        #expect(isEmpty, "the hosts have gone: \(pools)")
    }

    private var isIdle: Bool {
        pools.uses.joined().allSatisfy {
            $0.requests.allSatisfy { $0.key == .held } && $0.bytesInUse == 0 && $0.lateCapsules == 0
        }
    }

    private var isEmpty: Bool {
        isIdle && isTransportEmpty && pools.controllers.allSatisfy { $0 == 0 }
            && pools.subsystemControllers.allSatisfy { $0 == 0 }
            && pools.uses.joined().allSatisfy { $0.requests.isEmpty && $0.boundConnections == 0 }
    }
}

struct Pools: Equatable {
    var uses: [[PoolUse]]
    var controllers: [Int]
    var transport: [String: [Int]]
    var subsystemControllers: [Int]
}

/// Something is done to a world to which no other host falls victim, and that leaves nothing behind.
struct Audit<W: World> {
    let world: W
    let witness: Host<W>
    let before: Pools

    func end(_ what: String = "", within milliseconds: UInt64 = 2000) {
        world.run(milliseconds: milliseconds) { world.pools == before }
        #expect(world.pools == before, "\(what)")
        witness.expectServed(what)
    }
}

/// A host's NQN, and its identifier: a number, or one value in all bytes.
struct HostName: ExpressibleByIntegerLiteral {
    static let plain = "nqn.2014-08.org.nvmexpress:uuid:host"
    let nqn: String
    let id: [UInt8]

    init(nqn: String, number: Int) { (self.nqn, id) = (nqn, little(number, 16)) }
    init(nqn: String = plain, id: UInt8 = 7) { (self.nqn, self.id) = (nqn, [UInt8](repeating: id, count: 16)) }
    init(_ number: UInt8) { self.init(nqn: "\(Self.plain)-\(number)", id: number) }
    init(integerLiteral value: UInt8) { self.init(value) }
}

struct Host<W: World> {
    let world: W
    let name: HostName
    let admin: W.Queue
    let io: [W.Queue]
    let controllerID: UInt16

    var queues: [W.Queue] { [admin] + io }
    var isGone: Bool { queues.allSatisfy(\.isClosed) }
    var isThere: Bool { !queues.contains(where: \.isClosed) }

    /// All its queues go at once.
    func leave() {
        for queue in queues { queue.disconnect() }
        world.settle { isGone }
    }

    @discardableResult
    func execute(_ command: RawCommand, _ data: InProcessData = .none, queue: Int = 0) throws -> RawStatus {
        try world.execute(command, data, on: io[queue]).status
    }

    @discardableResult
    func manage(_ command: RawCommand, _ data: InProcessData = .none) throws -> InProcessAnswer {
        try world.execute(command, data, on: admin)
    }

    @discardableResult
    func send(_ command: RawCommand, _ data: InProcessData = .none, queue: Int = 0) -> UInt16 {
        world.send(command, data, on: io[queue])
    }

    func answer(to id: UInt16, queue: Int = 0) -> InProcessAnswer? { world.answer(to: id, on: io[queue]) }
    /// The data of a read that has to succeed.
    func data(of id: UInt16, queue: Int = 0) throws -> [UInt8] {
        guard let answer = answer(to: id, queue: queue), answer.isSuccess else {
            throw WorldError("the read has not succeeded; \(world.events.all.suffix(5))")
        }
        return answer.data
    }
    func status(of id: UInt16, queue: Int = 0) -> RawStatus? { answer(to: id, queue: queue)?.status }

    func sendWrite(_ value: UInt8, at lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) -> UInt16 {
        send(.io(nvme_cmd_write, lba, blocks, nsid: nsid), .fromHost(.blocks(blocks, of: value)), queue: queue)
    }

    func sendRead(_ lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) -> UInt16 {
        send(.io(nvme_cmd_read, lba, blocks, nsid: nsid), .toHost(512 * blocks), queue: queue)
    }

    func write(_ value: UInt8, at lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1) throws -> RawStatus {
        try #require(status(of: sendWrite(value, at: lba, blocks: blocks, nsid: nsid)))
    }

    func read(_ lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1) throws -> [UInt8] {
        try data(of: sendRead(lba, blocks: blocks, nsid: nsid))
    }

    /// It is still served: it writes, and reads what it wrote.
    func expectServed(_ what: String = "") {
        let value = UInt8.random(in: 1...255)
        #expect((try? write(value, at: 64, blocks: 8)) == .success, "\(what); \(world.events.all.suffix(3))")
        #expect((try? read(64, blocks: 8)) == .blocks(8, of: value), "\(what)")
    }
}
