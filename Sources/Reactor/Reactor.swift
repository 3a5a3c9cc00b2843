import Base
import CLinux
import Glibc
import Synchronization

/// How a reactor waits.
public struct ReactorOptions: Sendable {
    /// How long the reactor goes on polling after the last work before it sleeps, in nanoseconds.
    public var idleSpellNanoseconds: UInt64
    /// Polls without work after which the processor is offered to other threads; they may need it to make our work.
    public var pollsBeforeYield: Int

    public init(idleSpellNanoseconds: UInt64 = 200_000, pollsBeforeYield: Int = 16) {
        self.idleSpellNanoseconds = idleSpellNanoseconds
        self.pollsBeforeYield = pollsBeforeYield
    }
}

/// A thread that runs pollers: pinned to one processor, polling while there is work, asleep in epoll when there is none.
///
/// Whatever the pollers own belongs to this thread; other threads reach it through `send`.
public final class Reactor: @unchecked Sendable {
    public let name: String
    private let processor: Int?
    private let options: ReactorOptions
    private let mailbox = Mailbox()
    private let stopping = Atomic<Bool>(false)
    private let sleeps = Atomic<Int>(0)
    // The reactor's thread owns these once `start` has been called.
    private var pollers: [Poller] = []
    private var watched: [Int32] = []
    private var watchedGeneration: UInt64 = 0
    private var epoll: Int32 = -1
    private var thread = pthread_t()

    /// - Parameter processor: the ordinal of a processor among those that the process may use; `nil` leaves the choice
    ///   to the scheduler.
    public init(name: String, processor: Int? = nil, options: ReactorOptions = ReactorOptions()) {
        self.name = name
        self.processor = processor
        self.options = options
    }

    /// Starts the thread.
    public func start() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { fatalError("epoll_create1: \(String(cString: strerror(errno)))") }
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, reactorThread, context)
        if result != 0 { fatalError("pthread_create: \(String(cString: strerror(result)))") }
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
    public func add(_ poller: Poller) { pollers.append(poller) }

    /// Removes a poller. On the reactor's thread only.
    public func remove(_ poller: Poller) { pollers.removeAll { $0 === poller } }

    /// Ends the thread after the round that it is in and waits for it.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        mailbox.send {}
        pthread_join(thread, nil)
        close(epoll)
    }

    /// How often the reactor has gone to sleep: an idle one's count stands still, or grows with its timers only.
    public var sleepCount: Int { sleeps.load(ordering: .relaxed) }

    fileprivate func loop() {
        if let processor {
            let allowed = tercet_allowed_processor(Int32(processor))
            if allowed >= 0 { _ = tercet_pin_to_processor(allowed) }
        }
        var lastWork = MonotonicTime.now()
        var emptyPolls = 0
        while !stopping.load(ordering: .acquiring) {
            let now = MonotonicTime.now()
            if round(now) > 0 {
                lastWork = now
                emptyPolls = 0
            } else if now.nanoseconds(since: lastWork) >= options.idleSpellNanoseconds {
                // After a deadline alone there is no more work to expect: the next empty round sleeps again at once.
                if sleep() { lastWork = .now() }
                emptyPolls = 0
            } else {
                emptyPolls += 1
                if emptyPolls % options.pollsBeforeYield == 0 { sched_yield() }
            }
        }
        pollers.removeAll()
    }

    private func round(_ now: MonotonicTime) -> Int {
        var work = mailbox.drain()
        for poller in pollers { work += poller.poll(now: now) }
        return work
    }

    /// Arms all notifications, looks once more, and sleeps until one of them, a deadline or a letter. Returns false if it
    /// was a deadline alone.
    private func sleep() -> Bool {
        for poller in pollers { poller.prepareToSleep() }
        if round(.now()) > 0 { return true }
        watchDescriptors()
        var deadline = MonotonicTime.distantFuture
        for poller in pollers { deadline = min(deadline, poller.nextDeadline) }
        var timeout: Int32 = -1
        if deadline < .distantFuture {
            let wait = deadline.nanoseconds(since: .now())
            timeout = Int32(min((wait + 999_999) / 1_000_000, 3_600_000))
        }
        sleeps.add(1, ordering: .relaxed)
        let ready = withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 8) { events in
            epoll_wait(epoll, events.baseAddress, Int32(events.count), timeout)
        }
        mailbox.acknowledge()
        for poller in pollers { poller.wokeUp() }
        return ready != 0
    }

    /// Brings the epoll set up to date; descriptors seldom change.
    private func watchDescriptors() {
        var generation = UInt64(pollers.count) &+ 1
        for poller in pollers { generation = generation &* 1_000_003 &+ poller.descriptorGeneration }
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
