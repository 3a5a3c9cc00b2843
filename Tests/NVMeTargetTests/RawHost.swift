import Base
import FabricInterface
import Glibc
import Reactor
import Simulation

/// A host that says what a test wants it to say: no rule of NVMe is in it.
final class RawHost: Poller {
    let name: String
    let device: SimulatedDevice
    let fabric: SimulatedFabric
    let memory: UnsafeMutableRawBufferPointer
    private(set) var context: FabricContext?
    private(set) var region = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
    private(set) var queues: [RawQueue] = []
    private var used = 0
    private var connectDataOffset: Int?
    private var freeQueueMemory: [(responses: Int, capsules: Int)] = []
    private let batch = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 64)
    var nqn: String
    var id: [UInt8]

    init(_ name: String, _ device: SimulatedDevice, memoryBytes: Int = 8 << 20) {
        self.name = name
        self.device = device
        fabric = SimulatedFabric([device])
        memory = .allocate(byteCount: memoryBytes, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        nqn = "nqn.2014-08.org.nvmexpress:uuid:\(name)"
        id = Array(name.utf8.prefix(16)) + [UInt8](repeating: 7, count: 16 - min(16, name.utf8.count))
    }

    deinit {
        memory.deallocate()
        batch.deallocate()
    }

    /// Memory of the host that nobody else uses, as an offset; registered as a whole.
    func allocate(_ bytes: Int) -> Int {
        let offset = (used + 511) / 512 * 512
        used = offset + bytes
        invariant(used <= memory.count, "the test gives its host more memory")
        return offset
    }

    /// Memory for the completions and capsules of a queue.
    func takeQueueMemory() -> (responses: Int, capsules: Int) {
        freeQueueMemory.popLast()
            ?? (allocate(RawQueue.responseCount * 16), allocate(RawQueue.capsuleBytes * RawQueue.capsuleCount))
    }

    /// Memory for the data of a Connect command; one is sent at a time.
    func connectData() -> Int {
        if let connectDataOffset { return connectDataOffset }
        let offset = allocate(1024)
        connectDataOffset = offset
        return offset
    }

    func fill(_ offset: Int, _ bytes: [UInt8]) { memory[offset..<offset + bytes.count].copyBytes(from: bytes) }
    func fill(_ offset: Int, _ value: UInt8, count: Int) { fill(offset, [UInt8](repeating: value, count: count)) }
    func bytes(_ offset: Int, _ count: Int) -> [UInt8] { Array(memory[offset..<offset + count]) }

    func address(_ offset: Int) -> UInt64 { UInt64(UInt(bitPattern: memory.baseAddress! + offset)) }

    func element(_ offset: Int, _ length: Int) -> ScatterGatherElement {
        ScatterGatherElement(memory.baseAddress! + offset, length: length, localKey: region.localKey)
    }

    /// A keyed data block for the host's memory.
    func keyed(_ offset: Int, _ length: Int, type: UInt8 = 0x40) -> [UInt8] {
        RawSGL.keyed(address: address(offset), length: length, key: region.remoteKey, type: type)
    }

    /// Begins to connect a queue. It goes on as the world does.
    func open(_ address: SocketAddress, _ options: RawQueueOptions) throws -> RawQueue {
        let queue = RawQueue(self, options)
        queue.connection = try fabric.resolve(address, from: nil, timeoutMilliseconds: 1000)
        queues.append(queue)
        return queue
    }

    func prepare(_ queue: RawQueue) throws {
        let context: FabricContext
        if let existing = self.context {
            context = existing
        } else {
            context = try fabric.context(
                for: queue.connection!,
                ContextOptions(completionQueueEntries: 65536, sharedReceiveEntries: 0, queuePairs: 256))
            region = try context.register(memory, access: [.localWrite, .remoteRead, .remoteWrite])
            self.context = context
        }
        try queue.start(context)
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
                try fabric.connect(
                    connection,
                    ConnectionParameters(
                        responderResources: queue.options.responderResources, initiatorDepth: 1,
                        privateData: queue.options.privateData))
                if let early = queue.options.early { early(queue) }
            } catch {
                queue.end = "\(error)"
            }
        case .established(let connection, let parameters):
            queue(connection)?.accepted = parameters
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
        freeQueueMemory.append((queue.responses, queue.capsules))
        queue.end = "destroyed"
    }

    func destroyAll() { for queue in queues { destroy(queue) } }

    func end(_ ending: VanishingTests.Ending) {
        switch ending {
        case .disconnect: for queue in queues { fabric.disconnect(queue.connection!) }
        case .destroy: destroyAll()
        case .powerLoss: device.isReachable = false
        }
    }
}
