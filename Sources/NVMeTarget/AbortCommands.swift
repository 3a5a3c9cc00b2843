import NVMeSpec
import Synchronization
import TargetTransport

/// Abort: what has not started is withdrawn and says so itself; bit 0 of the result is clear then (NVMe Base, "Abort
/// command").
struct AbortCommands {
    let target: Target
    let engines: EngineTable
    let controllers: ControllerTable

    func reply(to abort: AbortCommand, _ request: ControlRequest) -> ControlReply {
        let queue: QueueLocation? = request.controller.state.withLock { state in
            abort.sqID == 0 ? state.adminQueue : state.ioQueues[abort.sqID]
        }
        guard let queue else { return .refused(.invalidField) }
        if queue.group == engines.group { return reply(isAborted: withdraw(abort.commandID, in: queue)) }
        // The queue is another reactor's: it looks, and the answer comes back here.
        let here = target.group(engines.group)
        let ticket = engines.ticket(of: request.reference)
        request.reference.hold()
        request.reference.returnCapsule()
        target.group(queue.group).send { group in
            let isAborted = group.abort(abort.commandID, in: queue)
            here.send { $0.finishAbort(ticket, isAborted: isAborted) }
        }
        return .later
    }

    /// Another reactor has looked. Closing the admin queue may have ended the held request.
    func finish(_ ticket: RequestTicket, isAborted: Bool) {
        engines.request(of: ticket)?.finish(reply(isAborted: isAborted), nil)
    }

    private func reply(isAborted: Bool) -> ControlReply {
        .result(isAborted ? 0 : UInt64(AbortCommand.notAborted))
    }

    /// Withdraws a command of one of this group's queues if it has not started; `true` when it was.
    func withdraw(_ commandID: UInt16, in queue: QueueLocation) -> Bool {
        engines.abort(commandID, in: queue) { request in
            guard let controller = controllers[request.queue.controller] else { return false }
            return controller.state.withLock { $0.events.release(request.index) }
        }
    }
}
