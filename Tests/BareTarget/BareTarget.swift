import Base
import FabricInterface
import Foundation
import NVMeSpec
import VerbsFabric

/// Connections, capsules and data: one command is done after the other, on one thread.
final class BareTarget {
    final class Queue {
        let connection: ConnectionHandle
        let handle: QueuePairHandle
        let id: UInt16
        let controllerID: UInt16
        var hostID = UUIDBytes()
        init(_ connection: ConnectionHandle, _ handle: QueuePairHandle, _ id: UInt16, _ controllerID: UInt16) {
            self.connection = connection
            self.handle = handle
            self.id = id
            self.controllerID = controllerID
        }
    }

    let nqn: String
    let store: MappedStore
    let offers: Set<Offer>
    let lies: Bool
    var reservations = BareReservations()
    /// CC of each controller, as its host has set it.
    var configurations: [UInt16: UInt32] = [:]
    private let fabric: Fabric
    private var context: FabricContext?
    private var region: MemoryRegion?
    private var queues: [ConnectionHandle: Queue] = [:]
    private var nextController: UInt16 = 0
    /// Receives that arrived while data was moved.
    private var waiting: [WorkCompletion] = []
    private var nextResponse = 0
    private let memory: UnsafeMutableRawBufferPointer

    private static let receiveBytes = 8192
    private static let receives = 512
    private static let dataOffset = receiveBytes * receives
    private static let dataBytes = 1 << 20
    private static let responseOffset = dataOffset + dataBytes

    init(_ fabric: Fabric, nqn: String, store: MappedStore, offers: Set<Offer>, lies: Bool) {
        self.fabric = fabric
        self.nqn = nqn
        self.store = store
        self.offers = offers
        self.lies = lies
        memory = .allocate(byteCount: Self.responseOffset + 64 * 1024, alignment: 4096)
    }

    func serve(_ address: SocketAddress) throws -> Never {
        _ = try fabric.listen(at: address, backlog: 16)
        while true {
            var work = 0
            while let event = fabric.nextEvent() {
                try handle(event)
                work += 1
            }
            collect()
            while !waiting.isEmpty {
                received(waiting.removeFirst())
                work += 1
            }
            if work == 0 { usleep(100) }
        }
    }

    // MARK: Connections

    private func handle(_ event: ConnectionEvent) throws {
        switch event {
        case .requested(let connection, let request):
            guard let wanted = try? RDMAConnectRequest(decoding: request.parameters.privateData) else {
                return fabric.reject(connection, privateData: [])
            }
            let context = try context(connection)
            let handle = try context.createQueuePair(
                for: connection, QueuePairOptions(sendEntries: 64, receiveEntries: 0, usesSharedReceiveQueue: true))
            if wanted.queueID == 0 { nextController = nextController % 0xFFEF + 1 }
            let controller = wanted.queueID == 0 ? nextController : wanted.controllerID
            queues[connection] = Queue(connection, handle, wanted.queueID, controller)
            try fabric.accept(
                connection,
                ConnectionParameters(
                    responderResources: 16, initiatorDepth: 16,
                    privateData: RDMAConnectReply(controllerReceiveQueueSize: 32).privateData))
        case .disconnected(let connection):
            queues[connection] = nil
            fabric.destroy(connection)
        default: break
        }
    }

    private func context(_ connection: ConnectionHandle) throws -> FabricContext {
        if let context { return context }
        let made = try fabric.context(
            for: connection,
            ContextOptions(completionQueueEntries: 4096, sharedReceiveEntries: Self.receives, queuePairs: 64))
        region = try made.register(memory, access: [.localWrite])
        context = made
        for index in 0..<Self.receives { post(receive: index) }
        return made
    }

