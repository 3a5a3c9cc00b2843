import Base

/// Copies of bitmap pages that are on their way to members: a page's contents must not change under the device that
/// reads it.
struct StagingPages: ~Copyable {
    struct Slot: BitwiseCopyable {
        var page = -1
        var pending: MemberSet = []
        /// A member has to be sent the page once more.
        var isIncomplete = false
        var issuedAt = MonotonicTime(nanoseconds: 0)
    }

    var pool = SlotPool(capacity: ArenaLayout.stagingPages, initial: Slot())
    var pageSequence: UInt64 = 0
}
