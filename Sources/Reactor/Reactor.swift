import Base
import CLinux
import Glibc
import Synchronization
import SystemPackage
import Trace

/// How a reactor waits.
public struct ReactorOptions: Sendable {
    /// How long the reactor goes on polling after the last work before it sleeps, in nanoseconds.
    public var idleSpellNanoseconds: UInt64
    /// Rounds without work after which the clock is read, and the processor offered to other threads: they may need it to
    /// make our work. Also rounds with work after which the clock is read.
    public var roundsBeforeYield: Int
    /// `nil` to offer the processor with the first round without work, and to sleep after the idle spell: what suits a thread
    /// that serves many peers. It sleeps at once where no poller is dear to wake, and while its waits are longer than the spell.
    public var waiting: Waiting?

    public init(idleSpellNanoseconds: UInt64 = 200_000, roundsBeforeYield: Int = 16, waiting: Waiting? = nil) {
        self.idleSpellNanoseconds = idleSpellNanoseconds
        self.roundsBeforeYield = roundsBeforeYield
        self.waiting = waiting
    }
}

/// A thread that runs pollers: pinned to one processor, polling while there is work, asleep in epoll when there is none.
///
/// Whatever the pollers own belongs to this thread; other threads reach it through `send`.
public final class Reactor: PollerHost, @unchecked Sendable {
    // Unchecked: other threads use the mailbox and `stopping` only; the rest belongs to the reactor's thread.

    public let name: String
    /// The last events on the reactor's thread; its pollers record there.
    public let ring: TraceRing
    private let processor: Int?
    private let options: ReactorOptions
    private let mailbox = Mailbox()
    private let stopping = Atomic<Bool>(false)
    // The reactor's thread owns these once `start` has been called.
    private var pollers: [Poller] = []
    /// The same, for the rounds: counting references would cost more than many a round.
    private var rounds: [Unmanaged<Poller>] = []
    /// A poller is dear to wake: the idle spell may be worth its time.
    private var isDearToWake = false
    private var idleSpell = IdleSpell()
    /// Pollers that were removed in the round that is running, perhaps by themselves.
    private var removed: [Poller] = []
    private var watched: [Int32] = []
    private var watchedGeneration: UInt64 = 0
    private var epoll: Int32 = -1
    private var thread = pthread_t()

    /// - Parameter processor: the ordinal of a processor among those that the process may use, below 0 from the last one on; `nil`
    ///   leaves the choice to the scheduler.
    public init(name: String, processor: Int? = nil, options: ReactorOptions = ReactorOptions()) {
        self.name = name
        ring = TraceRing(name: name)
        self.processor = processor
        self.options = options
    }

