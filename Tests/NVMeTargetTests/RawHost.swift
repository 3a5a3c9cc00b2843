import Base
import FabricInterface
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
