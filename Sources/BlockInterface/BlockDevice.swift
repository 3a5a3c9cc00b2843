import Base

/// Sizes and abilities of a block device, as it reports them.
public struct BlockGeometry: Equatable, Sendable {
    /// Bytes of a logical block: a power of two, at least 512.
    public var blockSize: UInt32
    /// Logical blocks of the device.
    public var blockCount: UInt64
    /// The device has a cache that loses unflushed writes when power is lost (NVMe "volatile write cache").
    public var hasVolatileWriteCache: Bool
    /// Preferred size and alignment of I/O in bytes, a multiple of `blockSize`; 0 if the device has none.
    public var optimalIOSize: UInt32
    /// Largest write, in bytes, that is all there or not there at all after a power loss; at least `blockSize`.
    public var atomicWriteSize: UInt32
    /// Alignment in bytes that buffers need.
    public var memoryAlignment: Int
    /// `deallocate` gives space back.
    public var canDeallocate: Bool
    /// Deallocated blocks read as zeroes.
    public var deallocatedReadsZeroes: Bool
    /// The unit in which space is given back, in bytes, at multiples of it; 0 if the device does not say.
    public var deallocateGranularity: UInt32
    /// The device was opened for reading only: everything that changes it ends in `writeProtected`.
    public var isReadOnly: Bool

    public init(
        blockSize: UInt32, blockCount: UInt64, hasVolatileWriteCache: Bool, optimalIOSize: UInt32 = 0,
        atomicWriteSize: UInt32? = nil, memoryAlignment: Int = 512, canDeallocate: Bool = false,
        deallocatedReadsZeroes: Bool = false, deallocateGranularity: UInt32 = 0, isReadOnly: Bool = false
    ) {
        self.blockSize = blockSize
        self.blockCount = blockCount
        self.hasVolatileWriteCache = hasVolatileWriteCache
        self.optimalIOSize = optimalIOSize
        self.atomicWriteSize = atomicWriteSize ?? blockSize
        self.memoryAlignment = memoryAlignment
        self.canDeallocate = canDeallocate
        self.deallocatedReadsZeroes = deallocatedReadsZeroes
        self.deallocateGranularity = deallocateGranularity
        self.isReadOnly = isReadOnly
    }

    /// Whether `bytes` can be a logical block's size: a power of two from 512 to 65536.
    public static func isBlockSize(_ bytes: UInt32) -> Bool {
        bytes >= 512 && bytes <= 65536 && bytes & (bytes - 1) == 0
    }

    /// Capacity in bytes.
    public var byteCount: UInt64 { blockCount * UInt64(blockSize) }

    /// Whether the range lies within the device and on its blocks.
    @inlinable
    public func contains(offset: UInt64, length: UInt64) -> Bool {
        let mask = UInt64(blockSize) - 1
        let (end, overflow) = offset.addingReportingOverflow(length)
        return !overflow && end <= blockCount * UInt64(blockSize) && (offset | length) & mask == 0
    }
}

/// Identifiers that a device carries itself; those that it lacks are made from the configuration by the target.
public struct BlockIdentity: Equatable, Sendable {
    /// Namespace globally unique identifier, 16 bytes (NVMe Base, Identify Namespace "NGUID").
    public var nguid: [UInt8]?
    /// IEEE extended unique identifier, 8 bytes (NVMe Base, Identify Namespace "EUI64").
    public var eui64: [UInt8]?
    /// Namespace UUID, 16 bytes in the order of RFC 9562.
    public var uuid: [UInt8]?

    public init(nguid: [UInt8]? = nil, eui64: [UInt8]? = nil, uuid: [UInt8]? = nil) {
        self.nguid = nguid
        self.eui64 = eui64
        self.uuid = uuid
    }
}

/// The result of `BlockDevice.refresh`.
public enum BlockDeviceChange: Equatable, Sendable {
    case unchanged
    /// The device grew or shrank; `geometry` says the new size.
    case resized
    /// The device is no longer there.
    case vanished
}

