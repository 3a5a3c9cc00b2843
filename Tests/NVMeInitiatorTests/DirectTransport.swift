import Base
import InitiatorTransport
import NVMeSpec

/// A second transport: commands and data go from hand to hand, in one process, without a fabric, a device or a thread. What is
/// sent arrives with the target's next poll, what is answered with the host's.
final class DirectTransport: HostTransport {
    /// When the transport says that it needs a command's memory no more.
    enum Release {
        case beforeAnswers
        case afterAnswers
    }

    var release = Release.beforeAnswers
    /// Commands that an I/O queue's connection may have under way; `nil` for as many as the host asks for.
    var grantedCommands: Int?
    /// Closed connections do not end while this is set: a device still reaches memory.
    var withholdsEnds = false
    /// Buffers for the data of control commands; `nil` for as many as are asked for.
    var controlBuffers: Int?
    /// As many of them as were taken at once.
    private(set) var mostControlBuffers = 0
    let port = DirectPort()
    private var connections: [HostConnectionIndex: Connection] = [:]
    private var commands: [CommandEvent] = []
    private var held: [CommandEvent] = []
    private var events: [HostConnectionEvent] = []
    private var ending: [HostConnectionIndex] = []
    private var polled = UnsafeMutableBufferPointer<CommandEvent>.allocate(capacity: 0)
    private var lentBuffers: [Int: UnsafeMutableRawPointer] = [:]

    /// Both sides of a connection.
    final class Connection: TargetQueue {
        let index: HostConnectionIndex
        let request: HostConnectionRequest
        var isLive = false
        /// Commands under way, by their identifiers.
        var data: [UInt16: CommandData] = [:]

        init(_ index: HostConnectionIndex, _ request: HostConnectionRequest) {
            self.index = index
            self.request = request
            super.init(request.queueID)
        }
    }

    init() { port.transport = self }

    deinit {
        polled.deallocate()
        for buffer in lentBuffers.values { buffer.deallocate() }
    }

    let connectionCapacity = 64

    /// Connections through which a target reaches the host's memory.
    var liveConnections: [Connection] {
        connections.values.filter(\.isLive).sorted { $0.index.position < $1.index.position }
    }

    /// Connections that have not ended.
    var connectionCount: Int { connections.count }

    // MARK: The host's side

    func connect(_ request: HostConnectionRequest) throws(ConnectionFailure) -> HostConnectionIndex {
        let places = (0..<UInt32(connectionCapacity)).lazy.map { HostConnectionIndex(position: $0) }
        guard let index = places.first(where: { self.connections[$0] == nil }) else {
            throw .resources("more than \(connectionCapacity) connections")
        }
        let connection = Connection(index, request)
        connections[index] = connection
        port.requests.append(connection)
        return index
    }

    func objection(to controller: IdentifyController) -> String? { nil }

    func configure(
        _ connection: HostConnectionIndex, for controller: IdentifyController, _ wishes: TransferWishes
    ) -> TransferLimits {
        TransferLimits(maxBytes: UInt64(wishes.maxBytes), maxPieces: max(1, Int(controller.maxSGLDescriptors)))
    }

    func close(_ connection: HostConnectionIndex) {
        ending.append(connection)
        if let connection = connections[connection], connection.isLive { port.lost.append(connection) }
        if !withholdsEnds { connections[connection]?.isLive = false }
    }

    func poll(now: MonotonicTime) -> CommandEvents {
        if !withholdsEnds {
            for index in ending {
                connections[index] = nil
                events.append(.ended(index))
            }
            ending = []
        }
        polled.deallocate()
        polled = .allocate(capacity: commands.count)
        _ = polled.initialize(fromContentsOf: commands)
        commands = []
        return CommandEvents(polled)
    }

    func nextEvent() -> HostConnectionEvent? { events.isEmpty ? nil : events.removeFirst() }

    func send(_ capsules: UnsafeBufferPointer<CommandCapsule>) {
        for capsule in capsules {
            guard let connection = connections[capsule.connection], connection.isLive else { continue }
            connection.data[capsule.entry.commandID] = capsule.data
            port.sent.append((connection, capsule))
            let event = CommandEvent(released: capsule.index, capsule.connection)
            if release == .beforeAnswers { commands.append(event) } else { held.append(event) }
        }
    }

    func flush() {}

    func device(of connection: HostConnectionIndex) -> TransportDevice? {
        connections[connection].map { _ in TransportDevice(number: 0, domain: 1, registrar: nil) }
    }

    func takeControlBuffer(_ connection: HostConnectionIndex, _ direction: DataDirection) -> ControlBuffer? {
        if let controlBuffers, lentBuffers.count >= controlBuffers { return nil }
        let place = (0...).first { lentBuffers[$0] == nil } ?? 0
        let memory = UnsafeMutableRawPointer.allocate(byteCount: ControlBuffer.byteCount, alignment: 64)
        lentBuffers[place] = memory
        mostControlBuffers = max(mostControlBuffers, lentBuffers.count)
        return ControlBuffer(
            IOSegment(address: memory, length: ControlBuffer.byteCount, localKey: 0, remoteKey: UInt32(place)),
            direction,
            device: 0)
    }

