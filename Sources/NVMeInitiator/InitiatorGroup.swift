import Base
import InitiatorTransport
import NVMeAuthentication
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
    /// The keys with which its controllers connect, if they have any.
    let keys: KeySource?
    private let ring: TraceRing
    /// Records what this reactor's commands, and those above them, do.
    public let trace: Trace
    let executor: GroupExecutor
    var connections: GroupConnections
    /// The queues, by their places on the board; `nil` where one has gone.
    private var queues: [IOQueue?] = []
    /// The same, for each round: counting references would cost more than the look.
    private var looks: [Unmanaged<IOQueue>?] = []
    /// Which of them have something for a round.
    private let board = QueueBoard()
    private var capsules = CapsuleBatch(capacity: Limits.capsuleBatch)
    private var timers = TimerQueue()
    /// Whether one of them has been cancelled since they were looked at.
    var hasCancelledTimer = false
    /// Tasks that wait for memory for the data of a control command, the first first.
    private var controlWaiters: [SleepToken] = []
    /// When queues and timers were looked at, and whether something has happened since.
    private var lookedAt = MonotonicTime(nanoseconds: 0)
    private var hadWork = true
    /// The time of the round that is running.
    public private(set) var now = MonotonicTime(nanoseconds: 0)

    /// Steps that tasks of the control plane may take in one round beyond those that were waiting for it.
    private static let stepsAtOnce = 16

    /// - Parameters:
    ///   - transport: this reactor's own.
    ///   - mailbox: drained by `poll`; other threads write to it.
    ///   - keys: those with which its controllers connect, to whatever subsystem.
    ///   - ring: where the events are recorded: the reactor's, for dumps to contain them.
    public init(
        _ transport: any HostTransport, mailbox: Mailbox = Mailbox(), keys: KeySource? = nil,
        ring: TraceRing = TraceRing()
    ) {
        self.transport = transport
        self.keys = keys
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
        board.takeCompleted { place in ended += looks[place]?._withUnsafeGuaranteedRef { $0.deliver() } ?? 0 }
        return ended
    }

    /// Issues what queues hold; false where they hold nothing.
    private func issuePending() -> Bool {
        var isAny = false
        board.forEachPending { place in
            looks[place]?._withUnsafeGuaranteedRef { queue in
                guard queue.engine.operations.hasPending else { return false }
                isAny = true
                while queue.engine.issue(into: &capsules, now: now) { sendCapsules() }
                return queue.engine.operations.hasPending
            } ?? false
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
    package var isIdle: Bool { queues.allSatisfy { $0 == nil } && connections.isSettled && timers.isEmpty }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    /// Tells the time between polls: who submits after a long pause without polling calls this first, so that deadlines
    /// count from now.
    public func advance(to now: MonotonicTime) { self.now = max(self.now, now) }

    public override var nextDeadline: MonotonicTime {
        min(min(timers.nextDeadline, board.earliestDeadline), min(transport.nextDeadline, connections.nextDeadline))
    }

    /// Asks for connection events in the next round: for one who polls without ever sleeping.
    package func expectEvents() { transport.expectEvents() }

    public override var isDearToWake: Bool { true }

    public override func prepareToSleep() {
        mailbox.arm()
        // Notifications of what has been seen would only wake the thread again.
        transport.acknowledgeNotifications()
        transport.armNotifications()
    }

    public override func wokeUp() {
        mailbox.acknowledge()
        transport.acknowledgeNotifications()
    }

    public override func becameReady(_ descriptor: Int32) {
        if descriptor == mailbox.descriptor { return mailbox.acknowledge() }
        transport.acknowledgeNotification(descriptor)
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
        timers.wakeAll()
        transport.shutDown()
    }

    /// Runs `body` on this group's executor, in its poll rounds, and returns what it returned.
    public func onExecutor<Result: Sendable>(_ body: @Sendable () async -> Result) async -> Result {
        await withTaskExecutorPreference(executor, operation: body)
    }

    // MARK: Queues

    func add(_ queue: IOQueue) {
        let place = queues.firstIndex { $0 == nil } ?? queues.count
        if place == queues.count {
            queues.append(queue)
            looks.append(.passUnretained(queue))
        } else {
            queues[place] = queue
            looks[place] = .passUnretained(queue)
        }
        queue.engine.operations.seat = QueueSeat(on: board, place: place)
    }

    func remove(_ queue: IOQueue) {
        // Completions of this round have not been delivered yet, and nobody asks the queue any more.
        _ = queue.deliver()
        guard let place = queues.firstIndex(where: { $0 === queue }) else { return }
        queue.engine.operations.seat.leave()
        queue.engine.operations.seat = QueueSeat()
        queues[place] = nil
        looks[place] = nil
    }

    // MARK: Memory of control commands

    /// Gives a buffer back; those that wait for one look again, in order.
    func giveControlBuffer(_ buffer: ControlBuffer) {
        transport.giveControlBuffer(buffer)
        wakeControlWaiters()
    }

    func wakeControlWaiters() {
        for token in controlWaiters { token.cancel() }
        controlWaiters = []
    }

    /// Returns when a buffer has come back, or at `deadline`. On this group's executor.
    func waitForControlBuffer(before deadline: MonotonicTime) async {
        let token = SleepToken(self)
        controlWaiters.append(token)
        await sleep(until: deadline, token)
        controlWaiters.removeAll { $0 === token }
    }

    // MARK: Time

    /// Waits until `deadline`, or until `token` is cancelled. On this group's executor.
    public func sleep(until deadline: MonotonicTime, _ token: SleepToken? = nil) async {
        await withCheckedContinuation { timers.add(deadline, token, $0) }
    }

    public func sleep(milliseconds: UInt64) async { await sleep(until: now.advanced(byMilliseconds: milliseconds)) }

    private func expire(_ now: MonotonicTime) {
        // Resumes the tasks whose time has come, or whose sleep was cancelled.
        if hasCancelledTimer {
            hasCancelledTimer = false
            timers.wakeCancelled()
        }
        timers.wake(now)
        board.forEachDue(now) { place in
            looks[place]?._withUnsafeGuaranteedRef { queue in
                if queue.engine.expire(now: now), let connection = queue.connection {
                    connectionFailed(connection, "an operation was not answered in time")
                }
            }
        }
        if connections.hasOpenings { expireOpenings(now) }
    }
}
