import Base
import NVMeSpec
import TargetInterface
import TargetTransport

/// A request of one engine: what the control path hands around.
struct RequestReference {
    private let engine: CommandEngine
    let index: RequestIndex

    init(engine: CommandEngine, index: RequestIndex) {
        self.engine = engine
        self.index = index
    }

    var queue: QueueReference { QueueReference(engine: engine, index: engine.requests[index].connection) }
    var command: TargetCommand { engine.requests[index].command }
    var commandID: UInt16 { engine.requests[index].header.commandID }
    var nsid: UInt32 { engine.requests[index].header.nsid }
    /// Pieces that a host may describe its memory in.
    var maxPieces: Int { engine.port.traits.maxPieces }

    /// The data that the host sent along; its count is 0 where it sent none.
    var data: UnsafeRawBufferPointer { engine.requests[index].transfer.bytes }

    func setResult(_ result: some FixedWidthInteger) {
        engine.requests[index].outcome.result = UInt64(truncatingIfNeeded: result)
    }

    func answer(_ status: Status) { engine.answer(index, status) }

    /// The request waits for something that only the control path knows of; from now on it may stay for long.
    func hold() {
        if engine.requests[index].state != .held { engine.requests[index].state.move(to: .held) }
    }

    /// Copies the capsule and gives its buffer back: it is for others meanwhile.
    func setAside() { engine.setAside(index) }

    /// Gives the buffer of the capsule back, which is not looked at again.
    func returnCapsule() { engine.returnCapsule(index) }

    /// Makes the request's connection the queue that its Connect asked for.
    func connect(_ connected: ConnectedQueue) {
        engine.connections[engine.requests[index].connection].connect(connected)
        engine.requests[index].outcome.headOverride = connected.hasNoFlowControl ? 0xFFFF : 0
    }

    /// Notes that the answer has `length` bytes of data. Returns success, the status to answer with where the data pointer does
    /// not describe as many, or `nil` where the command has been answered.
    func measureAnswer(_ length: Int) -> Status? {
        guard let described = engine.describeData(index) else { return nil }
        guard described >= length, length <= engine.options.maxTransferSize else { return .dataSGLLengthInvalid }
        if length > 0 { engine.requests[index].transfer.measure(length) }
        return .success
    }

    /// Memory for the answer's data, the same each time; `nil` where there is none yet.
    func takeAnswerMemory() -> UnsafeMutableRawPointer? {
        engine.takeMemory(index) ? engine.requests[index].transfer.data : nil
    }
}

/// A connection of one engine.
struct QueueReference {
    private let engine: CommandEngine
    private let index: ConnectionIndex

    init(engine: CommandEngine, index: ConnectionIndex) {
        self.engine = engine
        self.index = index
    }

    var isLive: Bool { engine.connections[index].state == .live }
    var role: QueueRole { engine.connections[index].role }
    var queueID: UInt16 { engine.connections[index].queueID }
    var entries: UInt32 { engine.connections[index].entries }
    var controller: ControllerPlace { engine.connections[index].controller }
    var localAddress: SocketAddress? { engine.bound.origin(of: index)?.localAddress }
    /// The peer, for the log.
    var peer: String { engine.bound.origin(of: index)?.peer ?? "an unknown address" }

    /// The place of the queue, if it is in a group.
    func location(in group: Int) -> QueueLocation {
        QueueLocation(
            group: group, port: engine.index, connection: index, generation: engine.connections[index].generation)
    }

    /// Its host broke the rules.
    func countProtocolError() { engine.connections[index].statistics?.update { $0.protocolErrors &+= 1 } }

    /// Its Connect is held: that it does not come is not the reason to end it.
    func connectIsHeld(at now: MonotonicTime) { engine.connections[index].connectIsHeld(at: now) }

    /// Its host has shown who it is.
    func authenticated() { engine.connections[index].authenticated() }

    /// Its host is nobody until it has shown anew who it is.
    func distrust() { engine.connections[index].distrust() }

    func close() { engine.close(index) }
}
