import Base
import InitiatorTransport
import NVMeSpec

/// The host, the controller and the queue of a connection; but for the queue the same in all of an association.
struct QueueIdentity: Sendable {
    var options: ControllerOptions
    var queueID: UInt16
    var controllerID: UInt16
    var entries: Int
    /// For the connection to be made, and again for Connect to be answered.
    var timeoutMilliseconds: UInt32

    /// The same as a wish to the transport.
    var request: HostConnectionRequest {
        HostConnectionRequest(
            address: options.address, source: options.sourceAddress, queueID: queueID, controllerID: controllerID,
            entries: entries, timeoutMilliseconds: timeoutMilliseconds)
    }
}

/// How a queue gets its connection and loses it.
extension IOQueue {
    /// Makes the connection, sends Connect, and shows who this host is if the controller wants that. On the group's executor.
    ///
    /// - Parameter failed: called on the group's thread when the connection was lost; the queue closes by itself.
    func open(
        _ identity: QueueIdentity, failed: @escaping @Sendable (String) -> Void
    ) async throws(InitiatorError) -> ConnectResult {
        await closing?.value
        earlyFailure = nil
        connection = try await group.openConnection(identity.request, for: self) { [unowned self] reason in
            if connection == nil { earlyFailure = reason }
            beginClosing(reason)
            failed(reason)
        }
        // The connection may have broken before this task came to run again.
        if let reason = earlyFailure {
            earlyFailure = nil
            await close(reason)
            throw .connectionLost(reason)
        }
        queueID = identity.queueID
        do throws(InitiatorError) {
            let result = try await sendConnect(identity)
            try await authenticate(identity, result)
            return result
        } catch {
            await close("Connect failed")
            throw error
        }
    }

    private func sendConnect(_ identity: QueueIdentity) async throws(InitiatorError) -> ConnectResult {
        let options = identity.options
        let command = ConnectCommand(
            queueID: identity.queueID, sqSize: UInt16(clamping: identity.entries - 1),
            attributes: options.disableSQFlowControl ? .disableSQFlowControl : [],
            keepAliveMilliseconds: identity.queueID == 0 ? options.keepAliveMilliseconds : 0)
        let data = ConnectData(
            hostID: options.hostID, controllerID: identity.controllerID, subsystemNQN: options.subsystemNQN,
            hostNQN: options.hostNQN)
        var name = "Connect within \(identity.timeoutMilliseconds) ms"
        if identity.queueID == 0 {
            name += "; a target may first wait for this host's earlier commands at a disk that hangs (its log says)"
        }
        let (completion, _) = try await transfer(
            SubmissionEntry(.connect(command), commandID: 0), sending: data.encoded, receiving: 0,
            timeoutMilliseconds: identity.timeoutMilliseconds, atOnce: true, name: name)
        guard completion.status.isSuccess else {
            throw .connectFailed(
                ConnectFailure(
                    status: completion.status, result: UInt32(truncatingIfNeeded: completion.result)))
        }
        return ConnectResult(rawValue: UInt32(truncatingIfNeeded: completion.result))
    }

    /// Limits of one command on this queue's connection; `nil` without one. On the group's thread.
    func configure(_ controller: IdentifyController, _ wishes: TransferWishes) -> TransferLimits? {
        connection.map { group.transport.configure($0, for: controller, wishes) }
    }

    /// Ends the connection and waits until nobody reaches the operations' memory any more. On the group's executor.
    func close(_ reason: String) async {
        beginClosing(reason)
        await closing?.value
    }

    private func beginClosing(_ reason: String) {
        guard let connection, closing == nil else { return }
        engine.connectionFailed()
        lossReason = reason
        // A command that waits for memory does not wait for that of a connection which is gone.
        group.wakeControlWaiters()
        closing = Task(executorPreference: group.executor) {
            await self.group.closeConnection(connection)
            self.connection = nil
            self.engine.connectionEnded(keepingOperations: self.keepsOperations, self.endFailure)
            self.closing = nil
        }
    }

    /// Sends a command with data of the control plane. On the group's executor. The status is the caller's to look at.
    func transfer(
        _ entry: SubmissionEntry, sending: [UInt8]?, receiving: Int, timeoutMilliseconds: UInt32,
        atOnce: Bool = false, name: String
    ) async throws(InitiatorError) -> (IOCompletion, [UInt8]) {
        guard connection != nil else { throw .connectionLost(lossReason) }
        let length = sending?.count ?? receiving
        var buffer: ControlBuffer?
        if length > 0 {
            buffer = try await takeBuffer(sending == nil ? .fromController : .toController, length, timeoutMilliseconds)
            sending?.withUnsafeBytes { buffer?.segment.address.copyMemory(from: $0.baseAddress!, byteCount: length) }
            if sending == nil { buffer?.segment.address.initializeMemory(as: UInt8.self, repeating: 0, count: length) }
        }
        let completion = await send(
            entry, data: buffer?.segment, timeoutMilliseconds: timeoutMilliseconds, atOnce: atOnce)
        var received: [UInt8] = []
        if let buffer {
            if sending == nil, completion.isSuccess {
                received = Array(UnsafeRawBufferPointer(start: buffer.segment.address, count: length))
            }
            // Answered, or its connection gone: nobody reaches the buffer any more.
            group.giveControlBuffer(buffer)
        }
        switch completion.outcome {
        case .surelyDone: return (completion, received)
        case .surelyNotDone, .unknown:
            switch completion.failure {
            case .timeout: throw .timeout(name)
            case .full: throw .resources("more than \(engine.operations.capacity) operations on a queue")
            default: throw .connectionLost(lossReason)
            }
        }
    }

    /// A buffer for so many bytes of control data. Waits where all are taken: others' commands end.
    private func takeBuffer(
        _ direction: DataDirection, _ length: Int, _ timeoutMilliseconds: UInt32
    ) async throws(InitiatorError) -> ControlBuffer {
        guard length <= ControlBuffer.byteCount else {
            throw .resources("memory for \(length) bytes of a control command")
        }
        let end =
            timeoutMilliseconds == 0
            ? MonotonicTime.distantFuture : group.now.advanced(byMilliseconds: UInt64(timeoutMilliseconds))
        while let connection, closing == nil {
            if var buffer = group.transport.takeControlBuffer(connection, direction) {
                buffer.segment.length = length
                return buffer
            }
            guard group.now < end else { throw .timeout("memory for the data of another control command") }
            await group.waitForControlBuffer(before: end)
        }
        throw .connectionLost(lossReason)
    }
}
