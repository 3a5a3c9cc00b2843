import Base
import FabricInterface
import LoopbackFabric
import NVMeSpec

/// A command as the target received it.
struct Capsule {
    var queue: UInt16
    var entry: SubmissionEntry
    /// What came behind the entry.
    var data: [UInt8]
}

/// What a target does with a command; what no honest one does among it.
enum Reaction {
    case answer(Status, result: UInt64 = 0)
    /// Data for the host, as far as it asked for it, then success.
    case data([UInt8])
    /// These bytes in place of a completion.
    case raw([UInt8])
    /// A completion for the command with this identifier, then nothing.
    case complete(UInt16)
    case answerTwice
    /// A status for another command of a queue, then success for this one.
    case end(queue: UInt16, UInt16, Status)
    /// An answer that invalidates a key.
    case invalidate(UInt32)
    case ignore
    case disconnect
}

/// A target for the tests: a small honest one, which can be told to lie. Polled by the test; no threads, no time.
final class ScriptedTarget {
    let fabric: LoopbackFabric
    let network: LoopbackNetwork
    let address = SocketAddress(host: "127.0.0.1", port: 4420)!
    private var listener: ListenerHandle?
    private var context: FabricContext?
    private var queues: [ConnectionHandle: Queue] = [:]
    private let memory: UnsafeMutableRawBufferPointer
    private var region: MemoryRegion?
    private var nextResponse = 0
    private var configuration: UInt32 = 0

    /// Everything that arrived, in order.
    private(set) var capsules: [Capsule] = []
    /// Asynchronous Event Requests that wait for an event.
    private var eventRequests: [(Queue, UInt16)] = []

    // What it says of itself.
    var capabilities = ControllerCapabilities(queueEntries: 64, timeoutMilliseconds: 1000)
    var identify = ScriptedTarget.honestController()
    var namespaces: [UInt32: IdentifyNamespace] = [1: IdentifyNamespace(blockCount: 4096, blockSize: 512)]
    var store: [UInt32: [UInt8]] = [1: [UInt8](repeating: 0, count: 4096 * 512)]
    var grantedQueues = 8
    var status = ControllerStatus(rawValue: 1)
    var privateData: (UInt16) -> [UInt8] = { RDMAConnectReply(controllerReceiveQueueSize: $0).privateData }
    var refusal: [UInt8]?
    var answersConnections = true
    /// Asked before the honest answer; `nil` for that one.
    var react: (Capsule) -> Reaction? = { _ in nil }

    private final class Queue {
        let connection: ConnectionHandle
        let handle: QueuePairHandle
        let id: UInt16
        let entries: Int
        init(_ connection: ConnectionHandle, _ handle: QueuePairHandle, _ id: UInt16, _ entries: Int) {
            self.connection = connection
            self.handle = handle
            self.id = id
            self.entries = entries
        }
    }

    private static let receiveBytes = 8192
    private static let receives = 1024
    private static let dataOffset = receiveBytes * receives
    private static let responseOffset = dataOffset + (4 << 20)

    init(_ network: LoopbackNetwork) throws {
        self.network = network
        fabric = LoopbackFabric(network)
        memory = .allocate(byteCount: Self.responseOffset + 64 * 1024, alignment: 4096)
        try listen()
    }

    deinit {
        fabric.close()
        memory.deallocate()
    }

    static func honestController() -> IdentifyController {
        var identify = IdentifyController()
        identify.modelNumber = "Scripted"
        identify.controllerID = 7
        identify.maxDataTransferSize = 5
        identify.keepAliveGranularity = 10
        identify.controllerType = .io
        identify.sglSupport = [.supported, .keyed, .offset]
        identify.ioCommandCapsuleSize = 4 + 4096 / 16
        identify.maxSGLDescriptors = 4
        identify.asyncEventRequestLimit = 3
        identify.asyncEvents = [.namespaceAttribute, .anaChange]
        identify.namespaceCount = 16
        identify.nvmCommands = [.compare, .writeZeroes, .datasetManagement, .verify, .reservations]
        identify.fusedOperations = 1
        return identify
    }

    func listen() throws { listener = try fabric.listen(at: address, backlog: 8) }

    /// Stops accepting, and ends what is connected.
    func vanish() {
        if let listener { fabric.stopListening(listener) }
        for queue in queues.values { fabric.destroy(queue.connection) }
        queues = [:]
        eventRequests = []
    }

    var queueCount: Int { queues.count }

    /// Commands of an opcode that arrived on I/O queues.
    func commands(_ opcode: NVMOpcode) -> [SubmissionEntry] {
        capsules.filter { $0.queue > 0 && $0.entry.opcode == opcode.rawValue }.map(\.entry)
    }

    /// Answers a waiting Asynchronous Event Request.
    func report(_ event: AsyncEvent) {
        guard !eventRequests.isEmpty else { return }
        let (queue, identifier) = eventRequests.removeFirst()
        respond(queue, CompletionEntry(result: UInt64(event.dword0), commandID: identifier))
    }

