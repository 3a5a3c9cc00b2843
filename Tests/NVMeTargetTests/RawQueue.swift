import FabricInterface
import Simulation

/// The options of a raw host that asks for a queue pair.
struct RawQueueOptions {
    var queueID: UInt16 = 0
    /// HSQSIZE, 0-based.
    var hostSendQueueSize: UInt16 = 31
    var hostReceiveQueueSize: UInt16 = 32
    /// READs of the target that the host answers at once.
    var responderResources: UInt8 = 8
    /// Instead of the 32 bytes of the specification.
    var replacedPrivateData: [UInt8]?
    /// Receive buffers; fewer than there are commands make the target wait.
    var receives = 128
    /// Called when the connection has been asked for.
    var early: ((RawQueue) -> Void)?

    /// NVMe RDMA Transport: RECFMT, QID, HRQSIZE, HSQSIZE, CNTLID, and 22 reserved bytes.
    var privateData: [UInt8] {
        if let replacedPrivateData { return replacedPrivateData }
        let fields = [0, queueID, hostReceiveQueueSize, hostSendQueueSize, 0].flatMap { RawSGL.little(UInt64($0), 2) }
        return fields + [UInt8](repeating: 0, count: 22)
    }
}

/// A queue of a raw host: capsules go out as the test wrote them, completions are collected.
final class RawQueue {
    unowned let host: RawHost
    let options: RawQueueOptions
    var connection: ConnectionHandle?
    var queuePair: QueuePairHandle?
    var accepted: ConnectionParameters?
    var rejection: [UInt8]?
    /// Why the connection ended.
    var end: String?
    private(set) var completions: [RawCompletion] = []
    /// Failed work of the queue pair.
    private(set) var failures: [CompletionStatus] = []
    private(set) var sent = 0
    /// Whether a receive buffer is given back to the queue when its completion has been taken.
    var repostsReceives = true
    private var nextID: UInt16 = 1
    private var context: FabricContext?
    let responses: Int
    let capsules: Int
    static let capsuleBytes = 64 + 8192
    static let capsuleCount = 64
    static let responseCount = 128

    init(_ host: RawHost, _ options: RawQueueOptions) {
        self.host = host
        self.options = options
        (responses, capsules) = host.takeQueueMemory()
    }

    var isOpen: Bool { accepted != nil && end == nil }

    func start(_ context: FabricContext) throws {
        self.context = context
        let handle = try context.createQueuePair(
            for: connection!,
            QueuePairOptions(
                sendEntries: 256, receiveEntries: options.receives, usesSharedReceiveQueue: false, sendSegments: 1))
        queuePair = handle
        for slot in 0..<options.receives { postReceive(UInt64(slot)) }
    }

    private func postReceive(_ slot: UInt64) {
        let request = ReceiveRequest(id: slot, segment: host.element(responses + Int(slot) * 16, 16))
        withUnsafePointer(to: request) {
            context?.postReceives(UnsafeBufferPointer(start: $0, count: 1), to: queuePair!)
        }
    }

    func handle(_ completion: WorkCompletion) {
        guard completion.status == .success else {
            failures.append(completion.status)
            return
        }
        guard completion.kind == .receive else { return }
        let start = responses + Int(completion.id) * 16
        completions.append(
            RawCompletion(
                host.bytes(start, 16),
                invalidatedKey: completion.invalidated ? completion.invalidatedKey : nil))
        if repostsReceives { postReceive(completion.id) }
    }

    /// Sends a capsule: a command, and data behind it. Returns the command's identifier.
    ///
    /// - Parameter length: bytes of the capsule that are sent, where they are not all.
    @discardableResult
    func send(_ command: RawCommand, data: [UInt8] = [], length: Int? = nil) -> UInt16 {
        var command = command
        command.id = nextID
        nextID += 1
        let start = capsules + sent % Self.capsuleCount * Self.capsuleBytes
        sent += 1
        UnsafeMutableRawBufferPointer(rebasing: host.memory[start..<start + 64]).copyBytes(from: command.bytes)
        if !data.isEmpty {
            host.fill(start + 64, data)
        }
        post(
            WorkRequest(
                id: 1 << 32, queuePair: queuePair!, opcode: .send, flags: .signaled,
                segment: host.element(start, length ?? 64 + data.count)))
        return command.id
    }

    func post(_ request: WorkRequest) {
        withUnsafePointer(to: request) { context?.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    /// Removes and returns the completion of a command.
    func take(_ id: UInt16) -> RawCompletion? {
        guard let index = completions.firstIndex(where: { $0.commandID == id }) else { return nil }
        return completions.remove(at: index)
    }
}
