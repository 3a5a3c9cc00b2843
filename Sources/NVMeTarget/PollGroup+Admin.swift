import Base
import FabricInterface
import NVMeSpec
import Synchronization

/// Admin commands (NVMe Base, "Admin Command Set").
extension PollGroup {
    func admin(_ index: UInt32, _ controller: Controller, in group: DeviceGroup) {
        switch AdminCommand(group.requests[index].pointee.command) {
        case .invalid(let status): fail(index, status.doNotRetry, in: group)
        case .identify(let command): identify(index, command, controller, in: group)
        case .getLogPage(let command): getLogPage(index, command, controller, in: group)
        case .getFeatures(let command): getFeatures(index, command, controller, in: group)
        case .setFeatures(let command): setFeatures(index, command, controller, in: group)
        case .keepAlive: group.answer(index, .success)
        case .asynchronousEventRequest: holdAsyncEventRequest(index, controller, in: group)
        case .abort(let command): abort(index, command, controller, in: group)
        case .quiesce(let command): quiesce(index, command, controller, in: group)
        }
    }

    // MARK: Asynchronous events

    private func holdAsyncEventRequest(_ index: UInt32, _ controller: Controller, in group: DeviceGroup) {
        let held = controller.state.withLock { $0.events.hold(index, limit: Limits.asyncEventRequests) }
        guard held else { return fail(index, .asynchronousEventRequestLimitExceeded.doNotRetry, in: group) }
        group.requests[index].pointee.state.move(to: .held)
        // It waits for as long as its host stays: hosts may be many more than receive buffers.
        group.returnReceive(group.requests[index])
        deliverEvents(of: controller)
    }

    /// Answers held Asynchronous Event Requests with the events that wait. On the admin queue's reactor.
    func deliverEvents(of controller: Controller) {
        while let (device, request, event) = controller.state.withLock({ state -> (UInt32, UInt32, AsyncEvent)? in
            guard let queue = state.adminQueue, let next = state.events.next() else { return nil }
            return (queue.device, next.request, next.event)
        }) {
            let group = devices[Int(device)]
            group.requests[request].pointee.result = UInt64(event.dword0)
            group.answer(request, .success)
        }
    }

    // MARK: Abort

    /// Abort: what has not started is withdrawn and says so itself; bit 0 of the result is clear then (NVMe Base,
    /// "Abort command").
    private func abort(_ index: UInt32, _ abort: AbortCommand, _ controller: Controller, in group: DeviceGroup) {
        let queue: QueueLocation? = controller.state.withLock { state in
            abort.sqID == 0 ? state.adminQueue : state.ioQueues[abort.sqID]
        }
        guard let queue else { return fail(index, .invalidField.doNotRetry, in: group) }
        if queue.group == self.index {
            let aborted = self.abort(abort.commandID, in: queue)
            group.requests[index].pointee.result = aborted ? 0 : UInt64(AbortCommand.notAborted)
            return group.answer(index, .success)
        }
        // The queue is another reactor's: it looks, and the answer comes back here.
        let here = target.group(self.index)
        let slot = group.requests[index].pointee.queuePair
        let generation = group.queuePairs[slot].pointee.generation
        group.requests[index].pointee.state.move(to: .held)
        group.returnReceive(group.requests[index])
        let device = group.index
        target.group(queue.group).abort(abort.commandID, in: queue) { aborted in
            here.run { pollGroup in
                let group = pollGroup.devices[Int(device)]
                // Closing the admin queue ended the held request.
                guard group.queuePairs[slot].pointee.generation == generation,
                    group.queuePairs[slot].pointee.state == .live
                else { return }
                group.requests[index].pointee.result = aborted ? 0 : UInt64(AbortCommand.notAborted)
                group.answer(index, .success)
            }
        }
    }

    /// Withdraws a command of one of this group's queues if it has not started; `true` when it was.
    func abort(_ commandID: UInt16, in queue: QueueLocation) -> Bool {
        guard Int(queue.device) < devices.count else { return false }
        let group = devices[Int(queue.device)]
        guard group.queuePairs[queue.slot].pointee.generation == queue.generation else { return false }
        for index in 0..<UInt32(group.requests.usedCount) {
            let request = group.requests[index]
            guard request.pointee.queuePair == queue.slot, request.pointee.command.commandID == commandID else {
                continue
            }
            switch request.pointee.state {
            case .awaitingBuffer where group.awaitingBuffer.remove(index, group.requests.slots):
                group.answer(index, .commandAbortRequested)
                return true
            case .awaitingRead
            where group.queuePairs[queue.slot].pointee.awaitingRead.remove(index, group.requests.slots):
                group.answer(index, .commandAbortRequested)
                return true
            case .executing where group.awaitingBlock.remove(index, group.requests.slots):
                group.answer(index, .commandAbortRequested)
                return true
            case .executing:
                return group.cancelBlockOperation(index)
            case .received where group.queuePairs[queue.slot].pointee.firstHalf == index:
                group.answer(index, .commandAbortRequested)
                return true
            case .held:
                guard let controller = controller(of: index, in: group),
                    controller.state.withLock({ $0.events.release(index) })
                else { return false }
                group.answer(index, .commandAbortRequested)
                return true
            default: return false
            }
        }
        return false
    }
}
