import Base
import FabricInterface
import InProcessTransport
import Reactor
import Simulation

/// A host that says what a test wants it to say: no rule of NVMe is in it.
final class RawHost: Poller {
    let name: HostName
    let device: SimulatedDevice
    let fabric: SimulatedFabric
    let memory: UnsafeMutableRawBufferPointer
    private(set) var context: FabricContext?
    private(set) var region = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
    private(set) var queues: [RawQueue] = []
    private var used = 0
    /// Memory that was given back, by its size.
    private var free: [Int: [Int]] = [:]
    private let batch = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 64)

    init(_ number: Int, _ device: SimulatedDevice) {
        name = HostName(UInt8(number))
        self.device = device
        fabric = SimulatedFabric([device])
        memory = .allocate(byteCount: 8 << 20, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit {
        memory.deallocate()
        batch.deallocate()
    }

    /// Memory of the host that nobody else uses, as an offset; registered as a whole.
    func allocate(_ bytes: Int) -> Int {
        if let offset = free[bytes]?.popLast() { return offset }
        let offset = (used + 511) / 512 * 512
        used = offset + bytes
        invariant(used <= memory.count, "the test gives its host more memory")
        return offset
    }

    func giveBack(_ offset: Int, _ bytes: Int) { free[bytes, default: []].append(offset) }

    func fill(_ offset: Int, _ bytes: [UInt8]) { memory[offset..<offset + bytes.count].copyBytes(from: bytes) }
    func bytes(_ offset: Int, _ count: Int) -> [UInt8] { Array(memory[offset..<offset + count]) }

    func address(_ offset: Int) -> UInt64 { UInt64(UInt(bitPattern: memory.baseAddress! + offset)) }

    func element(_ offset: Int, _ length: Int) -> ScatterGatherElement {
        ScatterGatherElement(memory.baseAddress! + offset, length: length, localKey: region.localKey)
    }

    /// A keyed data block for the host's memory.
    func keyed(_ offset: Int, _ length: Int, type: UInt8 = 0x40) -> [UInt8] {
        RawSGL.keyed(address: address(offset), length: length, key: region.remoteKey, type: type)
    }

    /// Registers a part of the memory once more; its key.
    func register(_ offset: Int, _ bytes: Int, access: MemoryAccess) throws -> UInt32 {
        let part = UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + bytes])
        return try context!.register(part, access: access).remoteKey
    }

    /// Begins to connect a queue. It goes on as the world does.
    func open(_ address: SocketAddress, _ change: (RawQueue) -> Void = { _ in }) throws -> RawQueue {
        let queue = RawQueue(self)
        change(queue)
        queue.connection = try fabric.resolve(address, from: nil, timeoutMilliseconds: 1000)
        queues.append(queue)
        return queue
    }

    private func prepare(_ queue: RawQueue) throws {
        if context == nil {
            let options = ContextOptions(completionQueueEntries: 65536, sharedReceiveEntries: 0, queuePairs: 256)
            let made = try fabric.context(for: queue.connection!, options)
            region = try made.register(memory, access: [.localWrite, .remoteRead, .remoteWrite])
            context = made
        }
        try queue.start(context!)
    }

    override func poll(now: MonotonicTime) -> Int {
        var work = 0
        while let event = fabric.nextEvent() {
            work += 1
            handle(event)
        }
        guard let context else { return work }
        while true {
            let count = context.poll(into: batch)
            for completion in batch[..<count] {
                queues.first { $0.queuePair == completion.queuePair }?.handle(completion)
            }
            work += count
            if count < batch.count { return work }
        }
    }

    private func handle(_ event: ConnectionEvent) {
        func queue(_ connection: ConnectionHandle) -> RawQueue? { queues.first { $0.connection == connection } }
        switch event {
        case .routeResolved(let connection):
            guard let queue = queue(connection) else { return }
            do {
                try prepare(queue)
                let parameters = ConnectionParameters(
                    responderResources: queue.responderResources, initiatorDepth: 1, privateData: queue.privateData)
                try fabric.connect(connection, parameters)
            } catch {
                queue.end = "\(error)"
            }
        case .established(let connection, let parameters): queue(connection)?.accepted = parameters
        case .rejected(let connection, let data, _):
            queue(connection)?.rejection = data
            queue(connection)?.end = "rejected"
        case .failed(let connection, let error): queue(connection)?.end = "\(error)"
        case .disconnected(let connection): queue(connection)?.end = "disconnected"
        case .deviceRemoved(let connection): queue(connection)?.end = "device removed"
        case .requested, .listenerLost: break
        }
    }

    /// Destroys a queue at once, as a process that dies does: what it has posted is gone.
    func destroy(_ queue: RawQueue) {
        if let connection = queue.connection { fabric.destroy(connection) }
        queues.removeAll { $0 === queue }
        queue.giveMemoryBack()
        queue.end = "destroyed"
    }

    func destroyAll() { for queue in queues { destroy(queue) } }

    func end(_ ending: VanishingTests.Ending) {
        switch ending {
        case .disconnect: for queue in queues { queue.disconnect() }
        case .destroy: destroyAll()
        case .powerLoss: device.isReachable = false
        }
    }
}

