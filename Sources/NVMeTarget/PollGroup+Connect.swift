import Base
import NVMeSpec
import Synchronization
import TargetTransport

/// The Connect command, with all its refusals (NVMe-oF 1.1, "Connect Command and Response").
extension PollGroup {
    func connect(_ connect: ConnectCommand, _ request: RequestReference, now: MonotonicTime) {
        guard connect.recordFormat == 0 else {
            return fail(request, .connectIncompatibleFormat.doNotRetry)
        }
        guard request.data.count >= ConnectData.byteCount else {
            return fail(request, .dataSGLLengthInvalid.doNotRetry)
        }
        do throws(ConnectFailure) {
            let data = try ConnectData(
                decoding: UnsafeRawBufferPointer(rebasing: request.data[..<ConnectData.byteCount]))
            let queue = request.engine.connections[request.connection]
            guard connect.queueID == queue.queueID else {
                throw ConnectFailure.invalidParameter(inCommand: ConnectCommand.Offset.queueID)
            }
            guard connect.sqSize > 0, UInt32(connect.sqSize) < queue.entries else {
                throw ConnectFailure.invalidParameter(inCommand: ConnectCommand.Offset.sqSize)
            }
            guard let subsystem = target.subsystem(data.subsystemNQN) else {
                reportRefusal(data, "there is no such subsystem", request)
                throw ConnectFailure.invalidParameter(inData: ConnectData.Offset.subsystemNQN)
            }
            guard subsystem.allows(host: data.hostNQN) else {
                reportRefusal(data, "the host is not on the subsystem's list", request)
                throw ConnectFailure(status: .connectInvalidHost)
            }
            let asked = AskedQueue(connect: connect, data: data, subsystem: subsystem)
            if connect.queueID == 0 {
                try connectAdmin(asked, request, now: now)
            } else {
                try connectIO(asked, request)
            }
        } catch {
            request.setResult(error.result)
            fail(request, error.status.doNotRetry)
        }
    }

    /// A queue that a host asks for.
    private struct AskedQueue {
        let connect: ConnectCommand
        let data: ConnectData
        let subsystem: Subsystem
    }

    private func reportRefusal(_ data: ConnectData, _ reason: String, _ request: RequestReference) {
        target.observe(
            .connectRefused(
                host: data.hostNQN, subsystem: data.subsystemNQN, peer: peer(of: request), reason: reason))
    }

    private func peer(of request: RequestReference) -> String {
        request.engine.origins[request.connection.offset]?.peer ?? "an unknown address"
    }

    private func connectAdmin(
        _ asked: AskedQueue, _ request: RequestReference, now: MonotonicTime
    ) throws(ConnectFailure) {
        let (connect, data, subsystem) = (asked.connect, asked.data, asked.subsystem)
        // Only the dynamic controller model is offered: CNTLID must be FFFFh.
        guard data.controllerID == ConnectData.anyController else {
            throw .invalidParameter(inData: ConnectData.Offset.controllerID)
        }
        let location = location(of: request)
        // NVMe Base, "Generic Command Status Values", 1Ah: too large. One that was granted less would ping too seldom.
        guard connect.keepAliveMilliseconds <= target.options.maxKeepAliveMilliseconds else {
            throw ConnectFailure(status: .keepAliveTimeoutInvalid)
        }
        // A command of an association that has ended may still be at a block device. The host takes it for failed, and may
        // write the same blocks over the new association: that waits until the old command has landed.
        let peer = peer(of: request)
        let former = DrainScope.host(nqn: data.hostNQN, id: data.hostID)
        if hold(request, until: former, of: subsystem, connect: (data.hostNQN, peer)) { return }
        var keepAlive = connect.keepAliveMilliseconds
        // A discovery controller without a keep-alive timeout ends after two minutes of silence.
        if subsystem.isDiscovery && keepAlive == 0 { keepAlive = 120_000 }
        let address = request.engine.origins[request.connection.offset]?.localAddress
        let controller = subsystem.addController { id in
            Controller(
                id: id, subsystem: subsystem, hostNQN: data.hostNQN, hostID: data.hostID, localAddress: address,
                keepAliveMilliseconds: keepAlive, adminQueue: location, now: now)
        }
        guard let controller else { throw ConnectFailure(status: .connectControllerBusy) }
        connected(connect, controller, role: .admin, request)
        target.observe(
            .hostConnected(
                host: data.hostNQN, subsystem: subsystem.nqn, controller: controller.id, peer: peer))
    }

    private func connectIO(_ asked: AskedQueue, _ request: RequestReference) throws(ConnectFailure) {
        let (connect, data, subsystem) = (asked.connect, asked.data, asked.subsystem)
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
        let location = location(of: request)
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
        request.engine.connections[request.connection].namespaces = view.namespaces
        request.engine.connections[request.connection].statistics = view.statistics
        request.engine.connections[request.connection].hostBit = subsystem.hostBit(of: data.hostID)
        connected(connect, controller, role: .io, request)
    }

    private func connected(
        _ connect: ConnectCommand, _ controller: Controller, role: QueueRole, _ request: RequestReference
    ) {
        let engine = request.engine
        let connection = request.connection
        let hasNoFlowControl = connect.attributes.contains(.disableSQFlowControl)
        engine.connections[connection].role = role
        engine.connections[connection].entries = UInt32(connect.sqSize) + 1
        engine.connections[connection].flowControlDisabled = hasNoFlowControl
        engine.connections[connection].controller = controllers.retain(controller)
        engine.requests[request.index].outcome.headOverride = hasNoFlowControl ? 0xFFFF : 0
        request.setResult(controller.id)
        request.answer(.success)
    }
}
