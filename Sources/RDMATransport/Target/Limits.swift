/// Numbers of the target's side that are not worth a knob.
enum Limits {
    /// Completions taken in one poll.
    static let completionBatch = 64
    /// Work requests collected before they are posted.
    static let workBatch = 1024
    /// How long a closed queue pair is kept for completions of the shared receive queue that name it, in milliseconds.
    static let closingGraceMilliseconds: UInt64 = 20
    /// How long a closed queue pair is given to complete its posted work as flushed, in milliseconds; then it is destroyed
    /// with what it has.
    static let flushMilliseconds: UInt64 = 5_000
    /// How long an accepted connection may take to be established, in milliseconds.
    static let establishMilliseconds: UInt64 = 30_000
    /// How long posted work of a queue pair may stand still before the host is given up, in milliseconds. A host that
    /// takes no answers holds requests that others need.
    static let stalledMilliseconds: UInt64 = 10_000
    /// Registrations that may be given up for others between two looks; where there are more, copying costs less.
    static let lendingEvictions: UInt64 = 16
    /// Connection requests that a listener keeps.
    static let backlog = 128
}
