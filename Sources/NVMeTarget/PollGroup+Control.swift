import Base
import FabricInterface
import NVMeSpec
import Synchronization

/// Fabrics and admin commands: everything that is not I/O.
extension PollGroup: DeviceGroupOwner {
    func queuePairFailed(_ slot: UInt32, in group: DeviceGroup, reason: String) {
        if let statistics = group.queuePairs[slot].pointee.statistics { statistics.pointee.protocolErrors &+= 1 }
        target.observe(.queuePairFailed(peer: describe(slot, in: group), reason: reason))
        closeQueuePair(slot, in: group, now: now)
    }

    private func describe(_ slot: UInt32, in group: DeviceGroup) -> String {
        let queuePair = group.queuePairs[slot]
        let queueID = queuePair.pointee.queueID
        guard queuePair.pointee.controller != noSlot,
            let controller = controllers[Int(queuePair.pointee.controller)]
        else { return "queue \(queueID) of a host that has not connected yet" }
        return "queue \(queueID) of \(controller.hostNQN)"
    }

    /// A command that is not I/O has its data: decode it and do it.
    func execute(request index: UInt32, in group: DeviceGroup, now: MonotonicTime) {
        let request = group.requests[index]
        let command = request.pointee.command
        let role = group.queuePairs[request.pointee.queuePair].pointee.role
        if command.opcode == FabricsCommandType.opcode {
            switch FabricsCommand(command) {
            case .invalid(let status): fail(index, status.doNotRetry, in: group)
            case .connect(let connect):
                guard role == .unconnected else {
                    return fail(index, .commandSequenceError.doNotRetry, in: group)
                }
                self.connect(index, connect, in: group, now: now)
            case _ where role == .unconnected:
                fail(index, .commandSequenceError.doNotRetry, in: group)
            case .propertyGet(let property): propertyGet(index, property, in: group)
            case .propertySet(let property): propertySet(index, property, in: group)
            case .disconnect: disconnect(index, in: group)
            case .authenticationSend, .authenticationReceive:
                fail(index, .invalidOpcode.doNotRetry, in: group)
            }
            return
        }
        guard role != .unconnected, let controller = controller(of: index, in: group) else {
            return fail(index, .commandSequenceError.doNotRetry, in: group)
        }
        guard controller.state.withLock({ $0.isOperational }) else {
            return fail(index, .commandSequenceError.doNotRetry, in: group)
        }
        if role == .admin {
            admin(index, controller, in: group)
        } else {
            reservation(index, controller, in: group)
        }
    }

    /// Answers with an error and keeps it in the controller's error log.
    func fail(_ index: UInt32, _ status: Status, in group: DeviceGroup) {
        let request = group.requests[index]
        if let controller = controller(of: index, in: group) {
            let queueID = group.queuePairs[request.pointee.queuePair].pointee.queueID
            let command = request.pointee.command
            controller.state.withLock {
                $0.errorLog.record(
                    queueID: queueID, commandID: command.commandID, status: status, lba: 0, nsid: command.nsid)
            }
        }
        group.answer(index, status)
    }

    /// Answers an admin command with data for the host: `fill` writes into zeroed memory of the length that the host
    /// asked for.
    ///
    /// - Parameter length: bytes that the command returns; the SGL must describe as many.
    func answerWithData(
        _ index: UInt32, length: Int, in group: DeviceGroup, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        let request = group.requests[index]
        guard let described = group.describeData(index) else { return }
        guard described >= length, length <= target.options.maxTransferSize else {
            return fail(index, .dataSGLLengthInvalid.doNotRetry, in: group)
        }
        guard length > 0 else { return group.answer(index, .success) }
        request.pointee.dataLength = UInt32(length)
        guard group.takeBuffer(index), let memory = request.pointee.data else {
            // The reserve for control commands is sized so that this takes a hostile host; it may try again.
            request.pointee.dataLength = 0
            return fail(index, .internalError, in: group)
        }
        let buffer = UnsafeMutableRawBufferPointer(start: memory, count: length)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        fill(buffer)
        group.answer(index, .success)
    }

    /// NVMe-oF "Disconnect": the I/O queue ends after the answer.
    private func disconnect(_ index: UInt32, in group: DeviceGroup) {
        guard group.queuePairs[group.requests[index].pointee.queuePair].pointee.role == .io else {
            return fail(index, .invalidQueueType.doNotRetry, in: group)
        }
        group.answer(index, .success)
    }
}
