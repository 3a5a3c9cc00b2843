import Base
import FabricInterface
import NVMeSpec
import Simulation

/// Reaches a scripted target over RDMA, on the simulated fabric.
final class FabricPort: TargetPort {
    let network: SimulatedNetwork
    let device: SimulatedDevice
    private let fabric: SimulatedFabric
    private var listener: ListenerHandle?
    private var context: FabricContext?
    private var connected: [ConnectionHandle: Queue] = [:]
    private let memory: UnsafeMutableRawBufferPointer
    private var region: MemoryRegion?
    /// The place of the next data, or the next answer: each place is used again long after its work has been done.
    private var nextPlace = 0
    private var nextFetch: UInt64 = 1 << 32
    /// Capsules whose data is being fetched, by the work that ends the fetching.
    private var fetches: [UInt64: (capsule: Capsule, queue: Queue, place: Int, length: Int)] = [:]

    private final class Queue: TargetQueue {
        let connection: ConnectionHandle
        let handle: QueuePairHandle
        init(_ connection: ConnectionHandle, _ handle: QueuePairHandle, _ id: UInt16) {
            self.connection = connection
            self.handle = handle
            super.init(id)
        }
    }

    /// The keyed descriptors of the commands that came last.
    private var lists: [UInt32: [SGLDescriptor]] = [:]

    private static let receiveBytes = 8192
    private static let receives = 1024
    private static let places = 32 << 20

    init(_ network: SimulatedNetwork, _ device: SimulatedDevice) {
        self.network = network
        self.device = device
        fabric = SimulatedFabric([device])
        memory = .allocate(byteCount: Self.receives * Self.receiveBytes + Self.places, alignment: 4096)
    }

    deinit {
        fabric.close()
        memory.deallocate()
    }

    override var queues: [TargetQueue] { Array(connected.values) }

    override func listen() throws { listener = try fabric.listen(at: ScriptedTarget.address, backlog: 8) }

    override func vanish() {
        if let listener { fabric.stopListening(listener) }
        for queue in connected.values.sorted(by: { $0.connection.value < $1.connection.value }) {
            fabric.destroy(queue.connection)
        }
        connected = [:]
    }

    override func disconnect(_ queue: TargetQueue) {
        if let queue = queue as? Queue { fabric.disconnect(queue.connection) }
    }

    override func poll() throws -> Int {
        var work = 0
        while let event = fabric.nextEvent() {
            try handle(event)
            work += 1
        }
        guard let context else { return work }
        withUnsafeTemporaryAllocation(of: WorkCompletion.self, capacity: 64) { batch in
            let count = context.poll(into: batch)
            work += count
            for index in 0..<count where batch[index].status == .success { completed(batch[index]) }
        }
        return work
    }

    // MARK: Connections

