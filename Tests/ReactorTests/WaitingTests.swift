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
    ///
    /// - Parameter isTooEarly: whether, after so many sleeps, it is to be looked again.
    private func idle(
        _ waiting: Waiting?, isTooEarly: (Int) -> Bool = { _ in false }
    ) async -> (polls: Int, sleeps: Int) {
        let worker = Worker()
        let reactor = Reactor(name: "waiting", options: ReactorOptions(waiting: waiting))
        reactor.add(worker)
        reactor.start()
        let began = MonotonicTime.now()
        var seen = (polls: 0, sleeps: 0)
        // Longer than the spell after which a reactor sleeps, however slow the machine is.
        var pause = 10
        while MonotonicTime.now().nanoseconds(since: began) < 50_000_000 || seen.polls < 50 || isTooEarly(seen.sleeps) {
            seen = await reactor.run { (worker.polls, worker.sleeps) }
            // To be asked is work: on a machine with much other work, more and more seldom.
            try? await Task.sleep(for: .milliseconds(pause))
            pause *= 2
            if pause > 20_000 { break }
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
        #expect(await idle(waiting) { $0 == 0 }.sleeps > 0)
    }

    /// One that never polls in vain sleeps after each spell of work, and so does one whose pollers cost nothing to wake.
    @Test(arguments: [.never, nil] as [Waiting?]) func oneThatNeverPollsSleepsAtOnce(_ waiting: Waiting?) async {
        let seen = await idle(waiting)
        #expect(seen.polls <= 4 * (seen.sleeps + 10), "\(seen)")
    }

    /// Counts the rounds from its work until it is to arm its notifications.
    ///
    /// Unchecked: the reactor's thread alone uses what changes.
    private final class Counter: Poller, @unchecked Sendable {
        let isDear: Bool
        var work = 0
        var rounds = 0
        var isWaiting = false
        var spells: [Int] = []

        init(isDear: Bool) { self.isDear = isDear }

        override var isDearToWake: Bool { isDear }

        override func poll(now: MonotonicTime) -> Int {
            rounds += 1
            guard work > 0 else { return 0 }
            (work, rounds, isWaiting) = (0, 0, true)
            return 1
        }

        override func prepareToSleep() {
            if isWaiting { spells.append(rounds) }
            isWaiting = false
        }
    }

    private func spells(isDear: Bool) async -> [Int] {
        let counter = Counter(isDear: isDear)
        let reactor = Reactor(name: "spells")
        reactor.add(counter)
        reactor.start()
        for count in 1...10 {
            await reactor.run { counter.work = 1 }
            while await reactor.run({ counter.spells.count }) < count { try? await Task.sleep(for: .milliseconds(2)) }
        }
        let spells = await reactor.run { counter.spells }
        reactor.stop()
        return spells
    }

    /// A reactor one of whose pollers is dear to wake goes on for 16 rounds at the least; without one it arms at once.
    @Test func oneThatIsDearToWakePollsForAWhile() async {
        #expect(await spells(isDear: true).allSatisfy { $0 >= 16 })
        #expect(await spells(isDear: false).contains { $0 <= 2 })
    }
}
