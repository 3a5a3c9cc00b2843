import Base
import NVMeSpec
import Synchronization
import TargetTransport

/// Admin commands (NVMe Base, "Admin Command Set").
extension PollGroup {
    func admin(_ command: AdminCommand, _ request: ControlRequest) {
        switch command {
        case .invalid(let status): fail(request, status)
        case .identify(let command): identify(command, request)
        case .getLogPage(let command): getLogPage(command, request)
        case .getFeatures(let command): getFeatures(command, request)
        case .setFeatures(let command): setFeatures(command, request)
        case .keepAlive: request.answer(.success)
        case .asynchronousEventRequest: holdAsyncEventRequest(request)
        case .abort(let command): abort(command, request)
        case .quiesce(let command): quiesce(command, request)
        }
    }

    // MARK: Asynchronous events

    private func holdAsyncEventRequest(_ request: ControlRequest) {
        let index = request.reference.index
        let held = request.controller.state.withLock { $0.events.hold(index, limit: Limits.asyncEventRequests) }
        guard held else { return fail(request, .asynchronousEventRequestLimitExceeded) }
        request.reference.hold()
        // It waits for as long as its host stays: hosts may be many more than capsules' buffers.
        request.reference.engine.returnCapsule(index)
        deliverEvents(of: request.controller)
    }

    /// Answers held Asynchronous Event Requests with the events that wait. On the admin queue's reactor.
    func deliverEvents(of controller: Controller) {
        while let (port, index, event) = controller.state.withLock({ state -> (PortIndex, RequestIndex, AsyncEvent)? in
            guard let queue = state.adminQueue, let next = state.events.next() else { return nil }
            return (queue.port, next.request, next.event)
        }) {
            let request = RequestReference(engine: engines[port.offset], index: index)
            request.setResult(event.dword0)
            request.answer(.success)
        }
    }

    // MARK: Abort

    /// Abort: what has not started is withdrawn and says so itself; bit 0 of the result is clear then (NVMe Base,
    /// "Abort command").
    private func abort(_ abort: AbortCommand, _ request: ControlRequest) {
        let queue: QueueLocation? = request.controller.state.withLock { state in
            abort.sqID == 0 ? state.adminQueue : state.ioQueues[abort.sqID]
        }
        guard let queue else { return fail(request, .invalidField) }
        if queue.group == index {
            return answerAbort(request.reference, isAborted: self.abort(abort.commandID, in: queue))
        }
        // The queue is another reactor's: it looks, and the answer comes back here.
        let here = target.group(index)
        let ticket = ticket(request.reference)
        request.reference.hold()
        request.reference.engine.returnCapsule(request.reference.index)
        target.group(queue.group).abort(abort.commandID, in: queue) { isAborted in
            here.run { group in
                // Closing the admin queue ended the held request.
                if let request = group.request(of: ticket) { group.answerAbort(request, isAborted: isAborted) }
            }
        }
    }

    private func answerAbort(_ request: RequestReference, isAborted: Bool) {
        request.setResult(isAborted ? 0 : AbortCommand.notAborted)
        request.answer(.success)
    }

    /// Withdraws a command of one of this group's queues if it has not started; `true` when it was.
    func abort(_ commandID: UInt16, in queue: QueueLocation) -> Bool {
        guard let engine = engine(of: queue) else { return false }
        return engine.abort(commandID, on: queue.connection) { request in
            guard let controller = controller(of: request) else { return false }
            return controller.state.withLock { $0.events.release(request.index) }
        }
    }
}
