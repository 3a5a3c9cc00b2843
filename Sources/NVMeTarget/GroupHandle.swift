import Base
import NVMeAuthentication
import Reactor
import TargetInterface
import TargetTransport

/// Requests of the target and of other reactors to a poll group, on its own thread.
protocol PollGroupDuties: AnyObject {
    /// Listens at an address; what went wrong, if anything did.
    func listen(_ listener: TargetListener) -> String?
    func stopListening(_ listener: TargetListener)
    /// Takes a connection over that another reactor has received.
    func adopt(_ ticket: any TransportTicket, isAdmin: Bool)
    /// Closes the queue that is meant, if it is still there.
    func closeQueue(_ location: QueueLocation)
    func deliverEvents(of controller: Controller)
    /// Looks at all namespaces of a subsystem anew.
    func synchronize(_ subsystem: Subsystem)
    /// Takes on the states of a subsystem's ANA groups.
    func renewAccess(_ subsystem: Subsystem)
    /// Calls `done` when all that it was told of subsystems is done.
    func whenSettled(_ done: @escaping @Sendable () -> Void)
    /// Looks at one namespace anew.
    func synchronize(_ subsystem: Subsystem, nsid: UInt32)
    /// Withdraws a command of one of the group's queues if it has not started; `true` when it was.
    func abort(_ commandID: UInt16, in queue: QueueLocation) -> Bool
    /// The queues that hosts have here. Makes a list: not for the I/O path.
    var queueLoads: [QueueLoad] { get }
    /// Answers an Abort command that another reactor has carried out.
    func finishAbort(_ ticket: RequestTicket, isAborted: Bool)
    /// A pool has been changed for one of the group's commands, or has not.
    ///
    /// - Parameter returns: the answer says the identifier of the namespace.
    func poolChanged(
        _ ticket: RequestTicket, _ outcome: Result<UInt32, PoolRefusal>, of controller: Controller, returns: Bool)
    /// Work of an exchange is done, the one with this number.
    func authenticationComputed(_ result: WorkResult, for queue: QueueLocation, number: UInt64)
    /// The time counts from now on in which a subsystem's former keys are valid still.
    func dateFormerKeys(of subsystem: Subsystem)
    /// Takes on who may read and write a namespace, ends waiting commands of `victims`, and arrives at the barrier when
    /// their running ones have ended.
    func fence(_ subsystem: Subsystem, nsid: UInt32, victims: HostSet, barrier: FenceBarrier)
    /// The commands of ended associations are over that a request waited for.
    func resume(_ ticket: RequestTicket)
    /// A reservation has been stored, or has not.
    func stored(_ change: ReservationChange, problem: String?)
    /// It is the turn of a reservation command that waited for others on the namespace.
    func takeTurn(_ ticket: RequestTicket, of namespace: Namespace)
    /// All reactors have taken a reservation on.
    func takenOn(_ change: ReservationChange)
}

/// A poll group as other threads see it: what they ask for is done by the group's own thread.
struct GroupHandle: Sendable {
    private let mailbox: Mailbox
    private let reference = Reference()

    /// A weak reference that crosses threads.
    ///
    /// Unchecked: it is set before the group is polled, and only the group's own thread follows it.
    private final class Reference: @unchecked Sendable {
        weak var group: (any PollGroupDuties)?
    }

    /// `attach` follows, before the mailbox is drained.
    init(_ mailbox: Mailbox) { self.mailbox = mailbox }

    func attach(_ group: any PollGroupDuties) { reference.group = group }

    /// Runs `body` on the group's thread, while the group is there.
    ///
    /// - Parameter alone: in a round of its own, for it may make a system call.
    func send(alone: Bool = false, _ body: @escaping @Sendable (any PollGroupDuties) -> Void) {
        let reference = reference
        mailbox.send(alone: alone) { if let group = reference.group { body(group) } }
    }

    /// Tells the queues that hosts have at the group: none if it is gone. Its mailbox has to be drained.
    func tellQueueLoads(_ told: @escaping @Sendable ([QueueLoad]) -> Void) {
        let reference = reference
        mailbox.send { told(reference.group?.queueLoads ?? []) }
    }

    /// Calls `done` when the group has done what it was sent before, even if it is gone. Its mailbox has to be drained.
    func whenSettled(_ done: @escaping @Sendable () -> Void) {
        let reference = reference
        mailbox.send { if let group = reference.group { group.whenSettled(done) } else { done() } }
    }
}
