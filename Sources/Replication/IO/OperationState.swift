/// The use of an operation's slot.
enum OperationKind: UInt8, BitwiseCopyable {
    case read, write, writeZeroes, flush
    /// A region copied from one member to others.
    case copy
    /// A region compared between members.
    case scrub

    @inline(__always) var isWrite: Bool { self == .write || self == .writeZeroes }
}

/// The states of an operation's life.
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
