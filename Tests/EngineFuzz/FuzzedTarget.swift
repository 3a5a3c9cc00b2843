import Base
import InProcessTransport
import MemoryBlock
import NVMeSpec
import NVMeTarget
import TargetInterface
import TargetTransport

/// A small target with a namespace in memory, and one host of it.
final class FuzzedTarget {
    private static let nqn = "nqn.2026-11.io.example:fuzzed"
    private static let host = "nqn.2026-11.io.example:host"

    private let target: Target
    private let transport: InProcessTransport
    private let group: PollGroup
    private var queues: [InProcessQueue] = []
    private var now = MonotonicTime(nanoseconds: 1_000_000_000)
    /// Commands before the transport has room.
    private var withoutRoom = 0

    init() {
        let options = TargetOptions(
            queueDepth: 16, maxIOQueues: 2, inCapsuleDataSize: 4096, maxTransferSize: 64 << 10,
            sharedReceiveEntries: 32,
            requests: 64, dataMemory: 1 << 20, controlMemory: 128 << 10, maxNamespaces: 4)
        target = Target(options: options, bootInstance: 7, now: now, observe: { _ in })
        transport = InProcessTransport(options, connections: 8)
        group = PollGroup(target: target, transport: transport)
        let state = DesiredState(target)
        guard let device = try? RAMDevice(byteCount: 1 << 20) else { invariantViolated("there is memory") }
        let namespaces = [NamespaceDefinition(nsid: 1, backing: .device(device))]
        do {
            try state.change {
                $0.subsystems = [SubsystemDefinition(nqn: Self.nqn, serialNumber: "F", namespaces: namespaces)]
            }
            for _ in 0..<100 where try !state.proceed() { poll() }
        } catch { invariantViolated("the target is what it is told to be") }
        for id in 0..<2 { queues.append(transport.connect(queueID: UInt16(id), entries: 16)) }
        settle()
    }

    private func poll() { for _ in 0..<64 where group.poll(now: now) == 0 { break } }

    private func settle() {
        group.wokeUp()
        poll()
    }

    /// Makes a controller, with an I/O queue.
    func connect() {
        let id = connect(0, ConnectData.anyController)
        let enable = SubmissionEntry(
            .propertySet(PropertySetCommand(.configuration, value: UInt64(ControllerConfiguration.enabled.rawValue))),
            commandID: 2)
        send(enable, on: 0)
        send(SubmissionEntry(.setFeatures(SetFeaturesCommand(.numberOfQueues, value: 0x1_0001)), commandID: 3), on: 0)
        _ = connect(1, id)
        invariant(queues.allSatisfy { !$0.isClosed }, "a host that keeps the rules is let in")
    }

    private func connect(_ queue: UInt16, _ controller: UInt16) -> UInt16 {
        send(
            SubmissionEntry(.connect(ConnectCommand(queueID: queue, sqSize: 15)), commandID: 1), on: Int(queue),
            .fromHost(Self.connectData(controller)))
        guard let answer = queues[Int(queue)].answers.last else { invariantViolated("a Connect is answered") }
        return UInt16(answer.entry[0]) | UInt16(answer.entry[1]) << 8
    }

    private static func connectData(_ controller: UInt16) -> [UInt8] {
        ConnectData(
            hostID: UUIDBytes(high: 1, low: 2), controllerID: controller, subsystemNQN: nqn, hostNQN: host
        ).encoded
    }

    private func send(_ entry: SubmissionEntry, on queue: Int, _ data: InProcessData = .none) {
        queues[queue].send(entry.wire, data)
        settle()
    }

    func begin(withoutRoomFor commands: Int) {
        withoutRoom = commands
        transport.isFull = commands > 0
    }

    /// Goes on with a reservation that another target has stored, or refuses it.
    func takeOn(reservation bytes: [UInt8]) {
        guard let taking = try? target.beginTakingOn(reservation: bytes, of: 1, in: Self.nqn) else { return }
        settle()
        invariant(taking.known.hasCome, "all reactors know a reservation that is taken on")
        taking.finish()
    }

    /// Sends a command as `FuzzTarget.engines` describes it.
    func step(_ bytes: UnsafeRawBufferPointer) {
        let kind = bytes[0]
        let length = Int(bytes[1]) | Int(bytes[2]) << 8 | Int(bytes[3] & 3) << 16
        func data(_ most: Int) -> [UInt8] { (0..<min(length, most)).map { bytes[4 + $0 % 4] } }
        let shape: InProcessData =
            switch kind >> 1 & 7 {
            case 1: .fromHost(data(64 << 10))
            case 2: .toHost(length)
            case 3: .inCapsule(data(4096))
            case 4: .invalid(.sglDescriptorTypeInvalid)
            case 5: .fromHost(connectData(bytes))
            default: .none
            }
        queues[Int(kind & 1)].send(Array(bytes[8...]), shape)
        for _ in 0...(kind >> 4 & 7) { _ = group.poll(now: now) }
        now = now.advanced(byMilliseconds: 1)
        withoutRoom -= 1
        if withoutRoom == 0 { transport.isFull = false }
    }

    /// The data of a Connect, but for one byte.
    private func connectData(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var data = Self.connectData(ConnectData.anyController)
        data[(Int(bytes[4]) | Int(bytes[5]) << 8) % data.count] = bytes[6]
        return data
    }

    /// The host goes away. All that it had is given back, and the target serves the next one.
    func end() {
        transport.isFull = false
        settle()
        for queue in queues where !queue.isClosed { queue.disconnect() }
        for _ in 0..<300 {
            now = now.advanced(byMilliseconds: 100)
            settle()
            if transport.connectionCounts.total == 0 { break }
        }
        invariant(transport.connectionCounts.total == 0, "a host that has gone has no connections")
        invariant(transport.ports.allSatisfy { $0.heldCapsules == 0 }, "a host that has gone holds no buffers")
        queues = (0..<2).map { transport.connect(queueID: UInt16($0), entries: 16) }
        settle()
        connect()
        for queue in queues { queue.disconnect() }
        now = now.advanced(byMilliseconds: 1000)
        settle()
        group.close()
    }
}