    func poll() throws -> Int {
        var work = 0
        while let event = fabric.nextEvent() {
            try handle(event)
            work += 1
        }
        guard let context else { return work }
        try withUnsafeTemporaryAllocation(of: WorkCompletion.self, capacity: 64) { batch in
            let count = context.poll(into: batch)
            work += count
            for index in 0..<count where batch[index].kind == .receive && batch[index].status == .success {
                try received(batch[index])
            }
        }
        return work
    }

    // MARK: Connections

    private func handle(_ event: ConnectionEvent) throws {
        switch event {
        case .requested(let connection, let request):
            guard answersConnections else { return }
            if let refusal { return fabric.reject(connection, privateData: refusal) }
            let wanted = try RDMAConnectRequest(decoding: request.parameters.privateData)
            let context = try context(connection)
            let entries = Int(wanted.hostSendQueueSize) + 1
            let handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(sendEntries: 256, receiveEntries: 0, usesSharedReceiveQueue: true))
            queues[connection] = Queue(connection, handle, wanted.queueID, entries)
            try fabric.accept(
                connection,
                ConnectionParameters(
                    responderResources: 16, initiatorDepth: 16, privateData: privateData(UInt16(entries))))
        case .disconnected(let connection):
            guard let queue = queues.removeValue(forKey: connection) else { return }
            eventRequests.removeAll { $0.0 === queue }
            fabric.destroy(connection)
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

    // MARK: Commands

    private func received(_ completion: WorkCompletion) throws {
        let bytes = UnsafeRawPointer(memory.baseAddress! + Int(completion.id) * Self.receiveBytes)
        let entry = SubmissionEntry(from: bytes)
        let data = Array(UnsafeRawBufferPointer(start: bytes + 64, count: Int(completion.byteCount) - 64))
        post(receive: Int(completion.id))
        guard let queue = queues.values.first(where: { $0.handle == completion.queuePair }) else { return }
        let capsule = Capsule(queue: queue.id, entry: entry, data: data)
        capsules.append(capsule)
        perform(react(capsule) ?? honest(capsule, queue), capsule, queue)
    }

    private func perform(_ reaction: Reaction, _ capsule: Capsule, _ queue: Queue) {
        let identifier = capsule.entry.commandID
        switch reaction {
        case .answer(let status, let result):
            respond(queue, CompletionEntry(result: result, commandID: identifier, status: status))
        case .data(let bytes):
            write(bytes, capsule, queue)
            respond(queue, CompletionEntry(commandID: identifier))
        case .raw(let bytes): send(bytes, queue)
        case .complete(let other): respond(queue, CompletionEntry(commandID: other))
        case .answerTwice:
            respond(queue, CompletionEntry(commandID: identifier))
            respond(queue, CompletionEntry(commandID: identifier))
        case .end(let other, let command, let status):
            if let other = queues.values.first(where: { $0.id == other }) {
                respond(other, CompletionEntry(commandID: command, status: status))
            }
            respond(queue, CompletionEntry(commandID: identifier))
        case .invalidate(let key):
            var bytes = [UInt8](repeating: 0, count: 16)
            bytes.withUnsafeMutableBytes { CompletionEntry(commandID: identifier).store(to: $0.baseAddress!) }
            send(bytes, queue, invalidating: key)
        case .ignore: break
        case .disconnect: fabric.disconnect(queue.connection)
        }
    }

    private func respond(_ queue: Queue, _ entry: CompletionEntry) {
        var bytes = [UInt8](repeating: 0, count: 16)
        bytes.withUnsafeMutableBytes { entry.store(to: $0.baseAddress!) }
        send(bytes, queue)
    }

    private func send(_ bytes: [UInt8], _ queue: Queue, invalidating key: UInt32? = nil) {
        guard let region else { return }
        nextResponse = (nextResponse + 1) % 1024
        let place = memory.baseAddress! + Self.responseOffset + nextResponse * 64
        bytes.withUnsafeBytes { place.copyMemory(from: $0.baseAddress!, byteCount: bytes.count) }
        post(
            WorkRequest(
                id: 0, queuePair: queue.handle, opcode: key == nil ? .send : .sendWithInvalidate, flags: [],
                segment: ScatterGatherElement(place, length: bytes.count, localKey: region.localKey),
                remoteKey: key ?? 0))
    }

    private func post(_ request: WorkRequest) {
        withUnsafePointer(to: request) { context?.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    /// The pieces of host memory that a command names.
    private func descriptors(_ capsule: Capsule) -> [SGLDescriptor] {
        switch SGLDescriptor(capsule.entry.dataPointer) {
        case .lastSegmentInCapsule(let offset, let length):
            capsule.data.withUnsafeBytes { bytes in
                (0..<Int(length) / 16).map { SGLDescriptor(from: bytes.baseAddress! + Int(offset) + $0 * 16) }
            }
        case let one: [one]
        }
    }

    private func write(_ bytes: [UInt8], _ capsule: Capsule, _ queue: Queue) {
        transfer(capsule, queue, .rdmaWrite, bytes)
    }

    /// The data that a command sends: from its capsule, or fetched.
    func payload(_ capsule: Capsule) -> [UInt8] {
        if case .inCapsule(let offset, let length) = SGLDescriptor(capsule.entry.dataPointer) {
            return Array(capsule.data[Int(offset)..<Int(offset) + Int(length)])
        }
        guard let queue = queues.values.first(where: { $0.id == capsule.queue }) else { return [] }
        let length = transfer(capsule, queue, .rdmaRead, [])
        return Array(UnsafeRawBufferPointer(start: memory.baseAddress! + Self.dataOffset, count: length))
    }

    @discardableResult
    private func transfer(_ capsule: Capsule, _ queue: Queue, _ opcode: WorkOpcode, _ bytes: [UInt8]) -> Int {
        guard let region else { return 0 }
        var offset = 0
        let local = memory.baseAddress! + Self.dataOffset
        if opcode == .rdmaWrite {
            bytes.withUnsafeBytes { local.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        }
        for case .keyed(let address, let length, let key, _) in descriptors(capsule) {
            let count = opcode == .rdmaWrite ? min(Int(length), bytes.count - offset) : Int(length)
            guard count > 0 else { break }
            post(
                WorkRequest(
                    id: 0, queuePair: queue.handle, opcode: opcode, flags: [],
                    segment: ScatterGatherElement(local + offset, length: count, localKey: region.localKey),
                    remoteAddress: address, remoteKey: key))
            offset += count
        }
        return offset
    }

    // MARK: Honest answers

    private func honest(_ capsule: Capsule, _ queue: Queue) -> Reaction {
        let entry = capsule.entry
        if entry.opcode == FabricsCommandType.opcode { return fabrics(FabricsCommand(entry)) }
        if queue.id > 0 { return io(capsule) }
        switch AdminCommand(entry) {
        case .identify(let command): return identify(command, entry.nsid)
        case .setFeatures(let command) where command.feature == .numberOfQueues:
            let granted = NumberOfQueues(submission: grantedQueues, completion: grantedQueues)
            return .answer(.success, result: UInt64(granted.rawValue))
        case .asynchronousEventRequest:
            eventRequests.append((queue, entry.commandID))
            return .ignore
        case .getLogPage(let command) where command.logPage == .changedNamespaces:
            return .data(NamespaceList(changed: [1]).encoded)
        case .setFeatures, .getFeatures, .keepAlive: return .answer(.success)
        case .abort: return .answer(.success, result: 1)
        default: return .answer(.invalidOpcode.doNotRetry)
        }
    }

    private func fabrics(_ command: FabricsCommand) -> Reaction {
        switch command {
        case .connect: return .answer(.success, result: UInt64(identify.controllerID))
        case .propertyGet(let get):
            switch Property(rawValue: get.offset) {
            case .capabilities: return .answer(.success, result: capabilities.rawValue)
            case .status:
                var status = status
                if configuration >> 14 & 3 != 0 { status.shutdownStatus = .complete }
                return .answer(.success, result: UInt64(status.rawValue))
            default: return .answer(.success)
            }
        case .propertySet(let set):
            configuration = UInt32(truncatingIfNeeded: set.value)
            return .answer(.success)
        default: return .answer(.invalidOpcode.doNotRetry)
        }
    }

    private func identify(_ command: IdentifyCommand, _ nsid: UInt32) -> Reaction {
        switch command.structure {
        case .controller: return .data(identify.encoded)
        case .activeNamespaces: return .data(NamespaceList(namespaces.keys, after: nsid).encoded)
        case .namespace:
            return namespaces[nsid].map { .data($0.encoded) } ?? .answer(.invalidNamespaceOrFormat.doNotRetry)
        default: return .answer(.invalidField.doNotRetry)
        }
    }

    private func io(_ capsule: Capsule) -> Reaction {
        let entry = capsule.entry
        guard let bytes = store[entry.nsid], let size = namespaces[entry.nsid]?.blockSize else {
            return .answer(.invalidNamespaceOrFormat.doNotRetry)
        }
        let (start, length) = (Int(clamping: entry.startingLBA) &* size, Int(entry.blockCount) * size)
        switch NVMOpcode(rawValue: entry.opcode) {
        case .read:
            guard start >= 0, start <= bytes.count, length <= bytes.count - start else {
                return .answer(.lbaOutOfRange.doNotRetry)
            }
            return .data(Array(bytes[start..<start + length]))
        case .write:
            guard start >= 0, start <= bytes.count, length <= bytes.count - start else {
                return .answer(.lbaOutOfRange.doNotRetry)
            }
            store[entry.nsid]!.replaceSubrange(start..<start + length, with: payload(capsule))
            return .answer(.success)
        case .compare:
            return .answer(payload(capsule) == Array(bytes[start..<start + length]) ? .success : .compareFailure)
        case .writeZeroes:
            store[entry.nsid]!.replaceSubrange(start..<start + length, with: repeatElement(0, count: length))
            return .answer(.success)
        case .flush, .verify, .datasetManagement: return .answer(.success)
        case .reservationRegister, .reservationAcquire, .reservationRelease: return .answer(.success)
        default: return .answer(.invalidOpcode.doNotRetry)
        }
    }
}
