import NVMeSpec
import Synchronization
import TargetTransport

/// Asynchronous Event Requests, held until there is an event (NVMe Base, "Asynchronous Event Request command").
struct EventRequests {
    let engines: EngineTable

    func hold(_ request: ControlRequest) -> ControlReply {
        let index = request.reference.index
        let held = request.controller.state.withLock { $0.events.hold(index, limit: Limits.asyncEventRequests) }
        guard held else { return .refused(.asynchronousEventRequestLimitExceeded) }
        request.reference.hold()
        // It waits for as long as its host stays: hosts may be many more than capsules' buffers.
        request.reference.returnCapsule()
        deliver(of: request.controller)
        return .later
    }

    /// Answers held requests with the events that wait. On the admin queue's reactor.
    func deliver(of controller: Controller) {
        while let (port, index, event) = controller.state.withLock({ state -> (PortIndex, RequestIndex, AsyncEvent)? in
            guard let queue = state.adminQueue, let next = state.events.next() else { return nil }
            return (queue.port, next.request, next.event)
        }) {
            engines.request(index, of: port).finish(.result(UInt64(event.dword0)), controller)
        }
    }
}
