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
    /// The identifier of the next command.
    var nextID: UInt16 { get set }

    /// Lets time go by until the condition holds, or is over. Returns whether it holds.
    func run(milliseconds: UInt64, until isOver: () -> Bool) -> Bool
    /// Lets the world go on until the condition holds, for as long as may come what makes it hold.
    func settle(until isOver: () -> Bool)
    func pass(milliseconds: UInt64)
    /// A host that no test names.
    func attachWitness(ioQueues: UInt16) throws -> Host<Self>
    /// The used places of the transport.
    var transportUse: [String: [Int]] { get }
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
    func answer(to id: UInt16) -> InProcessAnswer? {
        answers.first { $0.entry[12] == UInt8(truncatingIfNeeded: id) && $0.entry[13] == UInt8(id >> 8) }
    }
}

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

    /// A namespace whose UUID has one value in all its bytes: its number, unless told otherwise.
    static func namespace(_ nsid: UInt32, _ device: any BlockDevice, fill: UInt8? = nil) -> NamespaceDefinition {
        let uuid = [UInt8](repeating: fill ?? UInt8(truncatingIfNeeded: nsid), count: 16)
        return NamespaceDefinition(nsid: nsid, backing: .device(device), identity: BlockIdentity(uuid: uuid))
    }

    /// One of many namespaces: its UUID holds its number.
    static func numbered(_ nsid: UInt32, _ device: any BlockDevice) -> NamespaceDefinition {
        let uuid = RawSGL.little(UInt64(nsid), 8) + [UInt8](repeating: 9, count: 8)
        return NamespaceDefinition(nsid: nsid, backing: .device(device), identity: BlockIdentity(uuid: uuid))
    }

    /// The subsystem of each world, with one namespace.
    static func subsystem(_ device: any BlockDevice) -> SubsystemDefinition {
        SubsystemDefinition(nqn: nqn, serialNumber: "T1", namespaces: [namespace(1, device, fill: 0xAB)])
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

    /// The namespaces of the world's subsystem become others.
    func setNamespaces(_ namespaces: NamespaceDefinition...) throws {
        try change { $0[Self.nqn]?.namespaces = namespaces }
    }

    func add(_ namespace: NamespaceDefinition) throws { try change { $0[Self.nqn]?.namespaces.append(namespace) } }

    /// The state of group 1, at one listener or at all.
    func setANAState(_ state: ANAState, at listener: SocketAddress? = nil) throws {
        try change { $0[Self.nqn]?.anaStates[ANAGroupPlace(group: 1, listener: listener)] = state }
    }

    // MARK: Commands

    func takeID() -> UInt16 {
        defer { nextID &+= 1 }
        return nextID
    }

    /// Sends a command; its identifier.
    @discardableResult
    func send(_ command: RawCommand, _ data: InProcessData = .none, on queue: Queue) -> UInt16 {
        var command = command
        command.id = takeID()
        queue.send(command.bytes, data)
        return command.id
    }

    /// A command's answer and its data, if it is answered.
    func answer(to id: UInt16, on queue: Queue) -> (completion: RawCompletion, data: [UInt8])? {
        settle { queue.answer(to: id) != nil || queue.isClosed }
        return queue.answer(to: id).map { (RawCompletion($0.entry), $0.data) }
    }

    func status(of id: UInt16, on queue: Queue) -> RawStatus? { answer(to: id, on: queue)?.completion.status }

    @discardableResult
    func execute(
        _ command: RawCommand, _ data: InProcessData = .none, on queue: Queue
    ) throws -> (completion: RawCompletion, data: [UInt8]) {
        let id = send(command, data, on: queue)
        guard let answer = answer(to: id, on: queue) else {
            throw WorldError("command \(id) is not answered; \(events.all.suffix(5))")
        }
        return answer
    }

    func connect(_ connect: RawConnect, on queue: Queue) throws -> RawCompletion {
        try execute(connect.command, .fromHost(connect.data), on: queue).completion
    }

    /// The first bytes of a log page.
    func log(_ page: nvme_cmd_get_log_lid, _ bytes: Int, at offset: Int = 0, on admin: Queue) throws -> [UInt8] {
        let command = RawCommand.getLog(page, bytes: bytes).with(12, UInt32(offset))
        let answer = try execute(command, .toHost(bytes), on: admin)
        guard answer.completion.isSuccess else { throw WorldError("log \(page): \(answer.completion.status)") }
        return answer.data
    }

    func identify(_ cns: nvme_identify_cns = NVME_IDENTIFY_CNS_CTRL, nsid: UInt32 = 0, on admin: Queue) throws
        -> [UInt8]
    {
        try execute(.identify(cns, nsid: nsid), .toHost(4096), on: admin).data
    }

    /// A host with an enabled controller, and so many I/O queues. Queue 0 is the admin queue.
    func attach(
        _ name: HostName, ioQueues: UInt16, nqn: String, keepAlive: UInt32, entries: UInt32,
        open: (_ queueID: UInt16) throws -> Queue
    ) throws -> Host<Self> {
        let admin = try open(0)
        let reply = try connect(RawConnect(nqn: nqn, keepAlive: keepAlive, host: name), on: admin)
        guard reply.isSuccess else { throw WorldError("Connect: \(reply.status)") }
        // CC.EN with IOSQES 6 and IOCQES 4.
        try execute(.configure(0x0046_0001), on: admin)
        let id = UInt16(truncatingIfNeeded: reply.dword0)
        if ioQueues > 0 {
            let count = UInt32(ioQueues - 1)
            try execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, count << 16 | count), on: admin)
        }
        let queues = try (0..<ioQueues).map { number in
            let queue = try open(number + 1)
            let connect = RawConnect(
                nqn: nqn, controllerID: id, queueID: number + 1, sqSize: UInt16(entries - 1), host: name)
            let reply = try self.connect(connect, on: queue)
            guard reply.isSuccess else { throw WorldError("Connect of an I/O queue: \(reply.status)") }
            return queue
        }
        return Host(world: self, name: name, admin: admin, io: queues, controllerID: id)
    }

    // MARK: Audits

    var pools: Pools {
        Pools(
            uses: groups.map(\.poolUse), controllers: groups.map(\.heldControllers), transport: transportUse,
            subsystemControllers: target.subsystems.map { $0.controllerCount })
    }

    /// The used places when nothing is under way, with all that a reactor makes only once already made.
    func baseline() throws -> Pools {
        if groups.contains(where: { $0.poolUse.isEmpty }) {
            try attachWitness(ioQueues: UInt16(groups.count)).leave()
        }
        pass(milliseconds: 500)
        return pools
    }

    /// Waits until the pools are what they were.
    func expectPools(
        _ expected: Pools, _ what: String = "", within milliseconds: UInt64 = 2000,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        _ = run(milliseconds: milliseconds) { pools == expected }
        #expect(pools == expected, "\(what)", sourceLocation: sourceLocation)
    }

    func audit() throws -> Audit<Self> {
        // The witness is there before its own places are counted.
        let witness = try attachWitness(ioQueues: 1)
        return Audit(world: self, witness: witness, before: try baseline())
    }

    /// Everything is back in its pools when the hosts' queues idle.
    func expectIdle(sourceLocation: SourceLocation = #_sourceLocation) {
        settle { true }
        for use in groups.flatMap(\.poolUse) {
            #expect(use.requests.filter { $0.key != .held }.isEmpty, sourceLocation: sourceLocation)
            #expect(use.bytesInUse == 0 && use.lateCapsules == 0, sourceLocation: sourceLocation)
        }
    }
}

