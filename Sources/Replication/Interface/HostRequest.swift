import BlockInterface

/// One I/O of the volume's user. `deallocate` zeroes its range on all members, so that they stay equal; `flush` makes all that
/// completed before durable on every member in sync; `verify` reads into its buffer.
public struct HostRequest: Sendable, BitwiseCopyable {
    public var operation: BlockOperation
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
        _ operation: BlockOperation, start: UInt64 = 0, count: UInt64 = 0, buffer: UInt64 = 0,
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

/// The end of one I/O: its buffer is the caller's again, and no member will touch it.
///
/// `unrecoveredReadError` and `writeFault` say that no member that holds the data can read it, or none could write it;
/// `capacityExceeded` that none has room left; `outOfRange` also that it was longer than `maximumTransferBlocks`; `fenced` that another
/// initiator has taken the volume over; `unavailable` that too few members can be reached, and the volume is set to fail then;
/// `deviceGone` that it is not attached, or is being detached.
public struct HostCompletion: Sendable, BitwiseCopyable {
    public var cookie: UInt64
    public var status: BlockStatus

    public init(cookie: UInt64, status: BlockStatus) {
        self.cookie = cookie
        self.status = status
    }
}
