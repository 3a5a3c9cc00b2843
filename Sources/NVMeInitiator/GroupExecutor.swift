import Reactor

/// Runs tasks of the control plane in an initiator group's poll rounds: on the reactor's thread, or in virtual time where
/// a simulation polls. In the order in which they became ready.
final class GroupExecutor: TaskExecutor {
    private let mailbox: Mailbox

    init(mailbox: Mailbox) { self.mailbox = mailbox }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        mailbox.send { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
