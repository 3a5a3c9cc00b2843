/// An operation of a member.
public enum MemberOperation: UInt8, Sendable, BitwiseCopyable {
    case read
    case write
    /// NVMe Write Zeroes; the range may be deallocated where it then reads as zeroes.
    case writeZeroes
    case flush
    /// NVMe Compare: ends in `miscompare` where the range does not hold the buffer's contents.
    case compare
}

/// The owner of the memory that a member's I/O uses.
public enum BufferOwner: UInt8, Sendable, BitwiseCopyable {
    case none
    /// The host's: `value` is `HostRequest.buffer`.
    case host
    /// The engine's arena: `value` is the offset in bytes.
    case arena
}

/// One command for one member. The driver sends it on the member's present association, and answers with exactly one
/// `MemberCompletion`, once the memory can no longer be reached through the queue pair: of a broken connection that is
/// after the queue pair is in error and flushed (invariant 6).
public struct MemberRequest: Sendable, BitwiseCopyable {
    /// Returned with the completion.
    public var tag: UInt64
    public var member: MemberIndex
    public var operation: MemberOperation
    public var forceUnitAccess: Bool
    public var bufferOwner: BufferOwner
    public var bufferValue: UInt64
    /// First logical block on the member's namespace.
    public var start: UInt64
    /// Logical blocks.
    public var count: UInt64
}

/// How a member's command ended.
public enum MemberStatus: UInt8, Sendable, BitwiseCopyable {
    case success
    /// The member could not read or write the blocks (NVMe status code type 2h, or Internal Error).
    case mediaError
    /// Reservation Conflict: another initiator has taken the volume over.
    case reservationConflict
    /// Surely not done, and may be sent again on the same association.
    case notDone
    /// May be done, or may still be: the connection was lost or given up.
    case unknown
    /// A path-related status (NVMe status code type 3h): the command was not done; it may succeed later.
    case pathError
    /// Capacity Exceeded, or a thin namespace's pool is full.
    case noSpace
    /// Command Interrupted or Namespace Not Ready with "do not retry" clear: try again later.
    case busy
    /// Compare Failure.
    case miscompare
}

/// The end of one command of a member.
public struct MemberCompletion: Sendable, BitwiseCopyable {
    public var tag: UInt64
    public var status: MemberStatus

    public init(tag: UInt64, status: MemberStatus) {
        self.tag = tag
        self.status = status
    }
}
