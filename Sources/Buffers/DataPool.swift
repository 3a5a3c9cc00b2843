import Base

/// The user of a buffer.
public enum AllocationPriority: Sendable {
    /// Reads and writes: they wait when nothing is left.
    case io
    /// Connect and admin commands: they may also use the reserve, so that I/O never keeps a host from connecting.
    case admin
}

/// How much a pool has given out.
public struct DataPoolCounters: Equatable, Sendable, BitwiseCopyable {
    public var allocations: UInt64 = 0
    /// Allocations that found nothing free.
    public var failures: UInt64 = 0
    /// Admin allocations that came out of the reserve.
    public var reserveUses: UInt64 = 0
    public var bytesInUse = 0
    public var peakBytesInUse = 0
}

/// Buffers for data on its way, cut from one piece of memory: power-of-two sizes from 4 KiB on, each aligned to its
/// size up to the memory's own alignment.
///
/// One pool per reactor, used by its thread only. Nothing is allocated after `init`, and an allocation touches no memory
/// of what it gives out.
public struct DataPool: ~Copyable {
    /// Bytes for everybody, and bytes behind them for `admin` alone.
    public let commonBytes: Int
    public let reservedBytes: Int

    private let common: BuddyAllocator
    private let reserve: BuddyAllocator
    private let base: UnsafeMutableRawPointer
    private let counts: UnsafeMutablePointer<DataPoolCounters>

    /// Cuts `memory`, which outlives the pool; `reservedBytes` of it, rounded up to 4 KiB, are kept for `admin`.
    public init(_ memory: UnsafeMutableRawBufferPointer, reservedBytes: Int) {
        let block = BuddyAllocator.smallestBlock
        let reserved = (reservedBytes + block - 1) / block * block
        invariant(reserved >= 0 && reserved < memory.count, "the reserve is a part of the memory")
        base = memory.baseAddress!
        common = BuddyAllocator(size: memory.count - reserved)
        reserve = BuddyAllocator(size: reserved)
        commonBytes = common.size
        self.reservedBytes = reserve.size
        counts = .allocate(capacity: 1)
        counts.initialize(to: DataPoolCounters())
    }

    deinit { counts.deallocate() }

    /// A buffer of at least so many bytes, or `nil` if nothing (large enough) is free. Its contents are those that it
    /// was left with.
    public func allocate(_ bytes: Int, priority: AllocationPriority) -> UnsafeMutableRawPointer? {
        if let offset = common.allocate(bytes) { return given(base + offset) }
        if priority == .admin, let offset = reserve.allocate(bytes) {
            counts.pointee.reserveUses += 1
            return given(base + commonBytes + offset)
        }
        counts.pointee.failures += 1
        return nil
    }

    private func given(_ buffer: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        let inUse = common.bytesInUse + reserve.bytesInUse
        counts.pointee.allocations += 1
        counts.pointee.bytesInUse = inUse
        if inUse > counts.pointee.peakBytesInUse { counts.pointee.peakBytesInUse = inUse }
        return buffer
    }

    /// Gives a buffer back.
    public func free(_ buffer: UnsafeMutableRawPointer) {
        let offset = buffer - base
        if offset < commonBytes { common.free(offset) } else { reserve.free(offset - commonBytes) }
        counts.pointee.bytesInUse = common.bytesInUse + reserve.bytesInUse
    }

    /// Bytes that a buffer really has.
    public func size(of buffer: UnsafeMutableRawPointer) -> Int {
        let offset = buffer - base
        return offset < commonBytes ? common.blockSize(at: offset) : reserve.blockSize(at: offset - commonBytes)
    }

    /// The most that an I/O could get now.
    public var largestFreeBlock: Int { common.largestFreeBlock }

    public var counters: DataPoolCounters { counts.pointee }
}
