import Base
import Reactor
import Testing

/// The ways in which a reactor waits, as its pollers see them.
@Suite struct WaitingTests {
    /// Has work when it is told so, and counts how often it is to arm its notifications.
    ///
    /// Unchecked: the reactor's thread alone uses what changes.
    private final class Worker: Poller, @unchecked Sendable {
        var polls = 0
        var sleeps = 0
        var work = 0

        override func poll(now: MonotonicTime) -> Int {
            polls += 1
            defer { work = 0 }
            return work
        }

        override func prepareToSleep() { sleeps += 1 }

        /// A timer, so that the reactor's sleep ends by itself.
        override var nextDeadline: MonotonicTime { .now().advanced(byMilliseconds: 1) }
    }

    /// How often a worker was polled and was to arm its notifications, while a reactor had nothing to do for 50 rounds and more.
    private func idle(_ waiting: Waiting?) async -> (polls: Int, sleeps: Int) {
        let worker = Worker()
        let reactor = Reactor(name: "waiting", options: ReactorOptions(waiting: waiting))
        reactor.add(worker)
        reactor.start()
        let began = MonotonicTime.now()
        var seen = (polls: 0, sleeps: 0)
        // Longer than the spell after which a reactor sleeps, however slow the machine is.
        while MonotonicTime.now().nanoseconds(since: began) < 50_000_000 || seen.polls < 50 {
            seen = await reactor.run { (worker.polls, worker.sleeps) }
            try? await Task.sleep(for: .milliseconds(10))
        }
        reactor.stop()
        return seen
    }

    @Test func oneThatPollsAlwaysNeverSleeps() async {
        let seen = await idle(.always)
        #expect(seen.sleeps == 0)
        #expect(seen.polls > 1000)
    }

    @Test(arguments: [.adaptive, .never, nil] as [Waiting?]) func othersSleepWhereNothingComes(_ waiting: Waiting?)
        async
    {
        #expect(await idle(waiting).sleeps > 0)
    }

    /// One that never polls in vain sleeps after each spell of work.
    @Test func oneThatNeverPollsSleepsAtOnce() async {
        let seen = await idle(.never)
        #expect(seen.polls <= 4 * (seen.sleeps + 10), "\(seen)")
    }
}
