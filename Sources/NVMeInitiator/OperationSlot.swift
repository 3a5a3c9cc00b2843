import Base
import InitiatorTransport
import NVMeSpec

/// An operation's place in its queue.
struct OperationIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

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

/// Facts about an operation besides its state.
struct OperationMarks: OptionSet, BitwiseCopyable {
    let rawValue: UInt8
    /// A single command as the caller made it; `OperationSlot.kind` says nothing.
    static let isCommand = OperationMarks(rawValue: 1 << 0)
    /// Its completion resumes a task instead of going to the sink.
    static let isAwaited = OperationMarks(rawValue: 1 << 1)
    /// A command of it has been sent at some time, on this connection or an earlier one, and was not answered there.
    static let mayHaveEffect = OperationMarks(rawValue: 1 << 2)
    /// A command of it was answered with an error: no more are issued.
    static let hasFailed = OperationMarks(rawValue: 1 << 3)
    /// It is not done again: the namespace is no longer what it was made for.
    static let isAbandoned = OperationMarks(rawValue: 1 << 4)
    /// Its time is over: it fails once its connection is down.
    static let hasTimedOut = OperationMarks(rawValue: 1 << 5)
}

/// The blocks of an operation, and which of them no command has been issued for.
struct OperationRange: BitwiseCopyable {
    let startingLBA: UInt64
    /// Logical blocks; 1 for an operation of one command that has no range.
    let blockCount: UInt64
    var nextLBA: UInt64
    var blocksLeft: UInt64

    @inline(__always)
    init(startingLBA: UInt64 = 0, blockCount: UInt64 = 1) {
        self.startingLBA = startingLBA
        self.blockCount = blockCount
        nextLBA = startingLBA
        blocksLeft = blockCount
    }
}

/// The memory of an operation, and where the next command's data begins.
struct OperationMemory: BitwiseCopyable {
    /// The memory where it is one piece.
    var data: IOSegment?
    /// The memory where it is several pieces: a list of the caller's.
    var pieces: UnsafePointer<IOSegment>?
    var pieceCount: UInt32 = 0
    /// The piece in which the next command's data begins, and where in it.
    var piece: UInt32 = 0
    var offset = 0
}

/// An operation that a queue has accepted. Plain data.
struct OperationSlot: ListedSlot {
    var state = OperationState.free
    var kind = IOKind.read
    var flags: IOFlags = []
    var marks: OperationMarks = []
    var blockShift: UInt8 = 0
    /// How often it was done again after an error.
    var retries: UInt16 = 0
    var nsid: UInt32 = 0
    /// The namespace's optimal boundary in blocks; 0 for none.
    var boundary: UInt32 = 0
    /// Commands under way.
    var commands: UInt32 = 0
    var next = OperationIndex.none
    var tag: UInt64 = 0
    var deadline = MonotonicTime.distantFuture
    /// When it is done again, while it is delayed.
    var retryAt = MonotonicTime.distantFuture
    var range = OperationRange()
    var memory = OperationMemory()
    /// The data that a Compare and Write writes.
    var second: IOSegment?
    /// The worst answer so far, and dwords 0 and 1 of the last one.
    var status = Status.success
    var result: UInt64 = 0

    /// Nothing left to issue.
    @inline(__always) var isIssued: Bool { range.blocksLeft == 0 }

    /// Both halves of a Compare and Write leave together.
    @inline(__always) var isFused: Bool { kind == .compareAndWrite && !marks.contains(.isCommand) }

    /// Forgets what the operation before has left, but for the fields that each operation brings itself. Field by field: a whole
    /// slot that is copied here costs more than all of them.
    @inline(__always)
    mutating func forget() {
        marks = []
        retries = 0
        commands = 0
        deadline = .distantFuture
        retryAt = .distantFuture
        memory.piece = 0
        memory.offset = 0
        status = .success
        result = 0
    }

    /// Goes back to the beginning, to be done again.
    mutating func rewind() {
        range = OperationRange(startingLBA: range.startingLBA, blockCount: range.blockCount)
        memory.piece = 0
        memory.offset = 0
        status = .success
        marks.remove(.hasFailed)
    }

    /// A command was answered with an error.
    mutating func failed(_ status: Status) {
        // The half of a fused operation that was aborted says less than the half that failed.
        if self.status.isSuccess || self.status.matches(.abortedFailedFused) { self.status = status }
        marks.insert(.hasFailed)
    }
}
