import Base
import InitiatorTransport
import NVMeSpec
import Reactor
import Trace

/// One reactor's part as initiator: its transport, its connections and its queues.
///
/// Everything is driven by `poll`: on a reactor's thread, on a caller's own, or in a simulation's virtual time. Tasks of
/// the control plane run there too.
public final class InitiatorGroup: Poller, @unchecked Sendable {
    // Unchecked: the thread that polls alone uses what changes; others reach it through the mailbox and the executor.
    /// Moves this reactor's commands; this group is its only user.
    let transport: any HostTransport
    let mailbox: Mailbox
    private let ring: TraceRing
    /// Records what this reactor's commands, and those above them, do.
    public let trace: Trace
    let executor: GroupExecutor
    var connections: GroupConnections
    private(set) var queues: [IOQueue] = []
    /// The same, for each round: counting references would cost more than the look.
    private var looks: [Unmanaged<IOQueue>] = []
    private var capsules = CapsuleBatch(capacity: Limits.capsuleBatch)
    private var timers: [Timer] = []
    /// The first of their deadlines; and whether one of them has been cancelled since they were looked at.
    private var earliestTimer = MonotonicTime.distantFuture
    fileprivate var hasCancelledTimer = false
    /// When queues and timers were looked at, and whether something has happened since.
    private var lookedAt = MonotonicTime(nanoseconds: 0)
    private var hadWork = true
    /// The time of the round that is running.
    public private(set) var now = MonotonicTime(nanoseconds: 0)

    private struct Timer {
        var deadline: MonotonicTime
        var token: SleepToken?

        func isDue(_ now: MonotonicTime) -> Bool { deadline <= now || token?.isCancelled == true }

        var continuation: CheckedContinuation<Void, Never>
    }

    /// Steps that tasks of the control plane may take in one round beyond those that were waiting for it.
    private static let stepsAtOnce = 16

    /// - Parameters:
    ///   - transport: this reactor's own.
    ///   - mailbox: drained by `poll`; other threads write to it.
    ///   - ring: where the events are recorded: the reactor's, for dumps to contain them.
    public init(_ transport: any HostTransport, mailbox: Mailbox = Mailbox(), ring: TraceRing = TraceRing()) {
        self.transport = transport
        self.mailbox = mailbox
        self.ring = ring
        trace = ring.trace
        executor = GroupExecutor(mailbox: mailbox)
        connections = GroupConnections(capacity: transport.connectionCapacity)
    }

    public override func poll(now: MonotonicTime) -> Int {
        // While the time stands still, and nothing has arrived since the last round looked, nothing is due and nothing has
        // completed: most rounds are such.
        let mayBeDue = now != lookedAt || hadWork
        self.now = now
        var work = mailbox.drain()
        let events = transport.poll(now: now)
        for event in events { handle(event) }
        work += events.count
        while let event = transport.nextEvent() {
            handle(event)
            work += 1
        }
        if mayBeDue || work > 0 {
            lookedAt = now
            expire(now)
            work += deliver()
        }
        work += continueTasks()
        if issuePending() {
            // Operations that failed while being issued; seldom.
            work += deliver()
        }
        transport.flush()
        hadWork = work > 0
        return work
    }

    @inline(__always)
    private func handle(_ event: CommandEvent) {
        guard let queue = connections.queue(event.connection) else { return }
        queue._withUnsafeGuaranteedRef { queue in
            switch event.kind {
            case .released: queue.engine.released(event.index, now: now)
            case .answered:
                trace.record(
                    .responseIn,
                    event.connection.position << 16 | CommandIdentifier.index(of: event.answer.commandID).position,
                    event.answer.identifierAndStatus)
                do throws(AnswerViolation) { try queue.engine.answered(event.answer, now: now) } catch {
                    connectionFailed(event.connection, "\(error)")
                }
            }
        }
    }

    /// Has what was submitted since this round's poll leave now: for a poller behind the group, whose commands would wait
    /// for the next round otherwise.
    public func sendSubmitted() {
        guard issuePending() else { return }
        transport.flush()
        hadWork = true
    }

    /// Delivers the completions of this round; returns how many.
    @inline(__always)
    private func deliver() -> Int {
        var ended = 0
        for place in 0..<looks.count { ended += looks[place]._withUnsafeGuaranteedRef { $0.deliver() } }
        return ended
    }

    /// Issues what queues hold; false where they hold nothing.
    private func issuePending() -> Bool {
        var isAny = false
        for place in 0..<looks.count {
            looks[place]._withUnsafeGuaranteedRef { queue in
                guard queue.engine.operations.hasPending else { return }
                isAny = true
                while queue.engine.issue(into: &capsules, now: now) { sendCapsules() }
            }
        }
        sendCapsules()
        return isAny
    }

    /// Issues a single command of a queue past all others.
    func issueAtOnce(_ operation: OperationIndex, of queue: IOQueue) {
        if !capsules.hasRoom { sendCapsules() }
        queue.engine.issueAtOnce(operation, into: &capsules)
    }

