import Base
import BlockInterface

/// Which of the operations' slots.
struct OperationIndex: SlotIndex {
    let position: UInt32
    @inline(__always) init(position: UInt32) { self.position = position }
}

/// The slots of operations.
typealias OperationSlots = SlotTable<OperationIndex, Operation>

/// The outcome of an operation's commands, member by member.
struct OperationProgress: BitwiseCopyable {
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
    /// A member was busy: what it lacks is sent again.
    var wantsRetry = false
    /// Members that could not make it durable: what they had cached may be lost.
    var doubted: MemberSet = []
    /// How those that failed did so.
    var failureStatus = BlockStatus.success

    /// Nothing that has been done counts; all is sent anew.
    mutating func startAnew() { (done, failed, excused, retried, doubted) = ([], [], [], [], []) }

    /// A lost member's part counts no more; its commands stay pending until the driver has flushed its queue pair.
    mutating func forget(_ member: MemberIndex) {
        done.remove(member)
        excused.remove(member)
        failed.remove(member)
    }
}

/// When things happened to an operation, and are to happen.
struct OperationTimes: BitwiseCopyable {
    /// When it was last sent.
    var issuedAt = MonotonicTime(nanoseconds: 0)
    /// When it was first sent; `nil` where it has not been, or has waited since for what is not the members' fault.
    var firstIssuedAt: MonotonicTime?
    /// When a pause ends.
    var resumeAt = MonotonicTime(nanoseconds: 0)
}

/// An operation's place among those that overlap it.
struct OperationOrder: BitwiseCopyable {
    /// Order of arrival: of two that overlap, the lower goes first.
    var arrival: UInt64 = 0
    /// When it ceased to be blocked, in the same order; the greatest number before.
    var unblockedOrder: UInt64 = .max
    /// Operations that it waits for.
    var blockers: Int32 = 0
    /// Its range is in the overlap index.
    var isPlaced = false
}

/// A slot: one operation of the host or of the engine itself.
struct Operation: BitwiseCopyable {
    var kind = OperationKind.read
    private(set) var state = OperationState.free
    var forceUnitAccess = false
    /// A compare-and-write, in whichever of its halves.
    var isConditional = false
    /// A write that goes on only where the range holds the buffer's contents; false again once it does.
    var compares = false
    /// The engine's own; its end is not told to the host.
    var isInternal = false
    var hasCompletedHost = false
    var generation: UInt32 = 0
    var start: UInt64 = 0
    var count: UInt64 = 0
    var firstRegion: RegionIndex = 0
    var lastRegion: RegionIndex = 0
    /// Names the host's memory: what is read into, written or compared.
    var buffer: UInt64 = 0
    /// The same for what a compare-and-write writes.
    var replacement: UInt64 = 0
    var cookie: UInt64 = 0
    var progress = OperationProgress()
    var times = OperationTimes()
    var order = OperationOrder()
    /// The next in the list that it is in.
    var next = OperationIndex.none

    @inline(__always) var end: UInt64 { start + count }
    @inline(__always) var regions: ClosedRange<RegionIndex> { firstRegion...lastRegion }

    @inline(__always)
    mutating func become(_ next: OperationState) {
        invariant(state.mayBecome(next), "an operation's states follow each other as listed")
        state = next
    }
}

/// A first-in first-out list of slots, linked through `Operation.next`.
struct OperationList: BitwiseCopyable {
    private(set) var head = OperationIndex.none
    private var tail = OperationIndex.none

    var isEmpty: Bool { head.isNone }

    @inline(__always)
    mutating func append(_ index: OperationIndex, _ slots: borrowing OperationSlots) {
        slots[index].next = .none
        if isEmpty { head = index } else { slots[tail].next = index }
        tail = index
    }

    @inline(__always)
    mutating func popFirst(_ slots: borrowing OperationSlots) -> OperationIndex? {
        guard let index = head.ifAny else { return nil }
        head = slots[index].next
        slots[index].next = .none
        return index
    }

    /// The list's contents, leaving it empty.
    mutating func takeAll() -> OperationList {
        let all = self
        self = OperationList()
        return all
    }
}
