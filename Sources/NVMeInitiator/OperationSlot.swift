import Base
import NVMeSpec

/// The life of an operation.
enum OperationState: UInt8, BitwiseCopyable {
    case free
    /// In the queue's list: not all of its commands have been issued.
    case pending
    /// All its commands are under way.
    case issued
    /// Answered with an error, and to be done again when its time has come.
    case delayed
    /// Ended; its completion waits to be delivered at the end of the round.
    case completed

    /// Accepted, and not ended.
    @inline(__always) var isUnderWay: Bool { self == .pending || self == .issued || self == .delayed }

    /// The one place where an operation changes its state.
    @inline(__always)
    mutating func move(to next: OperationState) {
        switch (self, next) {
        case (.free, .pending), (.pending, .issued), (.pending, .completed), (.issued, .completed), (.completed, .free),
            (.issued, .pending), (.issued, .delayed), (.delayed, .pending), (.delayed, .completed):
            self = next
        default: invariantViolated("an operation makes only the listed transitions")
        }
    }
}

/// An operation that a queue has accepted. Plain data.
struct OperationSlot: BitwiseCopyable {
    var state = OperationState.free
    var kind = IOKind.read
    /// A single command as the caller made it; `kind` says nothing.
    var isCommand = false
    /// Its completion resumes a task instead of going to the sink.
    var isAwaited = false
    /// A command of it has been posted at some time, on this connection or an earlier one, and was not answered there.
    var mayHaveEffect = false
    /// A command of it was answered with an error: no more are issued.
    var hasFailed = false
    /// It is not done again: the namespace is no longer what it was made for.
    var isAbandoned = false
    /// Its time is over: it fails once its connection is down.
    var hasTimedOut = false
    /// How often it was done again after an error.
    var retries: UInt16 = 0
    /// When it is done again, while it is delayed.
    var retryAt = MonotonicTime.distantFuture
    /// Commands under way.
    var commands: UInt32 = 0
    var next = noSlot
    var tag: UInt64 = 0
    var deadline = MonotonicTime.distantFuture
    /// The command, but for identifier, range and data pointer.
    var template = SubmissionEntry()
    var blockShift: UInt8 = 0
    /// The namespace's optimal boundary in blocks; 0 for none.
    var boundary: UInt32 = 0
    /// The range as asked for, for the case that it is repeated.
    var startingLBA: UInt64 = 0
    var blockCount: UInt64 = 0
    /// What has not been issued.
    var nextLBA: UInt64 = 0
    var blocksLeft: UInt64 = 0
    /// The memory: a list of the caller's, or `data` alone.
    var segments: UnsafePointer<IOSegment>? = nil
    var segmentCount: UInt32 = 0
    /// Where the next command's data begins.
    var segment: UInt32 = 0
    var segmentOffset = 0
    var data: IOSegment? = nil
    var second: IOSegment? = nil
    var status = Status.success
    var result: UInt64 = 0

    /// Nothing left to issue.
    @inline(__always) var isIssued: Bool { blocksLeft == 0 }

    /// Goes back to the beginning, for a new connection.
    mutating func rewind() {
        nextLBA = startingLBA
        blocksLeft = blockCount
        segment = 0
        segmentOffset = 0
        status = .success
        hasFailed = false
    }
}

/// A first-in, first-out list of operations, linked through their slots.
struct OperationList: BitwiseCopyable {
    private(set) var head = noSlot
    private var tail = noSlot

    @inline(__always) var isEmpty: Bool { head == noSlot }

    @inline(__always)
    mutating func append(_ index: UInt32, _ slots: UnsafeMutablePointer<OperationSlot>) {
        slots[Int(index)].next = noSlot
        if tail == noSlot { head = index } else { slots[Int(tail)].next = index }
        tail = index
    }

    @inline(__always)
    @discardableResult
    mutating func removeFirst(_ slots: UnsafeMutablePointer<OperationSlot>) -> UInt32? {
        guard head != noSlot else { return nil }
        let first = head
        head = slots[Int(first)].next
        if head == noSlot { tail = noSlot }
        slots[Int(first)].next = noSlot
        return first
    }

    /// Empties the list without touching the slots.
    mutating func removeAll() {
        head = noSlot
        tail = noSlot
    }
}
