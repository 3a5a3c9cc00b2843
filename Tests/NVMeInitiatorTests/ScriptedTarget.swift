import Base
import NVMeSpec

/// A command as the target received it.
struct Capsule {
    var queue: UInt16
    var entry: SubmissionEntry
    /// The data that the command sends: from its capsule, or fetched.
    var payload: [UInt8]
}

/// A target's reaction to a command; some of them no honest one has.
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

/// One connection of a scripted target, as its port has it.
class TargetQueue {
    let id: UInt16
    init(_ id: UInt16) { self.id = id }
}

/// How a scripted target is reached: what brings it commands and takes its answers back.
class TargetPort {
    unowned var target: ScriptedTarget!
    /// Accepts connections from now on.
    func listen() throws {}
    /// Stops accepting, and ends what is connected.
    func vanish() {}
    func poll() throws -> Int { 0 }
    var queues: [TargetQueue] { [] }
    func send(_ bytes: [UInt8], to queue: TargetQueue, invalidating key: UInt32? = nil) {}
    /// Puts data where a command wants it, before what is sent next.
    func write(_ bytes: [UInt8], for entry: SubmissionEntry, of queue: TargetQueue) {}
    func disconnect(_ queue: TargetQueue) {}
}

/// A target for the tests: a small honest one, which can be told to lie. Polled by the test; no threads, no time.
final class ScriptedTarget {
    static let address = SocketAddress(host: "127.0.0.1", port: 4420)!
    let port: TargetPort
    private var configuration: UInt32 = 0
    /// Everything that arrived, in order.
    private(set) var capsules: [Capsule] = []
    /// Asynchronous Event Requests that wait for an event.
    private var eventRequests: [(TargetQueue, UInt16)] = []

    // Its words about itself.
    var capabilities = ControllerCapabilities(queueEntries: 64, timeoutMilliseconds: 1000)
    var identify = ScriptedTarget.honestController()
    var namespaces: [UInt32: IdentifyNamespace] = [1: IdentifyNamespace(blockCount: 4096, blockSize: 512)]
    var store: [UInt32: [UInt8]] = [1: [UInt8](repeating: 0, count: 4096 * 512)]
    var grantedQueues = 8
    var status = ControllerStatus(rawValue: 1)
    /// Its words over RDMA when it accepts or refuses a connection; a refusal over another transport has no reason.
    var privateData: (UInt16) -> [UInt8] = { RDMAConnectReply(controllerReceiveQueueSize: $0).privateData }
    var refusal: [UInt8]?
    var answersConnections = true
    /// Asked before the honest answer; `nil` for that one.
    var react: (Capsule) -> Reaction? = { _ in nil }

    init(_ port: TargetPort) throws {
        self.port = port
        port.target = self
        try port.listen()
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

    /// No lie from here on.
    func tellsTheTruth() {
        let honest = ControllerCapabilities(queueEntries: 64, timeoutMilliseconds: 1000)
        (capabilities, identify, status) = (honest, Self.honestController(), ControllerStatus(rawValue: 1))
        (refusal, answersConnections) = (nil, true)
        react = { _ in nil }
    }

    func listen() throws { try port.listen() }

    /// Stops accepting, and ends what is connected.
    func vanish() {
        port.vanish()
        eventRequests = []
    }

    var queueCount: Int { port.queues.count }

    func poll() throws -> Int { try port.poll() }

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

    /// Answers a command that was left without an answer.
    func answer(queue id: UInt16, _ command: UInt16) {
        if let queue = port.queues.first(where: { $0.id == id }) { respond(queue, CompletionEntry(commandID: command)) }
    }

    // MARK: Commands

    func received(_ capsule: Capsule, on queue: TargetQueue) {
        capsules.append(capsule)
        perform(react(capsule) ?? honest(capsule, queue), capsule, queue)
    }

    func ended(_ queue: TargetQueue) { eventRequests.removeAll { $0.0 === queue } }

    private func perform(_ reaction: Reaction, _ capsule: Capsule, _ queue: TargetQueue) {
        let identifier = capsule.entry.commandID
        switch reaction {
        case .answer(let status, let result):
            respond(queue, CompletionEntry(result: result, commandID: identifier, status: status))
        case .data(let bytes):
            port.write(bytes, for: capsule.entry, of: queue)
            respond(queue, CompletionEntry(commandID: identifier))
        case .raw(let bytes): port.send(bytes, to: queue)
        case .complete(let other): respond(queue, CompletionEntry(commandID: other))
        case .answerTwice:
            respond(queue, CompletionEntry(commandID: identifier))
            respond(queue, CompletionEntry(commandID: identifier))
        case .end(let other, let command, let status):
            if let other = port.queues.first(where: { $0.id == other }) {
                respond(other, CompletionEntry(commandID: command, status: status))
            }
            respond(queue, CompletionEntry(commandID: identifier))
        case .invalidate(let key): respond(queue, CompletionEntry(commandID: identifier), invalidating: key)
        case .ignore: break
        case .disconnect: port.disconnect(queue)
        }
    }

    private func respond(_ queue: TargetQueue, _ entry: CompletionEntry, invalidating key: UInt32? = nil) {
        var bytes = [UInt8](repeating: 0, count: CompletionEntry.byteCount)
        bytes.withUnsafeMutableBytes { entry.store(to: $0.baseAddress!) }
        port.send(bytes, to: queue, invalidating: key)
    }

    // MARK: Honest answers

    private func honest(_ capsule: Capsule, _ queue: TargetQueue) -> Reaction {
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
            store[entry.nsid]!.replaceSubrange(start..<start + length, with: capsule.payload)
            return .answer(.success)
        case .compare:
            return .answer(capsule.payload == Array(bytes[start..<start + length]) ? .success : .compareFailure)
        case .writeZeroes:
            store[entry.nsid]!.replaceSubrange(start..<start + length, with: repeatElement(0, count: length))
            return .answer(.success)
        case .flush, .verify, .datasetManagement: return .answer(.success)
        case .reservationRegister, .reservationAcquire, .reservationRelease: return .answer(.success)
        default: return .answer(.invalidOpcode.doNotRetry)
        }
    }
}
