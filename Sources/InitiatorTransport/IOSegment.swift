/// A piece of the caller's memory, made known to the device that is to reach it.
///
/// It stays known, and is neither written (for commands that send it) nor read (for commands that fill it) by the caller until
/// the operation has completed. The keys are the transport's: nothing above it reads them, and a transport whose devices need
/// none ignores them.
///
/// Unchecked: the caller keeps the memory alive and leaves it alone meanwhile, whichever thread uses it.
public struct IOSegment: BitwiseCopyable, @unchecked Sendable {
    public var address: UnsafeMutableRawPointer
    /// Bytes.
    public var length: Int
    /// lkey; used for data that travels in the capsule.
    public var localKey: UInt32
    /// rkey; what the target reads or writes the memory with.
    public var remoteKey: UInt32
    /// The key is for this one command: the target is asked to invalidate it with its answer (SGL sub type Fh). Only for
    /// keys that can be invalidated, as those of memory windows of type 2.
    public var invalidatesKey: Bool

    @inlinable
    public init(
        address: UnsafeMutableRawPointer, length: Int, localKey: UInt32, remoteKey: UInt32, invalidatesKey: Bool = false
    ) {
        self.address = address
        self.length = length
        self.localKey = localKey
        self.remoteKey = remoteKey
        self.invalidatesKey = invalidatesKey
    }
}

/// Whether a controller reads this host's memory or writes it.
public enum DataDirection: UInt8, BitwiseCopyable, Sendable {
    case toController
    case fromController
}

/// Memory for the data of one control command, lent by the transport.
///
/// Unchecked: one command at a time has the buffer.
public struct ControlBuffer: BitwiseCopyable, @unchecked Sendable {
    /// Bytes of one transfer of control data: Identify structures, pieces of log pages.
    public static let byteCount = 4096

    /// All of the buffer.
    public var segment: IOSegment
    public var direction: DataDirection
    /// The device that lent it (`TransportDevice.number`).
    public var device: Int

    public init(_ segment: IOSegment, _ direction: DataDirection, device: Int) {
        self.segment = segment
        self.direction = direction
        self.device = device
    }
}