    /// Starts the thread.
    public func start() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { fatalError("epoll_create1: \(Errno(rawValue: errno))") }
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, reactorThread, context)
        if result != 0 { fatalError("pthread_create: \(Errno(rawValue: result))") }
    }

    /// Runs `body` on the reactor's thread, later.
    public func send(_ body: @escaping @Sendable () -> Void) { mailbox.send(body) }

    /// Runs `body` on the reactor's thread and returns what it returned.
    public func run<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            mailbox.send { continuation.resume(returning: body()) }
        }
    }

    /// Adds a poller. On the reactor's thread only, or before `start`.
    public func add(_ poller: Poller) {
        pollers.append(poller)
        rounds.append(.passUnretained(poller))
        isDearToWake = isDearToWake || poller.isDearToWake
    }

    /// Removes a poller. On the reactor's thread only.
    public func remove(_ poller: Poller) {
        removed.append(poller)
        pollers.removeAll { $0 === poller }
        rounds = pollers.map { .passUnretained($0) }
        isDearToWake = pollers.contains { $0.isDearToWake }
    }

    /// Ends the thread after the round that it is in and waits for it.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        mailbox.send {}
        pthread_join(thread, nil)
        close(epoll)
    }

    fileprivate func loop() {
        if let processor {
            let allowed = tercet_allowed_processor(Int32(processor))
            if allowed >= 0 { _ = tercet_pin_to_processor(allowed) }
        }
        // Reading the clock and yielding are system calls, at least if the clock source has to be asked. While there is work
        // the clock is read every `roundsBeforeYield` rounds; when it ends, both once, for what was posted may need this
        // processor to go on, and after that both every `roundsBeforeYield` rounds.
        var now = noted(.now())
        var lastWork = now
        var workRounds = 0
        var emptyRounds = 0
        var learner = SpinLearner()
        var spinNanoseconds = spin(learner)
        var hasOffered = false
        var hasSlept = false
        while !stopping.load(ordering: .acquiring) {
            if round(now) > 0 {
                if workRounds == 0 {
                    if options.waiting == .adaptive { now = noted(.now()) }
                    learn(now.nanoseconds(since: lastWork), &learner, hasOffered: hasOffered)
                }
                workRounds += 1
                emptyRounds = 0
                hasSlept = false
                if workRounds % options.roundsBeforeYield == 0 { now = noted(.now()) }
                continue
            }
            if workRounds > 0 {
                workRounds = 0
                hasOffered = false
                spinNanoseconds = spin(learner)
                if spinNanoseconds == 0 {
                    hasOffered = true
                    if !sleepsAtOnce { sched_yield() }
                }
                now = noted(.now())
                lastWork = now
                continue
            }
            emptyRounds += 1
            // Woken for nothing, perhaps by a timer: there is nothing to wait for awake.
            let isInVain = hasSlept && options.waiting != .always
            hasSlept = false
            guard emptyRounds >= options.roundsBeforeYield || sleepsAtOnce || isInVain else { continue }
            emptyRounds = 0
            now = noted(.now())
            let waited = now.nanoseconds(since: lastWork)
            if waited < spinNanoseconds { continue }
            if waited < options.idleSpellNanoseconds, !sleepsAtOnce, !isInVain {
                hasOffered = true
                sched_yield()
            } else {
                hasOffered = true
                hasSlept = sleep(now)
                if !hasSlept {
                    // Work that the last look has found is followed by more, as any.
                    workRounds = 1
                    idleSpell.waited(isShort: waited < options.idleSpellNanoseconds)
                }
                now = noted(.now())
            }
        }
        rounds.removeAll()
        pollers.removeAll()
    }

    private var sleepsAtOnce: Bool {
        options.waiting == .never || options.waiting == nil && !(isDearToWake && idleSpell.isWorthwhile)
    }

    /// A wait is over. Awake, the clock was read a few rounds before its end at most; after a sleep, when that ended.
    private func learn(_ waited: UInt64, _ learner: inout SpinLearner, hasOffered: Bool) {
        if options.waiting == .adaptive { learner.waited(waited, hasOffered: hasOffered) }
        idleSpell.waited(isShort: waited < options.idleSpellNanoseconds)
    }

    /// How long the wait that begins is to be spun.
    private func spin(_ learner: SpinLearner) -> UInt64 {
        switch options.waiting {
        case .always: .max
        case .adaptive: learner.spinNanoseconds
        case .never, nil: 0
        }
    }

    /// The time, told to the ring for what is recorded from here on.
    private func noted(_ now: MonotonicTime) -> MonotonicTime {
        ring.trace.note(now)
        return now
    }

    private func round(_ now: MonotonicTime) -> Int {
        var work = mailbox.drain()
        var place = 0
        while place < rounds.count {
            work += rounds[place]._withUnsafeGuaranteedRef { $0.poll(now: now) }
            place += 1
        }
        if !removed.isEmpty { removed.removeAll() }
        return work
    }

    /// Arms all notifications, looks once more, and sleeps until a notification, a deadline, or work from another thread.
    /// Returns whether it has slept: not where the last look has found work.
    private func sleep(_ now: MonotonicTime) -> Bool {
        mailbox.arm()
        for round in rounds { round._withUnsafeGuaranteedRef { $0.prepareToSleep() } }
        if round(now) > 0 { return false }
        watchDescriptors()
        var deadline = MonotonicTime.distantFuture
        for round in rounds { deadline = min(deadline, round._withUnsafeGuaranteedRef { $0.nextDeadline }) }
        var timeoutMilliseconds: Int32 = -1
        if deadline < .distantFuture {
            let wait = deadline.nanoseconds(since: now)
            timeoutMilliseconds = Int32(min((wait + 999_999) / 1_000_000, 3_600_000))
        }
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 8) { events in
            let count = epoll_wait(epoll, events.baseAddress, Int32(events.count), timeoutMilliseconds)
            for index in 0..<Int(max(count, 0)) {
                let descriptor = events[index].data.fd
                if descriptor == mailbox.descriptor { mailbox.acknowledge() }
                for round in rounds { round._withUnsafeGuaranteedRef { $0.becameReady(descriptor) } }
            }
        }
        return true
    }

    /// Brings the epoll set up to date; descriptors seldom change.
    private func watchDescriptors() {
        var generation = UInt64(pollers.count) &+ 1
        for round in rounds {
            generation = generation &* 1_000_003 &+ round._withUnsafeGuaranteedRef { $0.descriptorGeneration }
        }
        guard generation != watchedGeneration else { return }
        watchedGeneration = generation
        for descriptor in watched { epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil) }
        watched = [mailbox.descriptor]
        for poller in pollers { watched += poller.descriptors.filter { $0 >= 0 } }
        for descriptor in watched {
            var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(fd: descriptor))
            epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
        }
    }
}

/// The thread's entry point: outside any type, so that no actor isolation is inferred for it.
private func reactorThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    let reactor = Unmanaged<Reactor>.fromOpaque(context).takeRetainedValue()
    pthread_setname_np(pthread_self(), String(reactor.name.prefix(15)))
    reactor.loop()
    return nil
}
