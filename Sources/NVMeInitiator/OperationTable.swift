import Base
import NVMeSpec

/// The operations of one queue, in memory that is allocated once: those that wait, those under way, and completions that have
/// not been delivered.
struct OperationTable: ~Copyable {
    private var slots: SlotTable<OperationIndex, OperationSlot>
    /// Operations with commands to issue.
    private var pending = SlotList<OperationSlot>()
    /// Completions of this round: those for the sink from the beginning on, those that resume tasks from the end on, the last
    /// one first.
    private let completions: UnsafeMutablePointer<IOCompletion>
    /// Tells the group of what is pending and completed.
    var seat = QueueSeat()
    private var completedCount = 0
    private var awaitedCount = 0

    /// Places that only commands of the control plane may take: Connect goes out while operations wait for it.
    static let reserve = 8

    init(capacity: Int) {
        slots = SlotTable(capacity: capacity + OperationTable.reserve, initial: OperationSlot())
        completions = .allocate(capacity: slots.capacity)
    }

    deinit { completions.deallocate() }

    /// Places, the reserve with them.
    var capacity: Int { slots.capacity }

    /// Operations that are not free.
    @inline(__always) var inUse: Int { slots.capacity - slots.available }

    @inline(__always)
    subscript(index: OperationIndex) -> OperationSlot {
        _read { yield slots[index] }
        nonmutating _modify { yield &slots[index] }
    }

    /// Takes a place for an operation; for a command of the control plane one of the reserve, too.
    @inline(__always)
    mutating func take(forControl: Bool = false) -> OperationIndex? {
        guard slots.available > (forControl ? 0 : OperationTable.reserve) else { return nil }
        return slots.take()
    }

    /// All places that have ever been taken.
    var indices: SlotIndices<OperationIndex> { slots.usedIndices }

    // MARK: Waiting

    @inline(__always) var hasPending: Bool { !pending.isEmpty }

    /// The operation whose commands are issued next.
    @inline(__always) var firstPending: OperationIndex? { pending.first }

    /// Has an operation wait for its commands to be issued.
    @inline(__always)
    mutating func append(_ index: OperationIndex) {
        if slots[index].state != .pending { slots[index].state.move(to: .pending) }
        // The group knows of those that wait already: it forgets a queue only once nothing does.
        if pending.isEmpty { seat.hasPending() }
        pending.append(index, in: slots)
    }

    /// All commands of the first operation have been issued.
    @inline(__always)
    mutating func firstIsIssued() {
        if let index = pending.removeFirst(in: slots) { slots[index].state.move(to: .issued) }
    }

    /// Nothing waits any more; the states of what did are the caller's to change.
    mutating func forgetPending() { pending = SlotList() }

    /// Takes operations out of the list that have ended.
    mutating func dropEnded() {
        var rest = pending
        pending = SlotList()
        while let index = rest.removeFirst(in: slots) {
            if slots[index].state == .pending { pending.append(index, in: slots) }
        }
    }

    // MARK: Completions

    /// Ends an operation: its completion is delivered at the end of the round.
    @inline(__always)
    mutating func complete(_ index: OperationIndex, _ outcome: IOOutcome, _ failure: IOFailure = .none) {
        slots[index].state.move(to: .completed)
        let completion = IOCompletion(
            tag: slots[index].tag, outcome: outcome, failure: failure, status: slots[index].status,
            result: slots[index].result)
        // The first one alone is told to the group: it takes all of them.
        if slots[index].marks.contains(.isAwaited) {
            if awaitedCount == 0 { seat.hasCompleted() }
            awaitedCount += 1
            completions[slots.capacity - awaitedCount] = completion
        } else {
            if completedCount == 0 { seat.hasCompleted() }
            completions[completedCount] = completion
            completedCount += 1
        }
        slots[index].state.move(to: .free)
        slots.give(index)
    }

    /// Completions for the sink; taken with the call, they stay as they are until the next operation ends.
    @inline(__always)
    mutating func takeCompleted() -> UnsafeBufferPointer<IOCompletion> {
        defer { completedCount = 0 }
        return UnsafeBufferPointer(start: completions, count: completedCount)
    }

    /// Completions that resume tasks, in order; taken with the call.
    mutating func takeAwaited() -> [IOCompletion] {
        guard awaitedCount > 0 else { return [] }
        defer { awaitedCount = 0 }
        return (1...awaitedCount).map { completions[slots.capacity - $0] }
    }
}
