/// An operation of the volume's user.
public enum HostOperation: UInt8, Sendable, BitwiseCopyable {
    case read
    case write
    /// The range reads as zeroes afterwards; no buffer.
    case writeZeroes
    /// The range's contents are no longer needed; no buffer. The volume zeroes it on all members, so that they stay equal.
    case deallocate
    /// All writes completed before are made durable on every member in sync; no range, no buffer.
    case flush
    /// Writes `replacement` if the range holds what is in the buffer; else nothing is written, and the end is `miscompare`.
    /// Nobody writes in between.
    case compareAndWrite
    /// Ends in `miscompare` where the range does not hold what is in the buffer.
    case compare
}

/// One I/O of the volume's user.
public struct HostRequest: Sendable, BitwiseCopyable {
    public var operation: HostOperation
    /// A write is durable on every member in sync before it completes.
    public var forceUnitAccess: Bool
    /// First logical block.
    public var start: UInt64
    /// Logical blocks; at most `VolumeEngine.maximumTransferBlocks`.
    public var count: UInt64
    /// Names the caller's memory to the driver; the engine only passes it on. It stays the engine's until the completion,
    /// and a write's contents do not change meanwhile. A greater number by n names the memory n bytes further.
    public var buffer: UInt64
    /// Names what a compare-and-write writes, as `buffer`; 0 for what follows the range's length in the buffer. (SCSI's
    /// COMPARE AND WRITE lays out its data so, SBC-3.)
    public var replacement: UInt64
    /// Returned with the completion.
    public var cookie: UInt64

    public init(
        _ operation: HostOperation, start: UInt64 = 0, count: UInt64 = 0, buffer: UInt64 = 0,
        replacement: UInt64 = 0, cookie: UInt64, forceUnitAccess: Bool = false
    ) {
        self.operation = operation
        self.forceUnitAccess = forceUnitAccess
        self.start = start
        self.count = count
        self.buffer = buffer
        self.replacement = replacement
        self.cookie = cookie
    }
}

/// How a host's I/O ended.
public enum HostStatus: UInt8, Sendable, BitwiseCopyable {
    case success
    /// No member that holds the data can read it, or none could write it.
    case mediaError
    /// No member has room left.
    case noSpace
    /// The range is not within the volume, or longer than `maximumTransferBlocks`.
    case outOfRange
    /// Another initiator has taken the volume over. A write may or may not be there.
    case deposed
    /// Too few members can be reached, and the volume is set to fail then. A write may or may not be there.
    case suspended
    /// The volume is not attached, or is being detached.
    case detached
    /// A compare-and-write found something else, and wrote nothing.
    case miscompare
}

/// The end of one I/O: its buffer is the caller's again, and no member will touch it.
public struct HostCompletion: Sendable, BitwiseCopyable {
    public var cookie: UInt64
    public var status: HostStatus

    public init(cookie: UInt64, status: HostStatus) {
        self.cookie = cookie
        self.status = status
    }
}
