import FabricInterface
import InProcessTransport
import Simulation

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