    private func handle(_ event: ConnectionEvent) throws {
        switch event {
        case .requested(let connection, let request):
            guard target.answersConnections else { return }
            if let refusal = target.refusal { return fabric.reject(connection, privateData: refusal) }
            let wanted = try RDMAConnectRequest(decoding: request.parameters.privateData)
            let context = try context(connection)
            let entries = Int(wanted.hostSendQueueSize) + 1
            let handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(sendEntries: 1024, receiveEntries: 0, usesSharedReceiveQueue: true))
            connected[connection] = Queue(connection, handle, wanted.queueID)
            try fabric.accept(
                connection,
                ConnectionParameters(
                    responderResources: 16, initiatorDepth: 16, privateData: target.privateData(UInt16(entries))))
        case .disconnected(let connection):
            fabric.destroy(connection)
            if let queue = connected.removeValue(forKey: connection) { target.ended(queue) }
        default: break
        }
    }

    private func context(_ connection: ConnectionHandle) throws -> FabricContext {
        if let context { return context }
        let made = try fabric.context(
            for: connection,
            ContextOptions(completionQueueEntries: 4096, sharedReceiveEntries: Self.receives, queuePairs: 16))
        region = try made.register(memory, access: [.localWrite])
        context = made
        for index in 0..<Self.receives { post(receive: index) }
        return made
    }

    private func post(receive index: Int) {
        guard let region, let context else { return }
        let request = ReceiveRequest(
            id: UInt64(index),
            segment: ScatterGatherElement(
                memory.baseAddress! + index * Self.receiveBytes, length: Self.receiveBytes, localKey: region.localKey))
        withUnsafePointer(to: request) { context.postSharedReceives(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    private func post(_ work: WorkRequest) {
        withUnsafePointer(to: work) { context?.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    /// A place for so many bytes.
    private func place(_ length: Int) -> Int {
        if nextPlace + length > Self.places { nextPlace = 0 }
        defer { nextPlace += (length + 63) & ~63 }
        return Self.receives * Self.receiveBytes + nextPlace
    }

    // MARK: Capsules

    private func completed(_ completion: WorkCompletion) {
        if completion.kind == .receive { return received(completion) }
        guard let fetch = fetches.removeValue(forKey: completion.id) else { return }
        var capsule = fetch.capsule
        capsule.payload = Array(memory[fetch.place..<fetch.place + fetch.length])
        target.received(capsule, on: fetch.queue)
    }

    private func received(_ completion: WorkCompletion) {
        let bytes = UnsafeRawPointer(memory.baseAddress! + Int(completion.id) * Self.receiveBytes)
        let entry = SubmissionEntry(from: bytes)
        let behind = Array(UnsafeRawBufferPointer(start: bytes + 64, count: Int(completion.byteCount) - 64))
        post(receive: Int(completion.id))
        guard let queue = connected.values.first(where: { $0.handle == completion.queuePair }) else { return }
        var capsule = Capsule(queue: queue.id, entry: entry, payload: [])
        let descriptors = Self.descriptors(entry, behind)
        lists[Self.name(entry, queue)] = descriptors
        if entry.sendsData, case .inCapsule(let offset, let length) = SGLDescriptor(entry.dataPointer) {
            capsule.payload = Array(behind[Int(offset)..<Int(offset) + Int(length)])
        } else if entry.sendsData, !descriptors.isEmpty {
            return fetch(capsule, descriptors, queue)
        }
        target.received(capsule, on: queue)
    }

    /// Names a command among those of all queues.
    private static func name(_ entry: SubmissionEntry, _ queue: TargetQueue) -> UInt32 {
        UInt32(queue.id) << 16 | UInt32(entry.commandID)
    }

    private static func descriptors(_ entry: SubmissionEntry, _ behind: [UInt8]) -> [SGLDescriptor] {
        switch SGLDescriptor(entry.dataPointer) {
        case .lastSegmentInCapsule(let offset, let length):
            stride(from: Int(offset), to: Int(offset) + Int(length), by: SGLDescriptor.byteCount).map { place in
                behind.withUnsafeBytes { SGLDescriptor(from: $0.baseAddress! + place) }
            }
        case .keyed(let address, let length, let key, let invalidate):
            [.keyed(address: address, length: length, key: key, invalidate: invalidate)]
        default: []
        }
    }

    private func fetch(_ capsule: Capsule, _ descriptors: [SGLDescriptor], _ queue: Queue) {
        nextFetch += 1
        let length = transfer(descriptors, queue, .rdmaRead, [], id: nextFetch)
        fetches[nextFetch] = (capsule, queue, length.place, length.bytes)
    }

    override func write(_ bytes: [UInt8], for entry: SubmissionEntry, of queue: TargetQueue) {
        guard let queue = queue as? Queue else { return }
        _ = transfer(lists[Self.name(entry, queue)] ?? [], queue, .rdmaWrite, bytes, id: 0)
    }

    /// Moves data between the host's memory and a place of ours.
    private func transfer(
        _ descriptors: [SGLDescriptor], _ queue: Queue, _ opcode: WorkOpcode, _ bytes: [UInt8], id: UInt64
    ) -> (place: Int, bytes: Int) {
        var pieces: [(address: UInt64, length: Int, key: UInt32)] = []
        for case .keyed(let address, let length, let key, _) in descriptors {
            pieces.append((address, Int(length), key))
        }
        let total = pieces.reduce(0) { $0 + $1.length }
        let place = place(total)
        if opcode == .rdmaWrite {
            for (offset, byte) in bytes.prefix(total).enumerated() { memory[place + offset] = byte }
        }
        var offset = 0
        for (index, piece) in pieces.enumerated() {
            let count = opcode == .rdmaWrite ? min(piece.length, bytes.count - offset) : piece.length
            guard count > 0 else { break }
            let isLast = opcode == .rdmaRead && index == pieces.count - 1
            post(
                WorkRequest(
                    id: isLast ? id : 0, queuePair: queue.handle, opcode: opcode, flags: isLast ? .signaled : [],
                    segment: ScatterGatherElement(
                        memory.baseAddress! + place + offset, length: count, localKey: region?.localKey ?? 0),
                    remoteAddress: piece.address, remoteKey: piece.key))
            offset += count
        }
        return (place, offset)
    }

    override func send(_ bytes: [UInt8], to queue: TargetQueue, invalidating key: UInt32?) {
        guard let queue = queue as? Queue, let region else { return }
        let place = place(bytes.count)
        for (offset, byte) in bytes.enumerated() { memory[place + offset] = byte }
        post(
            WorkRequest(
                id: 0, queuePair: queue.handle, opcode: key == nil ? .send : .sendWithInvalidate, flags: [],
                segment: ScatterGatherElement(
                    memory.baseAddress! + place, length: bytes.count, localKey: region.localKey),
                remoteKey: key ?? 0))
    }
}
