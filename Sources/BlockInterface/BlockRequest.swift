/// An operation of a block device.
public enum BlockOperation: UInt8, Sendable, BitwiseCopyable {
    /// Media to `buffer`.
    case read
    /// `buffer` to media.
    case write
    /// Everything completed before is made durable. `offset`, `length` and `buffer` are not used.
    case flush
    /// The range reads as zeroes afterwards. No buffer.
    case writeZeroes
    /// The range's contents are no longer needed. No buffer. Advisory: a device may do nothing.
    case deallocate
    /// Compares the media with `buffer`; ends in `compareFailure` if they differ.
    case compare
    /// Compares the media with `buffer`, and if they are equal writes `replacement`; ends in `compareFailure`, with
    /// nothing written, if they differ. Nothing else changes the range in between. No more than
    /// `BlockGeometry.atomicWriteSize`.
    case compareAndWrite
    /// Reads the media, checks that it can be read, and returns nothing. No buffer.
    case verify
}

/// How a block operation is to be done.
public struct BlockFlags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// A write is on stable media before it completes (NVMe "Force Unit Access").
    @inlinable public static var forceUnitAccess: BlockFlags { BlockFlags(rawValue: 1 << 0) }
    /// Write Zeroes may deallocate the range (NVMe "DEAC").
    @inlinable public static var mayDeallocate: BlockFlags { BlockFlags(rawValue: 1 << 1) }
}

/// One operation for a `BlockChannel`. The caller has checked that the range lies within the device and is aligned to
/// its block size; a channel checks again and answers `outOfRange`.
/// A length of 0 succeeds and does nothing.
public struct BlockRequest: Sendable, BitwiseCopyable {
    /// Returned with the completion; never interpreted by the channel. Unique among the channel's running requests.
    public var tag: UInt64
    /// First byte on the device.
    public var offset: UInt64
    /// Length of the range in bytes.
    public var length: UInt64
    /// Memory of `length` bytes for what reads, writes or compares, aligned to `BlockGeometry.memoryAlignment`. It belongs to
    /// the channel until the completion.
    public nonisolated(unsafe) var buffer: UnsafeMutableRawPointer?
    /// Memory of `length` bytes, as `buffer`: what `compareAndWrite` writes.
    public nonisolated(unsafe) var replacement: UnsafeMutableRawPointer?
    public var operation: BlockOperation
    public var flags: BlockFlags

    @inlinable public init(
        tag: UInt64, operation: BlockOperation, flags: BlockFlags = [], offset: UInt64 = 0, length: UInt64 = 0,
        buffer: UnsafeMutableRawPointer? = nil, replacement: UnsafeMutableRawPointer? = nil
    ) {
        self.tag = tag
        self.offset = offset
        self.length = length
        self.buffer = buffer
        self.replacement = replacement
        self.operation = operation
        self.flags = flags
    }
}

/// How a block operation ended.
public enum BlockStatus: UInt8, Sendable, BitwiseCopyable {
    case success
    /// The range is not within the device, or not aligned to its blocks.
    case outOfRange
    /// The media could not be read.
    case unrecoveredReadError
    /// The media could not be written.
    case writeFault
    /// A thinly provisioned device has no room left.
    case capacityExceeded
    /// `compare` or `compareAndWrite` found a difference.
    case compareFailure
    /// The device does not do this operation.
    case unsupported
    /// The device is open for reading only.
    case writeProtected
    /// The device is gone: removed, or its file deleted or truncated.
    case deviceGone
    /// The device cannot be reached now, and may be again: the operation can be repeated. Of one that changes the device
    /// nothing is known.
    case unavailable
    /// Another host has taken the device over. It is of no more use here; an operation under way may be done or not.
    case fenced
    /// Withdrawn by `BlockChannel.cancel` before it started.
    case aborted
    /// Anything else that the device or the system reported.
    case internalError
}

/// The end of one operation.
public struct BlockCompletion: Sendable, BitwiseCopyable {
    /// The tag of the request.
    public var tag: UInt64
    public var status: BlockStatus

    @inlinable public init(tag: UInt64, status: BlockStatus) {
        self.tag = tag
        self.status = status
    }
}

extension BlockStatus {
    /// How the operation ended, for people.
    public var explanation: String {
        switch self {
        case .success: "success"
        case .outOfRange: "beyond the end, or not in whole blocks"
        case .unrecoveredReadError: "the medium cannot be read"
        case .writeFault: "the medium cannot be written"
        case .capacityExceeded: "no room is left"
        case .compareFailure: "the contents differ"
        case .unsupported: "the device does not do this"
        case .writeProtected: "the device is read-only"
        case .deviceGone: "the device is gone"
        case .unavailable: "the device cannot be reached now"
        case .fenced: "another host has taken the device over"
        case .aborted: "withdrawn"
        case .internalError: "the device failed"
        }
    }
}