    private func post(receive index: Int) {
        guard let region, let context, let base = memory.baseAddress else { return }
        let request = ReceiveRequest(
            id: UInt64(index),
            segment: ScatterGatherElement(
                base + index * Self.receiveBytes, length: Self.receiveBytes, localKey: region.localKey))
        withUnsafePointer(to: request) { context.postSharedReceives(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    /// Takes completions: capsules for later; answers whether one of the data transfer `id` is among them, and how it went.
    @discardableResult
    private func collect(_ id: UInt64 = .max) -> CompletionStatus? {
        guard let context else { return nil }
        var found: CompletionStatus?
        withUnsafeTemporaryAllocation(of: WorkCompletion.self, capacity: 64) { batch in
            for index in 0..<context.poll(into: batch) {
                if batch[index].kind == .receive {
                    if batch[index].status == .success { waiting.append(batch[index]) }
                } else if batch[index].id == id {
                    found = batch[index].status
                }
            }
        }
        return found
    }

    // MARK: Commands

    private func received(_ completion: WorkCompletion) {
        guard let base = memory.baseAddress else { return }
        let bytes = UnsafeRawPointer(base + Int(completion.id) * Self.receiveBytes)
        let entry = SubmissionEntry(from: bytes)
        let data = Array(UnsafeRawBufferPointer(start: bytes + 64, count: Int(completion.byteCount) - 64))
        post(receive: Int(completion.id))
        guard let queue = queues.values.first(where: { $0.handle == completion.queuePair }) else { return }
        let command = BareCommand(entry: entry, queue: queue, data: data)
        switch execute(command) {
        case .later: break
        case .answer(let status, let result): respond(queue, entry.commandID, status, result)
        case .data(let bytes): respond(queue, entry.commandID, send(bytes, command) ? .success : .internalError, 0)
        }
    }

    private func respond(_ queue: Queue, _ identifier: UInt16, _ status: Status, _ result: UInt64) {
        guard let region, let base = memory.baseAddress else { return }
        nextResponse = (nextResponse + 1) % 1024
        let place = base + Self.responseOffset + nextResponse * 64
        CompletionEntry(result: result, commandID: identifier, status: status).store(to: place)
        post(
            WorkRequest(
                id: 1, queuePair: queue.handle, opcode: .send, flags: .signaled,
                segment: ScatterGatherElement(place, length: 16, localKey: region.localKey)))
    }

    private func post(_ request: WorkRequest) {
        withUnsafePointer(to: request) { context?.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    // MARK: Data

    /// The data that a command sends: from its capsule, or fetched; `nil` where that fails.
    func payload(_ command: BareCommand) -> [UInt8]? {
        switch SGLDescriptor(command.entry.dataPointer) {
        case .inCapsule(let offset, let length):
            guard Int(offset) + Int(length) <= command.data.count else { return nil }
            return Array(command.data[Int(offset)..<Int(offset) + Int(length)])
        case .keyed(let address, let length, let key, _):
            guard let base = memory.baseAddress,
                move(.rdmaRead, command.queue, address: address, length: Int(length), key: key)
            else { return nil }
            return Array(UnsafeRawBufferPointer(start: base + Self.dataOffset, count: Int(length)))
        default: return nil
        }
    }

    /// Writes to the host's memory that a command names.
    private func send(_ bytes: [UInt8], _ command: BareCommand) -> Bool {
        guard let base = memory.baseAddress,
            case .keyed(let address, let length, let key, _) = SGLDescriptor(command.entry.dataPointer)
        else { return false }
        let count = min(bytes.count, Int(length), Self.dataBytes)
        bytes.withUnsafeBytes { (base + Self.dataOffset).copyMemory(from: $0.baseAddress!, byteCount: count) }
        return move(.rdmaWrite, command.queue, address: address, length: count, key: key)
    }

    private func move(_ opcode: WorkOpcode, _ queue: Queue, address: UInt64, length: Int, key: UInt32) -> Bool {
        guard let region, let base = memory.baseAddress, length <= Self.dataBytes else { return false }
        nextTransfer += 1
        let id = nextTransfer
        post(
            WorkRequest(
                id: id, queuePair: queue.handle, opcode: opcode, flags: .signaled,
                segment: ScatterGatherElement(base + Self.dataOffset, length: length, localKey: region.localKey),
                remoteAddress: address, remoteKey: key))
        let end = Date().addingTimeInterval(5)
        while Date() < end {
            if let status = collect(id) { return status == .success }
        }
        return false
    }
    private var nextTransfer: UInt64 = 1
}

/// A command as it arrived.
struct BareCommand {
    var entry: SubmissionEntry
    var queue: BareTarget.Queue
    /// The bytes behind the entry.
    var data: [UInt8]
}

/// The answer to a command.
enum BareAnswer {
    case answer(Status, result: UInt64 = 0)
    /// Data for the host, then success.
    case data([UInt8])
    /// Asynchronous Event Requests: nothing ever happens here.
    case later

    static let invalidField = BareAnswer.answer(.invalidField.doNotRetry)
    static let invalidOpcode = BareAnswer.answer(.invalidOpcode.doNotRetry)
}