/// The used places: equal before and after something that leaves nothing behind.
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

    func end(
        _ what: String = "", within milliseconds: UInt64 = 2000, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        world.expectPools(before, what, within: milliseconds, sourceLocation: sourceLocation)
        witness.expectServed(what, sourceLocation: sourceLocation)
    }
}

/// A host's NQN, and its identifier: a number, or one value in all bytes.
struct HostName: ExpressibleByIntegerLiteral {
    static let plain = "nqn.2014-08.org.nvmexpress:uuid:host"
    let nqn: String
    let id: [UInt8]

    init(nqn: String, number: Int) { (self.nqn, id) = (nqn, RawSGL.little(UInt64(number), 16)) }
    init(nqn: String = plain, id: UInt8 = 7) { (self.nqn, self.id) = (nqn, [UInt8](repeating: id, count: 16)) }
    init(_ number: UInt8) { self.init(nqn: "\(Self.plain)-\(number)", id: number) }
    init(integerLiteral value: UInt8) { self.init(value) }
}

/// A host with its queues.
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
        try world.execute(command, data, on: io[queue]).completion.status
    }

    func manage(_ command: RawCommand, _ data: InProcessData = .none) throws -> RawCompletion {
        try world.execute(command, data, on: admin).completion
    }

    /// Sends a write of blocks that all hold one value.
    func sendWrite(_ value: UInt8, at lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) -> UInt16 {
        let data = [UInt8](repeating: value, count: 512 * blocks)
        return world.send(.io(nvme_cmd_write, lba, blocks, nsid: nsid), .fromHost(data), on: io[queue])
    }

    func sendRead(_ lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) -> UInt16 {
        world.send(.io(nvme_cmd_read, lba, blocks, nsid: nsid), .toHost(512 * blocks), on: io[queue])
    }

    func status(of id: UInt16, queue: Int = 0) -> RawStatus? { world.status(of: id, on: io[queue]) }

    @discardableResult
    func write(_ value: UInt8, at lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1, queue: Int = 0) throws
        -> RawStatus
    {
        try #require(status(of: sendWrite(value, at: lba, blocks: blocks, nsid: nsid, queue: queue), queue: queue))
    }

    func read(_ lba: UInt64 = 0, blocks: Int = 1, nsid: UInt32 = 1) throws -> [UInt8] {
        try world.execute(.io(nvme_cmd_read, lba, blocks, nsid: nsid), .toHost(512 * blocks), on: io[0]).data
    }

    /// It is still served: it writes and reads it back.
    func expectServed(_ what: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
        do {
            let value = UInt8.random(in: 1...255)
            #expect(try write(value, at: 64, blocks: 8) == .success, "\(what)", sourceLocation: sourceLocation)
            let isRight = try read(64, blocks: 8).allSatisfy { $0 == value }
            #expect(isRight, "it reads what it wrote, \(what)", sourceLocation: sourceLocation)
        } catch { Issue.record("another host is not served, \(what): \(error)", sourceLocation: sourceLocation) }
    }
}

extension [UInt8] {
    /// A number of so many bytes, the lowest first.
    func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * UInt64($1)) }
    }
}
