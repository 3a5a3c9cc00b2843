import Base

/// What an operation's slot is used for.
enum OperationKind: UInt8, BitwiseCopyable {
    case read, write, writeZeroes, flush
    /// A region copied from one member to others.
    case copy
    /// A region compared between members.
    case scrub

    @inline(__always) var isWrite: Bool { self == .write || self == .writeZeroes }
}

/// Where an operation is in its life.
enum OperationState: UInt8, BitwiseCopyable {
    case free
    /// Waits for an earlier operation that overlaps it.
    case blocked
    /// Waits for the volume to be served.
    case held
    /// Waits for bits that must be durable before it is sent.
    case awaitingIntent
    /// A read that waits for its region to be the same on all members in sync.
    case awaitingReconcile
    /// Waits a little before it is sent again.
    case backingOff
    /// Sent to at least one member.
    case issued
    /// Done by the members; waits for what must be durable before it is acknowledged.
    case awaitingRecord

    /// The one list of what may follow what.
    func mayBecome(_ next: OperationState) -> Bool {
        switch (self, next) {
        case (.free, .blocked), (.free, .held), (.free, .issued), (.free, .awaitingIntent), (.free, .awaitingReconcile),
            (.free, .backingOff):
            true
        case (.blocked, .held), (.blocked, .issued), (.blocked, .awaitingIntent), (.blocked, .awaitingReconcile),
            (.blocked, .backingOff):
            true
        case (.held, .issued), (.held, .awaitingIntent), (.held, .awaitingReconcile), (.held, .backingOff),
            (.held, .blocked):
            true
        case (.awaitingIntent, .issued), (.awaitingIntent, .held): true
        case (.awaitingReconcile, .issued), (.awaitingReconcile, .held), (.awaitingReconcile, .backingOff),
            (.awaitingReconcile, .blocked):
            true
        case (.backingOff, .issued), (.backingOff, .held), (.backingOff, .awaitingRecord),
            (.backingOff, .awaitingReconcile):
            true
        case (.issued, .awaitingRecord), (.issued, .backingOff), (.issued, .held), (.issued, .awaitingReconcile),
            (.issued, .awaitingIntent):
            true
        case (.awaitingRecord, .issued), (.awaitingRecord, .held), (.awaitingRecord, .backingOff): true
        case (_, .free): true
        default: false
        }
    }
}

/// A slot: one operation of the host or of the engine itself.
struct Operation: BitwiseCopyable {
    var kind = OperationKind.read
    var state = OperationState.free
    var forceUnitAccess = false
    /// A write that goes on only where the range holds the buffer's first half; false again once it does.
    var compares = false
    /// The engine's own; its end is not told to the host.
    var isInternal = false
    var generation: UInt32 = 0
    var start: UInt64 = 0
    var count: UInt64 = 0
    var firstRegion = 0
    var lastRegion = 0
    var buffer: UInt64 = 0
    var cookie: UInt64 = 0
    /// Order of arrival: of two that overlap, the lower goes first.
    var arrival: UInt64 = 0
    /// When it ceased to be blocked, in the same order; the greatest number before.
    var unblockedOrder: UInt64 = .max
    /// Operations that it waits for.
    var blockers: Int32 = 0
    /// The next in the list that it is in, or -1.
    var next: Int32 = -1
    /// Commands that have not completed.
    var pending: MemberSet = []
    /// Members that have done it, on associations that still stand.
    var done: MemberSet = []
    /// Members that failed it.
    var failed: MemberSet = []
    /// Members that need not do it because the region's bit says so.
    var excused: MemberSet = []
    /// Members that a failing command was repeated on.
    var retried: MemberSet = []
    var wantsRetry = false
    var failureStatus = HostStatus.success
    var hasCompletedHost = false
    /// Its range is in the overlap index.
    var isPlaced = false
    /// When it was last sent, and first.
    var issuedAt = MonotonicTime(nanoseconds: 0)
    var firstIssuedAt = MonotonicTime(nanoseconds: 0)
    /// When a pause ends.
    var resumeAt = MonotonicTime(nanoseconds: 0)
    /// Index of the copy or scrub that this is.
    var copyIndex = 0

    /// It is a compare-and-write, in whichever of its halves.
    var isConditional: Bool { compares || writtenOffset > 0 }
    /// What is written, within the buffer.
    var writtenOffset: UInt64 = 0
    @inline(__always) var writtenBuffer: UInt64 { buffer &+ writtenOffset }

    @inline(__always) var regions: ClosedRange<Int> { firstRegion...lastRegion }
}

/// A first-in first-out list of slots, linked through `Operation.next`.
struct OperationList: BitwiseCopyable {
    var head: Int32 = -1
    var tail: Int32 = -1

    var isEmpty: Bool { head < 0 }

    @inline(__always)
    mutating func append(_ index: Int32, _ slots: UnsafeMutablePointer<Operation>) {
        slots[Int(index)].next = -1
        if tail >= 0 { slots[Int(tail)].next = index } else { head = index }
        tail = index
    }

    @inline(__always)
    mutating func popFirst(_ slots: UnsafeMutablePointer<Operation>) -> Int32? {
        guard head >= 0 else { return nil }
        let index = head
        head = slots[Int(index)].next
        if head < 0 { tail = -1 }
        slots[Int(index)].next = -1
        return index
    }

    /// The list's contents, leaving it empty.
    mutating func takeAll() -> OperationList {
        let all = self
        self = OperationList()
        return all
    }
}
