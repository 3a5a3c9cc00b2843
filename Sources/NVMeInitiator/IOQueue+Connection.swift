import Base
import FabricInterface
import Memory
import NVMeSpec

/// Who connects to what: the same for all queues of an association.
struct QueueIdentity: Sendable {
    var options: ControllerOptions
    var queueID: UInt16
    var controllerID: UInt16
    var entries: Int
    /// For the connection to be made, and again for Connect to be answered.
    var timeoutMilliseconds: UInt32
}

/// How a queue gets its connection and loses it.
extension IOQueue {
    /// Makes the connection and sends Connect. On the group's executor.
    ///
    /// - Parameter failed: called on the group's thread when the connection was lost; the queue closes by itself.
    func open(
        _ identity: QueueIdentity, failed: @escaping @Sendable (String) -> Void
    ) async throws(InitiatorError) -> ConnectResult {
        await closing?.value
        earlyFailure = nil
        let options = identity.options
        reference = try await group.openQueuePair(
            QueuePairRequest(
                address: options.address, source: options.sourceAddress, queueID: identity.queueID,
                controllerID: identity.controllerID, entries: identity.entries, table: table,
                timeoutMilliseconds: identity.timeoutMilliseconds
            ) { [unowned self] reason in
                if reference == nil { earlyFailure = reason }
                beginClosing(reason)
                failed(reason)
            })
        // The connection may have broken before this task came to run again.
        if let reason = earlyFailure {
            earlyFailure = nil
            await close(reason)
            throw .connectionLost(reason)
        }
        table.pointee.limits = TransferLimits()
        queueID = identity.queueID
        do throws(InitiatorError) { return try await sendConnect(identity) } catch {
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

    /// Identifiers of the commands that operations with a tag have under way. On the group's thread.
    func commandIDs(tag: UInt64) -> [UInt16] {
        guard let reference, table.pointee.isLive else { return [] }
        let queuePair = group.devices[reference.device].queuePairs + Int(reference.slot)
        return (0..<Int(queuePair.pointee.depth)).compactMap { index in
            let request = queuePair.pointee.requests[index]
            guard request.state == .posted || request.state == .sent else { return nil }
            let operation = table.pointee.slots[Int(request.operation)]
            guard operation.tag == tag, !operation.isAwaited else { return nil }
            return CommandIdentifier.make(index: UInt32(index), generation: request.generation)
        }
    }

    /// Registers an arena with the device of this queue's connection, for the access that its use needs: remote write
    /// (with local write) for memory that is read into, remote read for memory that is written out.
    public func register(
        _ arena: RegisteredArena, access: MemoryAccess
    ) async throws(InitiatorError) -> MemoryRegion {
        let result = await group.run { () -> Result<MemoryRegion, FabricError>? in
            guard let context = self.context else { return nil }
            return Result { () throws(FabricError) in try arena.register(with: context, access: access) }
        }
        switch result {
        case nil: throw .connectionLost(lossReason)
        case .success(let region): return region
        case .failure(let error): throw .fabric(error)
        }
    }

    /// Ends the connection and waits until no device reaches the operations' memory any more. On the group's executor.
    func close(_ reason: String) async {
        beginClosing(reason)
        await closing?.value
    }

    private func beginClosing(_ reason: String) {
        guard let reference, closing == nil else { return }
        table.pointee.isLive = false
        lossReason = reason
        closing = Task(executorPreference: group.executor) {
            await self.group.closeQueuePair(reference)
            self.reference = nil
            self.connectionEnded(keepingOperations: self.keepsOperations)
            self.closing = nil
        }
    }

    /// Sends a command with data of the control plane. On the group's executor. The status is the caller's to look at.
    func transfer(
        _ entry: SubmissionEntry, sending: [UInt8]?, receiving: Int, timeoutMilliseconds: UInt32,
        atOnce: Bool = false, name: String
    ) async throws(InitiatorError) -> (IOCompletion, [UInt8]) {
        guard let reference else { throw .connectionLost(lossReason) }
        let buffers = group.buffers[reference.device]
        let length = sending?.count ?? receiving
        var segment: IOSegment?
        if length > 0 {
            let taken = try buffers.take(toController: sending != nil, length: length)
            sending?.withUnsafeBytes { taken.address.copyMemory(from: $0.baseAddress!, byteCount: length) }
            if sending == nil { taken.address.initializeMemory(as: UInt8.self, repeating: 0, count: length) }
            segment = taken
        }
        let completion = await perform(entry, data: segment, timeoutMilliseconds: timeoutMilliseconds, atOnce: atOnce)
        var received: [UInt8] = []
        if let segment {
            if sending == nil, completion.isSuccess {
                received = Array(UnsafeRawBufferPointer(start: segment.address, count: length))
            }
            // Answered, or its connection destroyed: nobody reaches the buffer any more.
            buffers.give(segment, toController: sending != nil)
        }
        switch completion.outcome {
        case .surelyDone: return (completion, received)
        case .surelyNotDone, .unknown:
            switch completion.failure {
            case .timeout: throw .timeout(name)
            case .full: throw .resources("more than \(table.pointee.capacity) operations on a queue")
            default: throw .connectionLost(lossReason)
            }
        }
    }
}
