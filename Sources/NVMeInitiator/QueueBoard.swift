import Base

/// The news of a group's queues, side by side: a round looks here, and at those queues alone that have something for it. So a thousand
/// queues that are idle cost a round what one does. Belongs to the group's thread.
final class QueueBoard {
    /// A bit for each queue with completions to deliver, and for each with operations to issue.
    fileprivate private(set) var completed: UnsafeMutablePointer<UInt64>
    fileprivate private(set) var pending: UnsafeMutablePointer<UInt64>
    /// Of each queue, the earliest time at which something is due.
    fileprivate private(set) var deadlines: UnsafeMutablePointer<MonotonicTime>
    /// No queue has anything due before this.
    private(set) var earliestDeadline = MonotonicTime.distantFuture
    private var words = 1

    init() {
        completed = .allocate(capacity: 1)
        completed.initialize(to: 0)
        pending = .allocate(capacity: 1)
        pending.initialize(to: 0)
        deadlines = .allocate(capacity: 64)
        deadlines.initialize(repeating: .distantFuture, count: 64)
    }

    deinit {
        completed.deallocate()
        pending.deallocate()
        deadlines.deallocate()
    }

    /// Makes room for a queue of that number.
    func makeRoom(for place: Int) {
        guard place >> 6 >= words else { return }
        let grown = 2 * words
        completed = Self.grow(completed, words, grown, 0)
        pending = Self.grow(pending, words, grown, 0)
        deadlines = Self.grow(deadlines, words * 64, grown * 64, .distantFuture)
        words = grown
    }

    private static func grow<Value>(
        _ old: UnsafeMutablePointer<Value>, _ count: Int, _ capacity: Int, _ empty: Value
    ) -> UnsafeMutablePointer<Value> {
        let new = UnsafeMutablePointer<Value>.allocate(capacity: capacity)
        new.moveInitialize(from: old, count: count)
        (new + count).initialize(repeating: empty, count: capacity - count)
        old.deallocate()
        return new
    }

    /// Tells the queues with completions, each once; they are taken with the call.
    @inline(__always)
    func takeCompleted(_ body: (Int) -> Void) {
        for word in 0..<words {
            while completed[word] != 0 {
                let bit = completed[word].trailingZeroBitCount
                completed[word] &= completed[word] &- 1
                body(word << 6 | bit)
            }
        }
    }

    /// Tells the queues with operations to issue; `body` says whether one still has some.
    @inline(__always)
    func forEachPending(_ body: (Int) -> Bool) {
        for word in 0..<words {
            var left = pending[word]
            while left != 0 {
                let bit = left.trailingZeroBitCount
                left &= left &- 1
                if !body(word << 6 | bit) { pending[word] &= ~(1 << UInt64(bit)) }
            }
        }
    }

    /// Tells the queues with something due; what is due later is told by `QueueSeat` anew.
    func forEachDue(_ now: MonotonicTime, _ body: (Int) -> Void) {
        guard earliestDeadline <= now else { return }
        for place in 0..<words * 64 where deadlines[place] <= now { body(place) }
        earliestDeadline = .distantFuture
        for place in 0..<words * 64 { earliestDeadline = min(earliestDeadline, deadlines[place]) }
    }

    @inline(__always)
    fileprivate func note(_ deadline: MonotonicTime, of place: Int) {
        deadlines[place] = deadline
        earliestDeadline = min(earliestDeadline, deadline)
    }

    /// Forgets all of a queue.
    fileprivate func clear(_ place: Int) {
        completed[place >> 6] &= ~(1 << UInt64(place & 63))
        pending[place >> 6] &= ~(1 << UInt64(place & 63))
        deadlines[place] = .distantFuture
    }
}

/// A queue's place on the board of its group; without one, what it tells is told to nobody.
struct QueueSeat {
    private unowned(unsafe) let board: QueueBoard?
    let place: Int

    /// No place.
    init() {
        board = nil
        place = 0
    }

    /// A place on a board that outlives its use.
    init(on board: QueueBoard, place: Int) {
        board.makeRoom(for: place)
        self.board = board
        self.place = place
    }

    /// The queue has completions to deliver.
    @inline(__always)
    func hasCompleted() { board?.completed[place >> 6] |= 1 << UInt64(truncatingIfNeeded: place & 63) }

    /// The queue has operations to issue.
    @inline(__always)
    func hasPending() { board?.pending[place >> 6] |= 1 << UInt64(truncatingIfNeeded: place & 63) }

    /// When something of the queue is due next.
    @inline(__always)
    func isDue(at deadline: MonotonicTime) { board?.note(deadline, of: place) }

    /// The queue leaves.
    func leave() { board?.clear(place) }
}
