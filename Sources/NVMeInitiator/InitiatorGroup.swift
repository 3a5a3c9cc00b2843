import Base
import FabricInterface
import NVMeSpec
import Reactor

/// Sizes of an initiator group.
public struct InitiatorGroupOptions: Sendable {
    /// Entries of the completion queue on each device: two for each command of all queues.
    public var completionEntries: Int

    public init(completionEntries: Int = 8192) { self.completionEntries = completionEntries }
}

/// What one reactor has as initiator: its connections, its device groups, its queues. It owns the reactor's `Fabric`.
///
/// Everything is driven by `poll`: on a reactor's thread, on a caller's own, or in a simulation's virtual time. Tasks of
/// the control plane run there too.
public final class InitiatorGroup: Poller, @unchecked Sendable {
    let fabric: Fabric
    let options: InitiatorGroupOptions
    let mailbox: Mailbox
    let executor: GroupExecutor
    var devices: [DeviceGroup] = []
    var buffers: [ControlBuffers] = []
    private(set) var queues: [IOQueue] = []
    /// The queues' tables, for each round: counting references would cost more than the look.
    private var tables: [UnsafeMutablePointer<OperationTable>] = []
    var openings: [ConnectionHandle: Opening] = [:]
    var places: [ConnectionHandle: QueuePairReference] = [:]
    var failureHandlers: [QueuePairReference: (String) -> Void] = [:]
    var closings: [Closing] = []
    private var timers: [Timer] = []
    /// The first of their deadlines; and whether one of them has been cancelled since they were looked at.
    private var earliestTimer = MonotonicTime.distantFuture
    fileprivate var hasCancelledTimer = false
    private var nextEvents = MonotonicTime(nanoseconds: 0)
    private var generation: UInt64 = 0
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

    /// The connection manager is asked this often while there is work: it costs a system call.
    private static let eventPeriodNanoseconds: UInt64 = 200_000

    /// - Parameters:
    ///   - fabric: this reactor's own.
    ///   - mailbox: drained by `poll`; other threads write to it.
    public init(fabric: Fabric, mailbox: Mailbox = Mailbox(), options: InitiatorGroupOptions = .init()) {
        self.fabric = fabric
        self.mailbox = mailbox
        self.options = options
        executor = GroupExecutor(mailbox: mailbox)
    }

    public override func poll(now: MonotonicTime) -> Int {
        // While the time stands still, and nothing has arrived since the last round looked, nothing is due and nothing has
        // completed: most rounds are such.
        let mayBeDue = now != lookedAt || hadWork
        self.now = now
        var work = mailbox.drain()
        if now >= nextEvents || !openings.isEmpty || !closings.isEmpty {
            nextEvents = now.advanced(byNanoseconds: Self.eventPeriodNanoseconds)
            while let event = fabric.nextEvent() {
                handle(event)
                work += 1
            }
        }
        for device in devices { work += device.poll(now: now) }
        if mayBeDue || work > 0 || !closings.isEmpty {
            lookedAt = now
            expire(now)
            if !closings.isEmpty { finishClosings(now) }
            work += deliver()
        }
        work += continueTasks()
        if issuePending() {
            // Operations that failed while being issued; seldom.
            work += deliver()
        }
        for device in devices { device.flush() }
        hadWork = work > 0
        return work
    }

    /// Has what was submitted since this round's poll leave now: for a poller behind the group, whose commands would wait
    /// for the next round otherwise.
    public func sendSubmitted() {
        guard issuePending() else { return }
        for device in devices { device.flush() }
        hadWork = true
    }

    /// Delivers the completions of this round; returns how many.
    @inline(__always)
    private func deliver() -> Int {
        var ended = 0
        for queue in queues { ended += queue.deliver() }
        return ended
    }

    /// Issues what queues hold; false where they hold nothing.
    private func issuePending() -> Bool {
        var isAny = false
        for place in 0..<tables.count where !tables[place].pointee.pending.isEmpty {
            isAny = true
            if let reference = queues[place].reference { devices[reference.device].issue(reference.slot) }
        }
        return isAny
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
    package var isIdle: Bool { queues.isEmpty && openings.isEmpty && closings.isEmpty && timers.isEmpty }

    /// Whether `poll` has letters to open.
    package var hasLetters: Bool { !mailbox.isEmpty }

    /// Tells the time between polls: who submits after a long pause without polling calls this first, so that deadlines
    /// count from now.
    public func advance(to now: MonotonicTime) { self.now = max(self.now, now) }

    public override var nextDeadline: MonotonicTime {
        var deadline = earliestTimer
        if !openings.isEmpty { for opening in openings.values { deadline = min(deadline, opening.deadline) } }
        for closing in closings { deadline = min(deadline, closing.deadline) }
        for queue in queues { deadline = min(deadline, queue.table.pointee.earliestDeadline) }
        return deadline
    }

    /// Asks for connection events in the next round: for one who polls without ever sleeping.
    package func expectEvents() { nextEvents = MonotonicTime(nanoseconds: 0) }

    public override func prepareToSleep() {
        expectEvents()
        for device in devices { device.context.armNotification() }
    }

    public override func wokeUp() {
        mailbox.acknowledge()
        expectEvents()
        for device in devices { device.context.acknowledgeNotification() }
    }

    public override var descriptorGeneration: UInt64 { generation }

    public override var descriptors: [Int32] {
        [fabric.eventDescriptor, mailbox.descriptor] + devices.map { $0.context.notificationDescriptor }
    }

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

    /// Ends what is left and frees the fabric. The group must not be polled again; close its controllers before.
    public func close() {
        for connection in places.keys.sorted(by: { $0.value < $1.value }) { fabric.destroy(connection) }
        for timer in timers { timer.continuation.resume() }
        timers = []
        fabric.close()
    }

    /// Runs `body` on this group's executor, in its poll rounds, and returns what it returned.
    public func onExecutor<Result: Sendable>(_ body: @Sendable () async -> Result) async -> Result {
        await withTaskExecutorPreference(executor, operation: body)
    }

    // MARK: Queues and devices

    func add(_ queue: IOQueue) {
        queues.append(queue)
        tables.append(queue.table)
    }

    func remove(_ queue: IOQueue) {
        // What has ended in this round has not been delivered yet, and nobody asks the queue any more.
        _ = queue.deliver()
        queues.removeAll { $0 === queue }
        tables = queues.map(\.table)
    }

    func deviceGroup(of context: FabricContext) throws(InitiatorError) -> DeviceGroup {
        if let device = devices.first(where: { $0.context === context }) { return device }
        let device = DeviceGroup(
            index: devices.count, context: context, completionEntries: options.completionEntries, owner: self)
        buffers.append(try ControlBuffers(context: context))
        devices.append(device)
        generation += 1
        return device
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
        for queue in queues where queue.expire(now: now) {
            if let reference = queue.reference {
                devices[reference.device].fail(reference.slot, "an operation was not answered in time")
            }
        }
        guard !openings.isEmpty else { return }
        // In an order that does not depend on hashing: a simulation repeats it.
        let late = openings.filter { $0.value.deadline <= now }.sorted { $0.key.value < $1.key.value }
        for (connection, opening) in late {
            abandon(connection, .timeout("connection to \(opening.request.address)"))
        }
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
