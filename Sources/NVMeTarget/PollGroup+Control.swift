import Base
import NVMeSpec
import Synchronization
import TargetTransport

/// A command for a controller, off the I/O path.
struct ControlRequest {
    let reference: RequestReference
    let controller: Controller

    var nsid: UInt32 { reference.nsid }

    func setResult(_ result: some FixedWidthInteger) { reference.setResult(result) }

    func answer(_ status: Status) { reference.answer(status) }
}

/// Fabrics and admin commands: everything that is not I/O.
extension PollGroup: CommandEngineOwner {
    func connectionFailed(_ connection: ConnectionIndex, in engine: CommandEngine, reason: String) {
        engine.connections[connection].statistics?.update { $0.protocolErrors &+= 1 }
        target.observe(.queuePairFailed(peer: describe(connection, in: engine), reason: reason))
        closeConnection(connection, in: engine)
    }

    private func describe(_ connection: ConnectionIndex, in engine: CommandEngine) -> String {
        let queueID = engine.connections[connection].queueID
        guard let controller = controllers[engine.connections[connection].controller] else {
            return "queue \(queueID) of a host that has not connected yet"
        }
        return "queue \(queueID) of \(controller.hostNQN)"
    }

    /// A command that is not I/O has its data: do it.
    func execute(_ request: RequestReference, now: MonotonicTime) {
        if case .fabrics(let command) = request.engine.requests[request.index].command {
            return fabrics(command, request, now: now)
        }
        guard let controller = controller(of: request), controller.state.withLock({ $0.isOperational }) else {
            return fail(request, .commandSequenceError)
        }
        let control = ControlRequest(reference: request, controller: controller)
        switch request.engine.requests[request.index].command {
        case .admin(let command): admin(command, control)
        case .io(let command): reservation(command, control)
        case .fabrics, .none: fail(request, .commandSequenceError)
        }
    }

    /// Fabrics commands (NVMe Base, "Fabrics Command Set").
    private func fabrics(_ command: FabricsCommand, _ request: RequestReference, now: MonotonicTime) {
        let role = request.role
        switch command {
        case .invalid(let status): fail(request, status)
        case .connect(let connect):
            guard role == .unconnected else { return fail(request, .commandSequenceError) }
            self.connect(connect, request, now: now)
        case _ where role == .unconnected: fail(request, .commandSequenceError)
        case .propertyGet(let property): propertyGet(property, request)
        case .propertySet(let property): propertySet(property, request)
        case .disconnect:
            // NVMe-oF "Disconnect": the I/O queue ends after the answer.
            if role == .io { request.answer(.success) } else { fail(request, .invalidQueueType) }
        case .authenticationSend, .authenticationReceive: fail(request, .invalidOpcode)
        }
    }

    /// Answers with an error and keeps it in the controller's error log.
    func fail(_ request: RequestReference, _ refusal: Status) {
        let status = RetryTable.judged(refusal)
        if let controller = controller(of: request) {
            let queueID = request.engine.connections[request.connection].queueID
            let header = request.engine.requests[request.index].header
            controller.state.withLock {
                $0.errorLog.record(
                    queueID: queueID, commandID: header.commandID, status: status, lba: 0, nsid: header.nsid)
            }
        }
        request.answer(status)
    }

    func fail(_ request: ControlRequest, _ status: Status) { fail(request.reference, status) }

    /// Answers a command with bytes of `page` from `offset` on; zeroes follow where the host has asked for more. Only what lies
    /// in that window is made.
    ///
    /// - Parameter length: bytes that the command returns; the data pointer must describe as many.
    func answer(_ request: ControlRequest, with page: DataPage, offset: Int = 0, length: Int) {
        let engine = request.reference.engine
        let index = request.reference.index
        guard let described = engine.describeData(index) else { return }
        guard described >= length, length <= target.options.maxTransferSize else {
            return fail(request, .dataSGLLengthInvalid)
        }
        guard length > 0 else { return request.answer(.success) }
        engine.requests[index].transfer.byteCount = UInt32(length)
        guard engine.takeBuffer(index), let memory = engine.requests[index].transfer.data else {
            // The reserve for control commands is sized so that this takes a hostile host; it may try again.
            engine.requests[index].transfer.byteCount = 0
            return fail(request, .internalError)
        }
        let buffer = UnsafeMutableRawBufferPointer(start: memory, count: length)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        page.write(PageWindow(offset: offset, buffer))
        request.answer(.success)
    }
}

/// Data that a command returns, written where a window of it lies: what a piece costs does not depend on how much there is.
struct DataPage {
    let byteCount: Int
    /// Writes the part that falls into a window.
    let write: (PageWindow) -> Void

    init(byteCount: Int, write: @escaping (PageWindow) -> Void) {
        self.byteCount = byteCount
        self.write = write
    }

    /// A short one.
    init(_ bytes: [UInt8]) { self.init(byteCount: bytes.count) { $0.place(bytes, at: 0) } }
}