/// The failures of a device since it was opened.
public struct DeviceFailures: Equatable, Sendable {
    /// Operations that the device has failed, and of those the ones that failed for lack of room.
    public var count: UInt64
    public var noSpaceCount: UInt64
    /// The system's error number of the last one; 0 where none failed.
    public var lastError: Int32

    public init(count: UInt64 = 0, noSpaceCount: UInt64 = 0, lastError: Int32 = 0) {
        self.count = count
        self.noSpaceCount = noSpaceCount
        self.lastError = lastError
    }
}

/// The knowledge of a part of a device's contents. It errs on the side of data: what is not known holds some, and has been changed.
public struct BlockExtent: Equatable, Sendable {
    /// Bytes that all of it holds for.
    public var length: UInt64
    /// They read as zeroes.
    public var isZero: Bool
    /// They take up no space.
    public var isHole: Bool
    /// They may have been changed since the device was last in order: for a volume, since it was last detached clean.
    public var isChanged: Bool

    public init(length: UInt64, isZero: Bool = false, isHole: Bool = false, isChanged: Bool = true) {
        self.length = length
        self.isZero = isZero
        self.isHole = isHole
        self.isChanged = isChanged
    }
}

/// A block device that may be opened by several reactors, each through a channel of its own.
public protocol BlockDevice: AnyObject, Sendable {
    /// The device's name, for people: a path, or `ram:64M`.
    var name: String { get }
    /// The geometry as of the last `refresh`.
    var geometry: BlockGeometry { get }
    /// The identifiers that the device carries.
    var identity: BlockIdentity { get }
    /// Remarks for the operator on how the device was opened, a line each: for instance that its file system refuses
    /// O_DIRECT. Empty if there are none.
    var remarks: [String] { get }
    /// The device's own memory if it is byte-addressable (RAM). It stays where it is as long as the device or a channel to it is
    /// there.
    var directMemory: UnsafeMutableRawBufferPointer? { get }
    /// Reads may go straight out of memory that its channels lend.
    var lendsMemory: Bool { get }
    /// The failures since it was opened.
    var failures: DeviceFailures { get }
    /// Tells when the device has been closed, so that it can be opened anew; `nil` where nothing hinders that.
    var closing: OneTimeEvent? { get }
    /// It has failed, and opening it anew may help: nothing can be read from it any more, or another file is at its path. For
    /// the control plane; may wait for the device.
    var isStale: Bool { get }
    /// Opens a channel for one reactor with at most `depth` operations running at once.
    func openChannel(depth: Int) throws(TercetError) -> BlockChannel
    /// The same for users of a kind, whose I/O the device may count apart.
    func openChannel(depth: Int, for user: BlockUser) throws(TercetError) -> BlockChannel
    /// Asks the system for the device's present size. Called from the control plane every few seconds; quick.
    func refresh() -> BlockDeviceChange
    /// The knowledge of the first bytes of a range: of all of it, or of fewer. Asked on reactors; does not wait, and does I/O
    /// neither.
    ///
    /// - Parameter length: more than 0; the range lies within the device.
    func extent(at offset: UInt64, length: UInt64) -> BlockExtent
}

extension BlockDevice {
    public func openChannel(depth: Int, for user: BlockUser) throws(TercetError) -> BlockChannel {
        try openChannel(depth: depth)
    }
    public var remarks: [String] { [] }
    public var directMemory: UnsafeMutableRawBufferPointer? { nil }
    public var lendsMemory: Bool { directMemory != nil }
    public var failures: DeviceFailures { DeviceFailures() }
    public var closing: OneTimeEvent? { nil }
    public var isStale: Bool { false }
    public func extent(at offset: UInt64, length: UInt64) -> BlockExtent { BlockExtent(length: length) }
}