/// A queue of a raw host: capsules go out as the test wrote them, answers are collected.
final class RawQueue: HostQueue {
    unowned let host: RawHost
    var queueID: UInt16 = 0
    /// HSQSIZE, 0-based.
    var hostSendQueueSize: UInt16 = 31
    var hostReceiveQueueSize: UInt16 = 32
    /// READs of the target that the host answers at once.
    var responderResources: UInt8 = 8
    /// Receive buffers; fewer than there are commands make the target wait.
    var receives = 128
    /// NVMe RDMA Transport: RECFMT, QID, HRQSIZE, HSQSIZE, CNTLID, and 22 reserved bytes.
    lazy var privateData: [UInt8] =
        [0, queueID, hostReceiveQueueSize, hostSendQueueSize, 0].flatMap { little($0, 2) }
        + [UInt8](repeating: 0, count: 22)
    var connection: ConnectionHandle?
    private(set) var queuePair: QueuePairHandle?
    var accepted: ConnectionParameters?
    var rejection: [UInt8]?
    /// Why the connection ended.
    var end: String?
    private(set) var answers: [InProcessAnswer] = []
    /// The key that the last answer has invalidated.
    private(set) var invalidatedKey: UInt32?
    private var sent = 0
    /// Whether a receive buffer is given back to the queue when its completion has been taken.
    var repostsReceives = true
    /// The lengths of the descriptors that name a command's data, but for the last one, which names the rest.
    var pieces: [Int] = []
    private var context: FabricContext?
    private let responses: Int
    private let capsules: Int
    /// The memory of the data of commands that are under way.
    private var running: [UInt16: (offset: Int, count: Int, isRead: Bool)] = [:]
    private static let capsuleBytes = 64 + 8192
    private static let capsuleCount = 64
    static let responseCount = 128

    init(_ host: RawHost) {
        self.host = host
        responses = host.allocate(Self.responseCount * 16)
        capsules = host.allocate(Self.capsuleBytes * Self.capsuleCount)
    }

    func giveMemoryBack() {
        host.giveBack(responses, Self.responseCount * 16)
        host.giveBack(capsules, Self.capsuleBytes * Self.capsuleCount)
        for place in running.values { host.giveBack(place.offset, place.count) }
        running = [:]
    }

    var isOpen: Bool { accepted != nil && end == nil }
    var isClosed: Bool { end != nil }
    func disconnect() { host.fabric.disconnect(connection!) }

    func start(_ context: FabricContext) throws {
        self.context = context
        let options = QueuePairOptions(
            sendEntries: 256, receiveEntries: receives, usesSharedReceiveQueue: false, sendSegments: 1)
        queuePair = try context.createQueuePair(for: connection!, options)
        for slot in 0..<receives { postReceive(UInt64(slot)) }
    }

    private func postReceive(_ slot: UInt64) {
        let request = ReceiveRequest(id: slot, segment: host.element(responses + Int(slot) * 16, 16))
        withUnsafePointer(to: request) {
            context?.postReceives(UnsafeBufferPointer(start: $0, count: 1), to: queuePair!)
        }
    }

    func handle(_ completion: WorkCompletion) {
        guard completion.status == .success, completion.kind == .receive else { return }
        let entry = host.bytes(responses + Int(completion.id) * 16, 16)
        let place = running.removeValue(forKey: UInt16(entry.number(12, 2)))
        let data = place.map { $0.isRead ? host.bytes($0.offset, $0.count) : [] }
        answers.append(InProcessAnswer(entry: entry, data: data ?? []))
        if let place { host.giveBack(place.offset, place.count) }
        invalidatedKey = completion.invalidated ? completion.invalidatedKey : nil
        if repostsReceives { postReceive(completion.id) }
    }

    /// Sends a command with a data pointer to the host's memory, or to the capsule.
    func send(_ entry: [UInt8], _ data: InProcessData) {
        let command = RawCommand(entry)
        switch data {
        case .none, .invalid: send(command)
        case .fromHost(let bytes): send(command, bytes, isRead: false)
        // Bytes that the target does not write keep this value.
        case .toHost(let count): send(command, [UInt8](repeating: 0xEE, count: count), isRead: true)
        case .inCapsule(let data): send(command.with(sgl: RawSGL.offset(0, length: UInt32(data.count))), behind: data)
        }
    }

    private func send(_ command: RawCommand, _ bytes: [UInt8], isRead: Bool) {
        let offset = host.allocate(bytes.count)
        host.fill(offset, bytes)
        running[UInt16(command.bytes.number(2, 2))] = (offset, bytes.count, isRead)
        let rest = bytes.count - pieces.reduce(0, +)
        guard !pieces.isEmpty, rest > 0 else { return send(command.at(host, offset, bytes.count)) }
        var list: [UInt8] = []
        var position = 0
        for length in pieces + [rest] {
            list += host.keyed(offset + position, length)
            position += length
        }
        send(command.with(sgl: RawSGL.list(list.count)), behind: list)
    }

    /// Sends a capsule as it stands.
    func send(_ command: RawCommand, behind data: [UInt8] = [], length: Int? = nil) {
        let start = capsules + sent % Self.capsuleCount * Self.capsuleBytes
        sent += 1
        host.fill(start, command.bytes + data)
        let request = WorkRequest(
            id: 1 << 32, queuePair: queuePair!, opcode: .send, flags: .signaled,
            segment: host.element(start, length ?? 64 + data.count))
        withUnsafePointer(to: request) { context?.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }
}
