import Dispatch
import Foundation
import Synchronization

/// A thread for the steps of one call. They wait for programs, for sockets and for devices, some of which never answer: neither gRPC's
/// event loops nor the threads that all tasks share may do that.
final class CallThread: TaskExecutor {
    private struct Work {
        var jobs: [UnownedJob] = []
        var isOver = false
    }

    private let work = Mutex(Work())
    /// Counts the jobs, and the end.
    private let wake = DispatchSemaphore(value: 0)

    init() { Thread { [self] in run() }.start() }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        work.withLock { $0.jobs.append(job) }
        wake.signal()
    }

    /// Ends the thread. No task prefers it any more.
    func end() {
        work.withLock { $0.isOver = true }
        wake.signal()
    }

    private func run() {
        while true {
            wake.wait()
            let (job, isOver) = work.withLock { ($0.jobs.isEmpty ? nil : $0.jobs.removeFirst(), $0.isOver) }
            if let job {
                job.runSynchronously(on: asUnownedTaskExecutor())
            } else if isOver {
                return
            }
        }
    }
}
