import Base
import BlockInterface
import CLibNVMe
import InProcessTransport
import MemoryBlock
import NVMeTarget
import TargetInterface
import Testing

/// A target on the in-process transport: commands in, answers out, in a time that the test makes. No fabric, no thread.
final class EngineWorld {
    let target: Target
    let state: DesiredState
    let transport: InProcessTransport
    let group: PollGroup
    let events = TargetEvents()
    private var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private var nextID: UInt16 = 1

    static let nqn = TargetWorld.nqn
    static let hostNQN = "nqn.2014-08.org.nvmexpress:uuid:host"

    /// - Parameter device: the namespace's; 4 MiB of memory in blocks of 512 bytes by default.
    init(_ options: TargetOptions = TargetWorld.smallOptions, device: (any BlockDevice)? = nil) throws {
        let events = events
        target = Target(options: options, bootInstance: 7, now: now, observe: { events.record($0) })
        state = DesiredState(target)
        transport = InProcessTransport(options)
        group = PollGroup(target: target, transport: transport)
        let device = try device ?? RAMDevice(byteCount: 4 << 20)
        try change {
            $0.subsystems = [
                SubsystemDefinition(
                    nqn: Self.nqn, serialNumber: "T1", namespaces: [TargetWorld.namespace(1, device, fill: 0xAB)])
            ]
        }
    }

    /// Tells the target to be something else, which it is then.
    func change(_ body: (inout TargetDefinition) -> Void) throws {
        try state.change(body)
        settle()
        // Each step may wait for the reactor.
        for _ in 0..<16 where try !state.proceed() { settle() }
        guard try state.proceed(), state.report.missing.isEmpty else { throw WorldError("\(state.report.missing)") }
    }

    deinit { group.close() }

    /// Polls until nothing is to be done.
    func settle() {
        // As a reactor that was woken up: it asks for connections at once.
        group.wokeUp()
        for _ in 0..<64 where group.poll(now: now) == 0 { return }
    }

    /// Lets time go by, in steps of 10 ms.
    func pass(milliseconds: UInt64) {
        for _ in 0..<max(1, milliseconds / 10) {
            now = now.advanced(byMilliseconds: min(milliseconds, 10))
            settle()
        }
    }

    // MARK: Queues

    /// - Parameter address: the one of the target's that the host uses.
    func open(queueID: UInt16 = 0, entries: UInt32 = 32, at address: SocketAddress? = nil) -> InProcessQueue {
        let queue = transport.connect(queueID: queueID, entries: entries, localAddress: address)
        settle()
        return queue
    }

    /// Sends a command; its identifier.
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
        nqn: String = EngineWorld.nqn, keepAlive: UInt32 = 0, at address: SocketAddress? = nil
    ) throws -> (queue: InProcessQueue, id: UInt16) {
        let queue = open(at: address)
        let reply = try connect(EngineConnect(nqn: nqn, keepAlive: keepAlive), on: queue)
        try execute(.configure(0x0046_0001), on: queue)
        return (queue, UInt16(truncatingIfNeeded: reply.dword0))
    }

    /// The first bytes of a log page.
    func log(_ page: nvme_cmd_get_log_lid, _ bytes: Int, on admin: InProcessQueue) throws -> [UInt8] {
        let answer = try execute(.getLog(page, bytes: bytes), .toHost(bytes), on: admin)
        guard answer.completion.isSuccess else { throw WorldError("log \(page): \(answer.completion.status)") }
        return answer.data
    }

    static func address(_ port: UInt16) -> SocketAddress { SocketAddress(host: "192.0.2.1", port: port)! }

    /// A host with an enabled controller and I/O queues.
    func attach(ioQueues: UInt16 = 1, at address: SocketAddress? = nil) throws -> EngineHost {
        let (admin, id) = try admin(at: address)
        let count = UInt32(ioQueues - 1)
        try execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, count << 16 | count), on: admin)
        let queues = try (1...ioQueues).map { queueID in
            let queue = open(queueID: queueID, at: address)
            let reply = try connect(EngineConnect(controllerID: id, queueID: queueID), on: queue)
            guard reply.isSuccess else { throw WorldError("Connect of an I/O queue: \(reply.status)") }
            return queue
        }
        return EngineHost(admin: admin, io: queues, controllerID: id)
    }

    /// Everything is back in its pools when the hosts' queues idle.
    func expectIdle(sourceLocation: SourceLocation = #_sourceLocation) {
        settle()
        let use = group.poolUse[0]
        #expect(use.requests.filter { $0.key != .held }.isEmpty, sourceLocation: sourceLocation)
        #expect(use.bytesInUse == 0 && use.lateCapsules == 0, sourceLocation: sourceLocation)
    }
}

extension [UInt8] {
    /// A number of so many bytes, the lowest first.
    func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * UInt64($1)) }
    }
}

/// A host's queues.
struct EngineHost {
    let admin: InProcessQueue
    let io: [InProcessQueue]
    let controllerID: UInt16
}
