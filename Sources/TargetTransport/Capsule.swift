import Base
import NVMeSpec

/// How a command's data moves, as its transport read it from the command's data pointer (NVMe Base, "SGL"). The engine looks
/// at the place and the length, and hands the shape back where data is to be moved.
public struct DataShape: BitwiseCopyable, Sendable {
    /// The side that has the data, or is to get it.
    public enum Place: UInt8, BitwiseCopyable, Sendable {
        /// The command describes no data.
        case none
        /// The host's memory: the transport fetches from there, or sends there.
        case host
        /// The capsule brought it along.
        case capsule
        /// The description is not one that the transport takes: `status` is the answer.
        case invalid
    }

    public var place = Place.none
    /// Pieces that the host's memory is described in.
    public var pieceCount: UInt8 = 0
    /// The answer to a command that needs the data, if the place is `invalid`.
    public var status = Status.success
    /// Length of the data, in bytes.
    public var byteCount: UInt32 = 0
    /// Bytes from the start of the capsule to the data, or to a list of its pieces.
    public var offset: UInt32 = 0
    /// The transport's own.
    public var token: (UInt64, UInt64) = (0, 0)

    @inlinable public init() {}

    @inlinable
    public init(invalid status: Status) {
        place = .invalid
        self.status = status
    }

    /// Data in the capsule.
    @inlinable
    public init(inCapsuleAt offset: UInt32, byteCount: UInt32) {
        place = .capsule
        self.offset = offset
        self.byteCount = byteCount
    }
}

/// A command that arrived. Its bytes stay where they are until the engine gives the buffer back.
public struct Capsule: BitwiseCopyable {
    public var connection: ConnectionIndex
    public var buffer: CapsuleIndex
    /// Bytes behind the submission queue entry.
    public var dataLength: UInt32
    /// The submission queue entry, then the data that came with it.
    public var bytes: UnsafeMutableRawPointer
    public var shape: DataShape

    @inlinable
    public init(
        connection: ConnectionIndex, buffer: CapsuleIndex, bytes: UnsafeMutableRawPointer, dataLength: UInt32,
        shape: DataShape
    ) {
        self.connection = connection
        self.buffer = buffer
        self.bytes = bytes
        self.dataLength = dataLength
        self.shape = shape
    }
}
