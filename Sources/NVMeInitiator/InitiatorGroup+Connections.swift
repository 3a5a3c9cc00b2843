import Base
import FabricInterface
import NVMeSpec

/// What is needed to make a queue pair.
struct QueuePairRequest {
    var address: SocketAddress
    var source: SocketAddress?
    var queueID: UInt16
    var controllerID: UInt16
    /// Entries of the submission queue, 1-based.
    var entries: Int
    var table: UnsafeMutablePointer<OperationTable>
    var timeoutMilliseconds: UInt32
    /// Called on the group's thread when the queue pair has failed; it is to be closed then.
    var failed: (String) -> Void
}

/// A connection that is being made.
struct Opening {
    var request: QueuePairRequest
    var deadline: MonotonicTime
    /// Once the route is known.
    var reference: QueuePairReference?
    var continuation: CheckedContinuation<Result<QueuePairReference, InitiatorError>, Never>
}

/// A queue pair in the error state whose work has not all come back.
struct Closing {
    var reference: QueuePairReference
    var connection: ConnectionHandle
    var deadline: MonotonicTime
    var continuation: CheckedContinuation<Void, Never>
}

/// How queue pairs come and go.
extension InitiatorGroup: DeviceGroupOwner {
    /// Makes a connection with a queue pair: resolves, connects, checks what the controller says. On this group's
    /// executor.
    func openQueuePair(_ request: QueuePairRequest) async throws(InitiatorError) -> QueuePairReference {
        let result = await withCheckedContinuation { continuation in
            do throws(FabricError) {
                let connection = try fabric.resolve(
                    request.address, from: request.source,
                    timeoutMilliseconds: Int32(clamping: min(request.timeoutMilliseconds, Limits.resolveMilliseconds)))
                openings[connection] = Opening(
                    request: request,
                    deadline: now.advanced(byMilliseconds: UInt64(request.timeoutMilliseconds)), reference: nil,
                    continuation: continuation)
            } catch {
                continuation.resume(returning: .failure(.fabric(error)))
            }
        }
        return try result.get()
    }

    /// Takes a queue pair to the error state and waits until all its work has come back and it is destroyed: from then on
    /// no device reaches memory through it. On this group's executor.
    func closeQueuePair(_ reference: QueuePairReference) async {
        let device = devices[reference.device]
        guard device.isCurrent(reference) else { return }
        let queuePair = device.queuePairs + Int(reference.slot)
        guard queuePair.pointee.state == .live else { return }
        // What has been collected is posted first: all that was counted comes back.
        device.flush()
        queuePair.pointee.state.move(to: .closing)
        queuePair.pointee.table.pointee.isLive = false
        let connection = queuePair.pointee.connection
        fabric.disconnect(connection)
        await withCheckedContinuation { continuation in
            closings.append(
                Closing(
                    reference: reference, connection: connection,
                    deadline: now.advanced(byMilliseconds: Limits.flushMilliseconds), continuation: continuation))
        }
    }

    func finishClosings(_ now: MonotonicTime) {
        for closing in closings {
            let device = devices[closing.reference.device]
            let queuePair = device.queuePairs + Int(closing.reference.slot)
            guard queuePair.pointee.sends == 0 && queuePair.pointee.receives == 0 || closing.deadline <= now else {
                continue
            }
            fabric.destroy(closing.connection)
            places[closing.connection] = nil
            failureHandlers[closing.reference] = nil
            device.release(closing.reference.slot)
            closing.continuation.resume()
        }
        closings.removeAll { !devices[$0.reference.device].isCurrent($0.reference) }
    }

    func queuePairFailed(_ reference: QueuePairReference, reason: String) { failureHandlers[reference]?(reason) }

    // MARK: Connection manager events

