import Base
import FabricInterface
import InitiatorTransport
import NVMeSpec

/// From an address to a connection with its queue pair.
extension RDMAInitiator {
    public func connect(_ request: HostConnectionRequest) throws(ConnectionFailure) -> HostConnectionIndex {
        guard connections.hasRoom else { throw .resources("more than \(connections.capacity) connections") }
        let timeout = Int32(clamping: min(request.timeoutMilliseconds, HostLimits.resolveMilliseconds))
        let connection: ConnectionHandle
        do {
            connection = try fabric.resolve(request.address, from: request.source, timeoutMilliseconds: timeout)
        } catch { throw .call(error) }
        return connections.take(connection, request)
    }

    func handle(_ event: ConnectionEvent) {
        switch event {
        case .routeResolved(let connection): routeResolved(connection)
        case .established(let connection, let parameters): established(connection, parameters)
        case .rejected(let connection, _, reason: Self.invalidServiceID): refuse(connection, .absent)
        case .rejected(let connection, let privateData, _):
            refuse(connection, .refused(reason: RDMARejectStatus(decoding: privateData).map { "\($0)" }))
        case .failed(let connection, let error):
            if !refuse(connection, .call(error)) { fail(connection, "\(error)") }
        case .disconnected(let connection): lost(connection, "the controller ended the connection, or is gone")
        case .deviceRemoved(let connection): lost(connection, "the RDMA device was removed")
        case .requested(let connection, _): fabric.reject(connection, privateData: [])
        case .listenerLost: break
        }
    }

    /// The reason of a rejection by a machine on which nobody listens (InfiniBand Architecture 1.4, 12.6.7.2, "Invalid Service ID").
    private static let invalidServiceID: Int32 = 8

    private func lost(_ connection: ConnectionHandle, _ reason: String) {
        if !refuse(connection, .lost(reason)) { fail(connection, reason) }
    }

    private func fail(_ connection: ConnectionHandle, _ reason: String) {
        if let index = connections.index(of: connection) { fail(index, &connections[index], reason) }
    }

    /// Reports the failure of a connection that was live, once: all work that was posted comes back flushed then, and the reason
    /// is put into words for the first of it only.
    func fail(_ index: HostConnectionIndex, _ queuePair: inout HostQueuePair, _ reason: @autoclosure () -> String) {
        guard queuePair.state == .live, !queuePair.hasFailed else { return }
        queuePair.hasFailed = true
        arrivals.append(.failed(index, reason: reason()))
    }

    /// Gives up a connection that is being made. False where the connection is not such.
    @discardableResult
    private func refuse(_ connection: ConnectionHandle, _ failure: ConnectionFailure) -> Bool {
        guard let index = connections.index(of: connection), connections.request(index) != nil else { return false }
        fabric.destroy(connection)
        connections.release(index)
        arrivals.append(.refused(index, failure))
        return true
    }

    private func routeResolved(_ connection: ConnectionHandle) {
        guard let index = connections.index(of: connection), let request = connections.request(index) else { return }
        do throws(ConnectionFailure) {
            try makeQueuePair(index, depth: request.entries - 1)
            try askController(index, request)
        } catch { refuse(connection, error) }
    }

    /// Makes the queue pair of a connection, with its memory and its receives posted.
    private func makeQueuePair(_ index: HostConnectionIndex, depth: Int) throws(ConnectionFailure) {
        let connection = connections[index].connection
        let context: FabricContext
        do { context = try self.context(for: connection) } catch { throw .call(error) }
        let device = try device(context)
        try device.reserve(depth: depth)
        connections[index].device = Unmanaged.passUnretained(device)
        connections[index].depth = depth
        let receives = HostDevice.receiveCount(depth: depth)
        let memory = try CapsuleMemory(context, depth: depth, receives: receives)
        let handle: QueuePairHandle
        do {
            handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(
                    sendEntries: depth, receiveEntries: receives, usesSharedReceiveQueue: false,
                    sendSegments: min(2, context.limits.maxScatterGather), maxInlineData: SubmissionEntry.byteCount))
        } catch { throw .call(error) }
        connections.equip(index, memory)
        connections[index].state.move(to: .connecting)
        connections[index].handle = handle
        connections[index].capsules = memory.capsules
        connections[index].inlineBytes = context.inlineDataLimit(of: handle)
        for buffer in 0..<receives { postReceive(index, &connections[index], buffer) }
        device.work.flush()
    }

    private func askController(
        _ index: HostConnectionIndex, _ request: HostConnectionRequest
    ) throws(ConnectionFailure) {
        guard let context = connections[index].device?.takeUnretainedValue().context else { return }
        let privateData = RDMAConnectRequest(
            queueID: request.queueID, hostReceiveQueueSize: UInt16(clamping: request.entries),
            hostSendQueueSize: UInt16(clamping: request.entries - 1), controllerID: request.controllerID
        ).privateData
        let reads = min(context.limits.maxReadsAsResponder, HostLimits.readDepth)
        do {
            try fabric.connect(
                connections[index].connection,
                ConnectionParameters(
                    responderResources: UInt8(clamping: reads), initiatorDepth: 0, privateData: privateData))
        } catch { throw .call(error) }
    }

    private func established(_ connection: ConnectionHandle, _ parameters: ConnectionParameters) {
        guard let index = connections.index(of: connection), connections[index].state == .connecting else { return }
        let reply: RDMAConnectReply
        do { reply = try RDMAConnectReply(decoding: parameters.privateData) } catch {
            refuse(connection, .invalidReply("private data of the RDMA CM reply: \(error)"))
            return
        }
        guard reply.controllerReceiveQueueSize > 0 else {
            refuse(connection, .invalidReply("a controller receive queue of no entries (CRQSIZE)"))
            return
        }
        connections.becameLive(index)
        // Never more capsules under way than the controller has receives for.
        let commands = min(connections[index].depth, Int(reply.controllerReceiveQueueSize))
        arrivals.append(.connected(index, commands: commands))
    }

    // MARK: What travels how

    public func objection(to controller: IdentifyController) -> String? {
        let support = controller.sglSupport
        guard support.rawValue & 3 != 0, support.contains(.keyed) else {
            return "the controller does not take keyed SGLs (SGLS \(support.rawValue))"
        }
        return nil
    }

    public func configure(
        _ index: HostConnectionIndex, for controller: IdentifyController, _ wishes: TransferWishes
    ) -> TransferLimits {
        guard let context = connections[index].device?.takeUnretainedValue().context else { return TransferLimits() }
        // A keyed descriptor's length has 24 bits; whole pages.
        let maxKeyed = UInt64(SGLDescriptor.maxKeyedLength) & ~4095
        var limits = TransferLimits()
        limits.maxBytes = min(UInt64(wishes.maxBytes), maxKeyed, max(context.limits.maxMessageSize, 4096))
        guard controller.sglSupport.contains(.offset) else { return limits }
        let capsule = controller.inCapsuleDataByteCount
        if context.limits.maxScatterGather >= 2 {
            connections[index].inCapsuleBytes = min(capsule, max(wishes.maxInCapsuleBytes, 0))
        }
        let most = controller.maxSGLDescriptors == 0 ? HostLimits.descriptors : Int(controller.maxSGLDescriptors)
        limits.maxPieces = max(1, min(most, HostLimits.descriptors, capsule / SGLDescriptor.byteCount))
        return limits
    }
}
