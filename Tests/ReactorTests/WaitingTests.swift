import Base
import CLinux
import Glibc
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

    /// Has work at the end of each wait of a given time, and counts the rounds from its work until it is to arm its notifications.
    ///
    /// Unchecked: the reactor's thread alone uses what changes.
    private final class Counter: Poller, @unchecked Sendable {
        let isDear: Bool
        let timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK))
        /// How long each wait is, in nanoseconds.
        var wait = 20_000
        var rounds = 0
        var isWaiting = false
        /// The rounds of each wait that has come to a sleep.
        var spells: [Int] = []
        /// Waits since one has come to a sleep.
        var awake = 0

        init(isDear: Bool) { self.isDear = isDear }

        deinit { close(timer) }

        override var isDearToWake: Bool { isDear }

        override var descriptors: [Int32] { [timer] }

        override func poll(now: MonotonicTime) -> Int {
            rounds += 1
            var ends: UInt64 = 0
            guard read(timer, &ends, 8) == 8 else { return 0 }
            begin()
            return 1
        }

        func begin() {
            (rounds, isWaiting) = (0, true)
            awake += 1
            var time = itimerspec(it_interval: timespec(), it_value: timespec(tv_sec: 0, tv_nsec: wait))
            timerfd_settime(timer, 0, &time, nil)
        }

        override func prepareToSleep() {
            if isWaiting { spells.append(rounds) }
            (isWaiting, awake) = (false, 0)
        }
    }

    /// Lets a counter's reactor wait for so many nanoseconds each time, until it is seen to do what it is to; whether it was.
    private func wait(
        _ nanoseconds: Int, _ reactor: Reactor, _ counter: Counter, until isSeen: @escaping @Sendable (Counter) -> Bool
    ) async -> Bool {
        await reactor.run {
            counter.wait = nanoseconds
            counter.spells = []
            counter.begin()
        }
        for _ in 0..<1000 {
            if await reactor.run({ isSeen(counter) }) { return true }
            try? await Task.sleep(for: .milliseconds(20))
        }
        return false
    }

    /// Before a sleep a reactor polls for 16 rounds at the least where one of its pollers is dear to wake, until its waits have
    /// been too long for that several times; where they are short again, it polls through them.
    @Test func oneThatIsDearToWakePollsWhileItsWaitsAreShort() async {
        let counter = Counter(isDear: true)
        let reactor = Reactor(name: "spells")
        reactor.add(counter)
        reactor.start()
        #expect(await wait(3_000_000, reactor, counter) { ($0.spells.first ?? 0) >= 16 })
        #expect(await wait(3_000_000, reactor, counter) { $0.spells.suffix(3).filter { $0 <= 2 }.count == 3 })
        #expect(await wait(20_000, reactor, counter) { $0.awake >= 20 })
        #expect(await wait(3_000_000, reactor, counter) { $0.spells.suffix(3).filter { $0 <= 2 }.count == 3 })
        reactor.stop()
    }

    @Test func oneThatIsNotDearSleepsAtOnce() async {
        let counter = Counter(isDear: false)
        let reactor = Reactor(name: "spells")
        reactor.add(counter)
        reactor.start()
        #expect(await wait(3_000_000, reactor, counter) { $0.spells.contains { $0 <= 2 } })
        reactor.stop()
    }
}
