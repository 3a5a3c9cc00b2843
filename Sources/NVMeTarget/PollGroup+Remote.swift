import Base
import Reactor
import TargetTransport

extension PollGroup {
    /// A poll group as other threads see it: what they ask for is done by the group's own thread.
    struct Remote: Sendable {
        private let mailbox: Mailbox
        private let reference: Reference

        /// A weak reference that crosses threads; only the group's own thread follows it.
        private final class Reference: @unchecked Sendable {
            weak var group: PollGroup?
            init(_ group: PollGroup) { self.group = group }
        }

        init(_ group: PollGroup) {
            mailbox = group.mailbox
            reference = Reference(group)
        }

        private func send(_ body: @escaping @Sendable (PollGroup) -> Void) {
            let reference = reference
            mailbox.send { if let group = reference.group { body(group) } }
        }

        func adopt(_ ticket: any TransportTicket) {
            send { $0.adopt(ticket) }
        }

        func closeQueue(_ location: QueueLocation) {
            send { $0.closeQueue(location) }
        }

        func deliverEvents(of controller: Controller) {
            send { $0.deliverEvents(of: controller) }
        }

        /// Lets the group look at all namespaces of a subsystem anew.
        func synchronize(_ subsystem: Subsystem) {
            send { group in
                if let view = group.views[subsystem.index] { group.synchronize(view) }
            }
        }

        /// Lets the group look at one namespace anew.
        func synchronize(_ subsystem: Subsystem, nsid: UInt32) {
            send { group in
                if let view = group.views[subsystem.index] { group.synchronize(view, nsid: nsid) }
            }
        }

        /// Aborts a command of a queue in that group, then answers the Abort command in `answerTo`.
        func abort(_ commandID: UInt16, in queue: QueueLocation, then reply: @escaping @Sendable (Bool) -> Void) {
            send { reply($0.abort(commandID, in: queue)) }
        }

        func fence(_ subsystem: Subsystem, nsid: UInt32, victims: UInt64, barrier: FenceBarrier) {
            send { $0.fence(subsystem, nsid: nsid, victims: victims, barrier: barrier) }
        }

        /// Returns when the group has done what it was sent before. It has to be polled.
        func settled() async {
            await withCheckedContinuation { continuation in mailbox.send { continuation.resume() } }
        }

        /// Runs `body` on the group's thread.
        func run(_ body: @escaping @Sendable (PollGroup) -> Void) { send(body) }
    }
}