    /// Gives the transport what has been collected.
    func sendCapsules() {
        guard !capsules.isEmpty else { return }
        let capsules = capsules.take()
        for capsule in capsules {
            trace.record(
                .commandOut, capsule.connection.position << 16 | capsule.index.position, capsule.entry.leadingBytes)
        }
        transport.send(capsules)
    }

    /// Lets tasks go on as far as they can without a peer's answer. With one step a round the tasks of a caller that polls
    /// seldom would come too late: a Keep Alive takes several.
    private func continueTasks() -> Int {
        var work = 0
        var steps = 0
        while !mailbox.isEmpty, steps < Self.stepsAtOnce {
            work += mailbox.drain()
            steps += 1
            // Operations that one step has ended: a later one may take their queue away.
            work += deliver()
        }
        return work
    }

    /// Nothing is connected or under way, and no task waits.
    package var isIdle: Bool { queues.isEmpty && connections.isSettled && timers.isEmpty }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    /// Tells the time between polls: who submits after a long pause without polling calls this first, so that deadlines
    /// count from now.
    public func advance(to now: MonotonicTime) { self.now = max(self.now, now) }

    public override var nextDeadline: MonotonicTime {
        var deadline = min(earliestTimer, min(transport.nextDeadline, connections.nextDeadline))
        for queue in queues { deadline = min(deadline, queue.engine.earliestDeadline) }
        return deadline
    }

    /// Asks for connection events in the next round: for one who polls without ever sleeping.
    package func expectEvents() { transport.expectEvents() }

    public override func prepareToSleep() { transport.armNotifications() }

    public override func wokeUp() {
        mailbox.acknowledge()
        transport.acknowledgeNotifications()
    }

    public override var descriptorGeneration: UInt64 { transport.descriptorGeneration }

    public override var descriptors: [Int32] { [mailbox.descriptor] + transport.descriptors }

    /// Runs `body` in a poll round.
    public func send(_ body: @escaping @Sendable () -> Void) { mailbox.send(body) }

    /// Runs `body` in a poll round and returns what it returned.
    public func run<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            mailbox.send { continuation.resume(returning: body()) }
        }
    }

    /// Starts a task that runs in this group's poll rounds.
    public func spawn(_ body: @escaping @Sendable () async -> Void) {
        Task(executorPreference: executor) { await body() }
    }

    /// Ends what is left and frees the transport. The group must not be polled again; close its controllers before.
    public func close() {
        for timer in timers { timer.continuation.resume() }
        timers = []
        transport.shutDown()
    }

    /// Runs `body` on this group's executor, in its poll rounds, and returns what it returned.
    public func onExecutor<Result: Sendable>(_ body: @Sendable () async -> Result) async -> Result {
        await withTaskExecutorPreference(executor, operation: body)
    }

    // MARK: Queues

    func add(_ queue: IOQueue) {
        queues.append(queue)
        looks.append(.passUnretained(queue))
    }

    func remove(_ queue: IOQueue) {
        // Completions of this round have not been delivered yet, and nobody asks the queue any more.
        _ = queue.deliver()
        queues.removeAll { $0 === queue }
        looks = queues.map { .passUnretained($0) }
    }

    // MARK: Time

    /// Waits until `deadline`, or until `token` is cancelled. On this group's executor.
    public func sleep(until deadline: MonotonicTime, _ token: SleepToken? = nil) async {
        await withCheckedContinuation {
            timers.append(Timer(deadline: deadline, token: token, continuation: $0))
            earliestTimer = min(earliestTimer, deadline)
        }
    }

    public func sleep(milliseconds: UInt64) async { await sleep(until: now.advanced(byMilliseconds: milliseconds)) }

    /// Resumes the tasks whose time has come, or whose sleep was cancelled.
    private func wake(_ now: MonotonicTime) {
        hasCancelledTimer = false
        let due = timers.filter { $0.isDue(now) }
        timers.removeAll { $0.isDue(now) }
        earliestTimer = timers.reduce(.distantFuture) { min($0, $1.deadline) }
        for timer in due { timer.continuation.resume() }
    }

    private func expire(_ now: MonotonicTime) {
        if earliestTimer <= now || hasCancelledTimer { wake(now) }
        for place in 0..<looks.count {
            looks[place]._withUnsafeGuaranteedRef { queue in
                if queue.engine.expire(now: now), let connection = queue.connection {
                    connectionFailed(connection, "an operation was not answered in time")
                }
            }
        }
        if connections.hasOpenings { expireOpenings(now) }
    }
}

/// Ends a sleep early. On the thread of the group that sleeps.
public final class SleepToken {
    private unowned let group: InitiatorGroup
    private(set) var isCancelled = false

    public init(_ group: InitiatorGroup) { self.group = group }

    /// The sleep ends in the group's next round that has work.
    public func cancel() {
        isCancelled = true
        group.hasCancelledTimer = true
    }
}
