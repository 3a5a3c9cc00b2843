import Base
import FabricInterface
import NVMeSpec
import Synchronization

/// The Connect command, with all its refusals (NVMe-oF 1.1, "Connect Command and Response").
extension PollGroup {
    func connect(_ index: UInt32, _ connect: ConnectCommand, in group: DeviceGroup, now: MonotonicTime) {
        let request = group.requests[index]
        let queuePair = group.queuePairs[request.pointee.queuePair]
        guard connect.recordFormat == 0 else {
            return fail(index, .connectIncompatibleFormat.doNotRetry, in: group)
        }
        guard let memory = request.pointee.data, Int(request.pointee.dataLength) >= ConnectData.byteCount else {
            return fail(index, .dataSGLLengthInvalid.doNotRetry, in: group)
        }
        do throws(ConnectFailure) {
            let data = try ConnectData(decoding: UnsafeRawBufferPointer(start: memory, count: ConnectData.byteCount))
            guard connect.queueID == queuePair.pointee.queueID else {
                throw ConnectFailure.invalidParameter(inCommand: ConnectCommand.Offset.queueID)
            }
            guard connect.sqSize > 0, UInt32(connect.sqSize) < queuePair.pointee.entries else {
                throw ConnectFailure.invalidParameter(inCommand: ConnectCommand.Offset.sqSize)
            }
            guard let subsystem = target.subsystem(data.subsystemNQN) else {
                reportRefusal(data, "there is no such subsystem", request.pointee.queuePair, in: group)
                throw ConnectFailure.invalidParameter(inData: ConnectData.Offset.subsystemNQN)
            }
            guard subsystem.allows(host: data.hostNQN) else {
                reportRefusal(data, "the host is not on the subsystem's list", request.pointee.queuePair, in: group)
                throw ConnectFailure(status: .connectInvalidHost)
            }
            if connect.queueID == 0 {
                try connectAdmin(index, connect, data, subsystem, in: group, now: now)
            } else {
                try connectIO(index, connect, data, subsystem, in: group, now: now)
            }
        } catch {
            request.pointee.result = UInt64(error.result)
            fail(index, error.status.doNotRetry, in: group)
        }
    }

    private func reportRefusal(_ data: ConnectData, _ reason: String, _ slot: UInt32, in group: DeviceGroup) {
        target.observe(
            .connectRefused(
                host: data.hostNQN, subsystem: data.subsystemNQN,
                peer: connectionRequest(of: slot, in: group)?.peerAddress?.description ?? "an unknown address",
                reason: reason))
    }

    private func connectAdmin(
        _ index: UInt32, _ connect: ConnectCommand, _ data: ConnectData, _ subsystem: Subsystem, in group: DeviceGroup,
        now: MonotonicTime
    ) throws(ConnectFailure) {
        let slot = group.requests[index].pointee.queuePair
        // Only the dynamic controller model is offered: CNTLID must be FFFFh.
        guard data.controllerID == ConnectData.anyController else {
            throw .invalidParameter(inData: ConnectData.Offset.controllerID)
        }
        let location = QueueLocation(
            group: self.index, device: group.index, slot: slot, generation: group.queuePairs[slot].pointee.generation)
        // NVMe Base, "Generic Command Status Values", 1Ah: too large. One that was granted less would ping too seldom.
        guard connect.keepAliveMilliseconds <= target.options.maxKeepAliveMilliseconds else {
            throw ConnectFailure(status: .keepAliveTimeoutInvalid)
        }
        // A command of an association that has ended may still be at a block device. The host takes it for failed, and may
        // write the same blocks over the new association: that waits until the old command has landed.
        let request = connectionRequest(of: slot, in: group)
        let peer = request?.peerAddress?.description ?? "an unknown address"
        let former = DrainScope.host(nqn: data.hostNQN, id: data.hostID)
        if hold(index, in: group, until: former, of: subsystem, connect: (data.hostNQN, peer), now: now) { return }
        var keepAlive = connect.keepAliveMilliseconds
        // A discovery controller without a keep-alive timeout ends after two minutes of silence.
        if subsystem.isDiscovery && keepAlive == 0 { keepAlive = 120_000 }
        let address = request?.localAddress
        let controller = subsystem.addController { id in
            Controller(
                id: id, subsystem: subsystem, hostNQN: data.hostNQN, hostID: data.hostID, localAddress: address,
                keepAliveMilliseconds: keepAlive, adminQueue: location, now: now)
        }
        guard let controller else { throw ConnectFailure(status: .connectControllerBusy) }
        connected(index, connect, controller, role: .admin, in: group)
        target.observe(
            .hostConnected(
                host: data.hostNQN, subsystem: subsystem.nqn, controller: controller.id, peer: peer))
    }

    private func connectIO(
        _ index: UInt32, _ connect: ConnectCommand, _ data: ConnectData, _ subsystem: Subsystem, in group: DeviceGroup,
        now: MonotonicTime
    ) throws(ConnectFailure) {
        let slot = group.requests[index].pointee.queuePair
        guard !subsystem.isDiscovery else {
            throw .invalidParameter(inCommand: ConnectCommand.Offset.queueID)
        }
        guard let controller = subsystem.controller(data.controllerID) else {
            throw .invalidParameter(inData: ConnectData.Offset.controllerID)
        }
        guard controller.hostNQN == data.hostNQN else {
            throw .invalidParameter(inData: ConnectData.Offset.hostNQN)
        }
        guard controller.hostID == data.hostID else { throw .invalidParameter(inData: ConnectData.Offset.hostID) }
        let location = QueueLocation(
            group: self.index, device: group.index, slot: slot, generation: group.queuePairs[slot].pointee.generation)
        let refusal: ConnectFailure? = controller.state.withLock { state in
            guard state.isOperational, !state.isEnded else { return ConnectFailure(status: .commandSequenceError) }
            guard Int(connect.queueID) <= state.grantedIOQueues else {
                return .invalidParameter(inCommand: ConnectCommand.Offset.queueID)
            }
            guard state.ioQueues[connect.queueID] == nil else { return ConnectFailure(status: .commandSequenceError) }
            state.ioQueues[connect.queueID] = location
            state.busyQueuePairs += 1
            return nil
        }
        if let refusal { throw refusal }
        let view = view(of: subsystem)
        let queuePair = group.queuePairs[slot]
        queuePair.pointee.namespaces = view.namespaces
        queuePair.pointee.namespaceCount = UInt32(view.capacity)
        queuePair.pointee.statistics = view.statistics
        queuePair.pointee.hostBit = subsystem.hostBit(of: data.hostID)
        connected(index, connect, controller, role: .io, in: group)
    }

    private func connected(
        _ index: UInt32, _ connect: ConnectCommand, _ controller: Controller, role: QueueRole, in group: DeviceGroup
    ) {
        let request = group.requests[index]
        let queuePair = group.queuePairs[request.pointee.queuePair]
        queuePair.pointee.role = role
        queuePair.pointee.entries = UInt32(connect.sqSize) + 1
        queuePair.pointee.flowControlDisabled = connect.attributes.contains(.disableSQFlowControl)
        queuePair.pointee.controller = retainController(controller)
        request.pointee.result = UInt64(controller.id)
        request.pointee.headOverride = connect.attributes.contains(.disableSQFlowControl) ? 0xFFFF : 0
        group.answer(index, .success)
    }
}