    func handle(_ event: ConnectionEvent) {
        switch event {
        case .routeResolved(let connection): routeResolved(connection)
        case .established(let connection, let parameters): established(connection, parameters)
        case .rejected(let connection, let privateData, _):
            guard let opening = openings[connection] else { return }
            let status = RDMARejectStatus(decoding: privateData)
            abandon(connection, .rejected(address: opening.request.address, status))
        case .failed(let connection, let error):
            if openings[connection] != nil { abandon(connection, .fabric(error)) } else { lost(connection, "\(error)") }
        case .disconnected(let connection): lost(connection, "the controller ended the connection, or is gone")
        case .deviceRemoved(let connection): lost(connection, "the RDMA device was removed")
        case .requested(let connection, _): fabric.reject(connection, privateData: [])
        case .listenerLost: break
        }
    }

    private func lost(_ connection: ConnectionHandle, _ reason: String) {
        if openings[connection] != nil { return abandon(connection, .connectionLost(reason)) }
        guard let reference = places[connection] else { return }
        devices[reference.device].fail(reference.slot, reason)
    }

    private func routeResolved(_ connection: ConnectionHandle) {
        guard var opening = openings[connection] else { return }
        do throws(InitiatorError) {
            opening.reference = try makeQueuePair(connection, opening.request)
            openings[connection] = opening
            try requestConnection(connection, opening)
        } catch {
            abandon(connection, error)
        }
    }

    private func makeQueuePair(
        _ connection: ConnectionHandle, _ request: QueuePairRequest
    ) throws(InitiatorError) -> QueuePairReference {
        let context: FabricContext
        do {
            context = try fabric.context(
                for: connection,
                ContextOptions(
                    completionQueueEntries: options.completionEntries, sharedReceiveEntries: 0,
                    queuePairs: Limits.queuePairs))
        } catch { throw .fabric(error) }
        let device = try deviceGroup(of: context)
        let slot = try device.makeQueuePair(for: connection, depth: request.entries - 1, table: request.table)
        return device.reference(slot)
    }

    private func requestConnection(_ connection: ConnectionHandle, _ opening: Opening) throws(InitiatorError) {
        guard let reference = opening.reference else { return }
        let limits = devices[reference.device].context.limits
        let request = opening.request
        let privateData = RDMAConnectRequest(
            queueID: request.queueID, hostReceiveQueueSize: UInt16(clamping: request.entries),
            hostSendQueueSize: UInt16(clamping: request.entries - 1), controllerID: request.controllerID
        ).privateData
        do {
            try fabric.connect(
                connection,
                ConnectionParameters(
                    responderResources: UInt8(clamping: min(limits.maxReadsAsResponder, Limits.readDepth)),
                    initiatorDepth: 0, privateData: privateData))
        } catch { throw .fabric(error) }
    }

    private func established(_ connection: ConnectionHandle, _ parameters: ConnectionParameters) {
        guard let opening = openings[connection], let reference = opening.reference else { return }
        let queuePair = devices[reference.device].queuePairs + Int(reference.slot)
        do {
            let reply = try RDMAConnectReply(decoding: parameters.privateData)
            guard reply.controllerReceiveQueueSize > 0 else {
                return abandon(connection, .invalidResponse("a controller receive queue of no entries (CRQSIZE)"))
            }
            // Never more capsules under way than the controller has receives for.
            queuePair.pointee.freeCount = min(queuePair.pointee.freeCount, UInt32(reply.controllerReceiveQueueSize))
        } catch {
            return abandon(connection, .invalidResponse("private data of the RDMA CM reply: \(error)"))
        }
        queuePair.pointee.state.move(to: .live)
        openings[connection] = nil
        places[connection] = reference
        failureHandlers[reference] = opening.request.failed
        opening.continuation.resume(returning: .success(reference))
    }

    /// Gives up a connection that is being made.
    func abandon(_ connection: ConnectionHandle, _ error: InitiatorError) {
        guard let opening = openings.removeValue(forKey: connection) else { return }
        fabric.destroy(connection)
        if let reference = opening.reference {
            let device = devices[reference.device]
            device.queuePairs[Int(reference.slot)].state.move(to: .closing)
            device.release(reference.slot)
        }
        opening.continuation.resume(returning: .failure(error))
    }
}
