import Base
import NVMeSpec
import Synchronization
import TargetTransport

/// Waiting until commands of associations that have ended can no longer reach the media.
///
/// A host whose command timed out takes it for failed; the command may still be at a block device, and land after one that
/// the host sent later, over another association. So a host's new association begins when the commands of those that have
/// ended are over, and `QuiesceCommand` ends one that the target still takes for alive.
extension PollGroup {
    /// Quiesce: ends another association of this host, and is answered when its commands are over.
    func quiesce(_ command: QuiesceCommand, _ request: ControlRequest) {
        let controller = request.controller
        guard command.controllerID != controller.id, !controller.isDiscovery else {
            return fail(request, .invalidField)
        }
        if let other = controller.subsystem.controller(command.controllerID) {
            // Somebody else's association is none of this host's business.
            guard other.hostNQN == controller.hostNQN, other.hostID == controller.hostID else {
                return fail(request, .invalidField)
            }
            target.end(other, .replaced)
        }
        if hold(request.reference, until: .controller(command.controllerID), of: controller.subsystem) { return }
        request.answer(.success)
    }

    func connectionDrained(_ connection: ConnectionIndex, in engine: CommandEngine) {
        controllers[engine.connections[connection].controller]?.releaseQueue()
    }

    // MARK: Held requests

    /// A held request, recognised after its connection may have gone.
    struct RequestTicket: Sendable, Equatable {
        var queue: QueueLocation
        var request: RequestIndex
    }

    func ticket(_ request: RequestReference) -> RequestTicket {
        RequestTicket(queue: location(of: request), request: request.index)
    }

    /// A held request, if it is still there: closing a connection ends its held requests.
    func request(of ticket: RequestTicket) -> RequestReference? {
        guard let engine = engine(of: ticket.queue), engine.connections[ticket.queue.connection].state == .live else {
            return nil
        }
        return RequestReference(engine: engine, index: ticket.request)
    }

    func finish(_ ticket: RequestTicket, _ status: Status) {
        guard let request = request(of: ticket) else { return }
        if status.isSuccess { request.answer(status) } else { fail(request, status) }
    }
}

extension Subsystem {
    /// Lets somebody wait; `false` if there is nothing to wait for.
    func wait(_ waiter: DrainWaiter) -> Bool { state.withLock { $0.controllers.wait(waiter) } }

    /// Lets somebody wait no longer.
    func forget(_ waiter: DrainWaiter) { state.withLock { $0.controllers.forget(waiter) } }

    /// Controllers that somebody waits for: they have ended, and their commands are not over. By their identifiers; and
    /// whether there is one among them that has not been asked for before.
    func draining(_ scope: DrainScope) -> (controllers: [UInt16], isNews: Bool) {
        let found = state.withLock { $0.controllers.drainingControllers(scope) }
        let isNews = found.map { controller in
            controller.state.withLock { state in
                defer { state.isKnownToDrain = true }
                return !state.isKnownToDrain
            }
        }
        return (found.map(\.id).sorted(), isNews.contains(true))
    }

    /// The last command of an ended controller is over: those go on who waited for it alone.
    fileprivate func drained(_ controller: Controller) {
        let ready = state.withLock { $0.controllers.drained(controller) }
        for waiter in ready { waiter.resume() }
    }
}

extension Controller {
    /// Marks the controller as ended. Returns its queues, and whether any of its queue pairs may have commands; `nil` where
    /// it has ended already.
    func end() -> (queues: [QueueLocation], isBusy: Bool)? {
        state.withLock { state in
            guard !state.isEnded else { return nil }
            state.isEnded = true
            let queues = state.ioQueuesInOrder + [state.adminQueue].compactMap { $0 }
            state.ioQueues = [:]
            state.adminQueue = nil
            state.events.reset()
            return (queues, state.busyQueuePairs > 0)
        }
    }

    /// A queue pair is closing and its last command is over.
    fileprivate func releaseQueue() {
        let isOver = state.withLock { state in
            state.busyQueuePairs -= 1
            state.finishReset()
            return state.isEnded && state.busyQueuePairs == 0
        }
        if isOver { subsystem.drained(self) }
    }
}
