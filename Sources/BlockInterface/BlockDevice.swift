/// Sizes and abilities of a block device, as it reports them.
public struct BlockGeometry: Equatable, Sendable {
    /// Bytes of a logical block: a power of two, at least 512.
    public var blockSize: UInt32
    /// Logical blocks of the device.
    public var blockCount: UInt64
    /// The device has a cache that loses unflushed writes when power is lost (NVMe "volatile write cache").
    public var hasVolatileWriteCache: Bool
    /// Preferred size and alignment of I/O in bytes, a multiple of `blockSize`; 0 where the device has none.
    public var optimalIOSize: UInt32
    /// Largest write, in bytes, that is all there or not there at all after a power loss; at least `blockSize`.
    public var atomicWriteSize: UInt32
    /// Alignment in bytes that buffers need.
    public var memoryAlignment: Int
    /// `deallocate` gives space back.
    public var canDeallocate: Bool
    /// Deallocated blocks read as zeroes.
    public var deallocatedReadsZeroes: Bool

    public init(
        blockSize: UInt32, blockCount: UInt64, hasVolatileWriteCache: Bool, optimalIOSize: UInt32 = 0,
        atomicWriteSize: UInt32? = nil, memoryAlignment: Int = 512, canDeallocate: Bool = false,
        deallocatedReadsZeroes: Bool = false
    ) {
        self.blockSize = blockSize
        self.blockCount = blockCount
        self.hasVolatileWriteCache = hasVolatileWriteCache
        self.optimalIOSize = optimalIOSize
        self.atomicWriteSize = atomicWriteSize ?? blockSize
        self.memoryAlignment = memoryAlignment
        self.canDeallocate = canDeallocate
        self.deallocatedReadsZeroes = deallocatedReadsZeroes
    }

    /// Capacity in bytes.
    public var byteCount: UInt64 { blockCount * UInt64(blockSize) }
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

/// Why a device could not be opened or used.
public struct BlockDeviceError: Error, CustomStringConvertible, Sendable {
    /// What is wrong, with which path, and what to do, in one line.
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// What `BlockDevice.refresh` found.
public enum BlockDeviceChange: Equatable, Sendable {
    case unchanged
    /// The device grew or shrank; `geometry` says the new size.
    case resized
    /// The device is no longer there.
    case vanished
}

/// A block device that may be opened by several reactors, each through a channel of its own.
public protocol BlockDevice: AnyObject, Sendable {
    /// What the device is, for people: a path, or `ram:64M`.
    var name: String { get }
    /// The geometry as of the last `refresh`.
    var geometry: BlockGeometry { get }
    var identity: BlockIdentity { get }
    /// The device's own memory where it is byte-addressable (RAM, a mapped file): I/O may then go straight to it,
    /// without a buffer in between.
    var directMemory: UnsafeMutableRawBufferPointer? { get }
    /// Opens a channel for one reactor with at most `depth` operations running at once.
    func openChannel(depth: Int) throws(BlockDeviceError) -> BlockChannel
    /// Asks the system for the device's present size. Called from the control plane every few seconds; never blocks long.
    func refresh() -> BlockDeviceChange
}

/// The queue of one reactor to one device. Used by that reactor's thread only.
///
/// An abstract class and not a protocol: a call costs one indirect jump and no reference counting, and is made once per
/// batch.
open class BlockChannel {
    public init() {}

    /// Hands over the first `n` of `requests` and returns `n`; the rest may be submitted again after completions have
    /// been polled. Never waits.
    open func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        invariantAbstract()
    }

    /// Takes up to `completions.count` ended operations; returns how many. Never waits.
    open func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        invariantAbstract()
    }

    /// Operations submitted whose completion has not been polled yet.
    open var running: Int { invariantAbstract() }

    /// Withdraws a request that has not started; `true` when its completion will say `aborted`.
    open func cancel(tag: UInt64) -> Bool { false }

    /// A descriptor that becomes readable when a completion is there, or -1 where `poll` finds completions at once.
    open var notificationDescriptor: Int32 { -1 }

    /// Clears the descriptor's readiness before `poll`; called after the reactor woke up.
    open func acknowledgeNotification() {}

    /// Frees the channel's resources. The caller has polled all completions, or the process is ending.
    open func close() {}
}