    func giveControlBuffer(_ buffer: ControlBuffer) {
        lentBuffers.removeValue(forKey: Int(buffer.segment.remoteKey))?.deallocate()
    }

    var nextDeadline: MonotonicTime { .distantFuture }
    var descriptors: [Int32] { [] }
    var descriptorGeneration: UInt64 { 0 }
    func expectEvents() {}
    func armNotifications() {}
    func acknowledgeNotifications() {}
    func acknowledgeNotification(_ descriptor: Int32) {}
    func shutDown() {}

    // MARK: The target's side

    func accepted(_ connection: Connection) {
        guard connections[connection.index] === connection, !ending.contains(connection.index) else { return }
        connection.isLive = true
        let wanted = connection.request.entries - 1
        let commands = connection.request.queueID > 0 ? grantedCommands ?? wanted : wanted
        events.append(.connected(connection.index, commands: commands))
    }

    func refused(_ connection: Connection, _ reason: String?) {
        guard connections[connection.index] === connection, !ending.contains(connection.index) else { return }
        connections[connection.index] = nil
        events.append(.refused(connection.index, .refused(reason: reason)))
    }

    func failed(_ connection: Connection, _ reason: String) {
        guard connection.isLive, connections[connection.index] === connection else { return }
        connection.isLive = false
        events.append(.failed(connection.index, reason: reason))
    }

    func answered(_ connection: Connection, _ answer: CompletionEntry) {
        guard connection.isLive else { return }
        commands.append(CommandEvent(answered: answer, connection.index))
        let index = CommandIdentifier.index(of: answer.commandID)
        if let place = held.firstIndex(where: { $0.connection == connection.index && $0.index == index }) {
            commands.append(held.remove(at: place))
        }
    }
}

extension CommandData {
    /// The pieces of the host's memory, each as long as it is used.
    var pieces: [UnsafeMutableRawBufferPointer] {
        var result: [UnsafeMutableRawBufferPointer] = []
        var (left, piece, next) = (byteCount, first, further)
        while left > 0 {
            let length = min(piece.length, left)
            result.append(UnsafeMutableRawBufferPointer(start: piece.address, count: length))
            left -= length
            guard left > 0, let further = next else { break }
            (piece, next) = (further.pointee, further + 1)
        }
        return result
    }
}

/// The target's end of a `DirectTransport`.
final class DirectPort: TargetPort {
    unowned var transport: DirectTransport!
    fileprivate var requests: [DirectTransport.Connection] = []
    fileprivate var sent: [(DirectTransport.Connection, CommandCapsule)] = []
    fileprivate var lost: [DirectTransport.Connection] = []
    private var isListening = false

    override var queues: [TargetQueue] { transport.liveConnections }

    override func listen() { isListening = true }

    override func vanish() {
        isListening = false
        for connection in transport.liveConnections { disconnect(connection) }
    }

    override func disconnect(_ queue: TargetQueue) {
        guard let connection = queue as? DirectTransport.Connection else { return }
        transport.failed(connection, "the controller ended the connection, or is gone")
    }

    override func poll() -> Int {
        let (requests, sent, lost) = (requests, sent, lost)
        self.requests = []
        self.sent = []
        self.lost = []
        for connection in requests { answer(connection) }
        for (connection, capsule) in sent where connection.isLive {
            var payload: [UInt8] = []
            if capsule.entry.sendsData { for piece in capsule.data.pieces { payload += piece } }
            target.received(Capsule(queue: connection.id, entry: capsule.entry, payload: payload), on: connection)
        }
        for connection in lost { target.ended(connection) }
        return requests.count + sent.count + lost.count
    }

    private func answer(_ connection: DirectTransport.Connection) {
        guard isListening, connection.request.address == ScriptedTarget.address else {
            return transport.refused(connection, nil)
        }
        guard target.answersConnections else { return }
        if let refusal = target.refusal {
            return transport.refused(connection, String(decoding: refusal, as: UTF8.self))
        }
        transport.accepted(connection)
    }

    override func send(_ bytes: [UInt8], to queue: TargetQueue, invalidating key: UInt32?) {
        guard let connection = queue as? DirectTransport.Connection else { return }
        guard bytes.count == CompletionEntry.byteCount, key == nil else {
            return transport.failed(connection, "the controller sent what is no completion")
        }
        transport.answered(connection, bytes.withUnsafeBytes { CompletionEntry(from: $0.baseAddress!) })
    }

    override func write(_ bytes: [UInt8], for entry: SubmissionEntry, of queue: TargetQueue) {
        guard let connection = queue as? DirectTransport.Connection, connection.isLive,
            let data = connection.data[entry.commandID]
        else { return }
        var offset = 0
        for piece in data.pieces {
            let count = min(piece.count, bytes.count - offset)
            guard count > 0 else { break }
            bytes.withUnsafeBytes { piece.baseAddress?.copyMemory(from: $0.baseAddress! + offset, byteCount: count) }
            offset += count
        }
    }
}
