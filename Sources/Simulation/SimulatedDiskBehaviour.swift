import BlockInterface

/// Times and faults of a simulated disk.
public struct SimulatedDiskBehaviour: Sendable {
    /// The fate of what a flush that fails should have covered.
    public enum FailedFlush: Sendable {
        /// A later flush covers it.
        case kept
        /// Reads find it until the power goes, and no later flush covers it: Linux's page cache since 4.13.
        case forgotten
    }

    /// Nanoseconds of an operation, drawn anew for each.
    public var latency: ClosedRange<UInt64> = 10_000...100_000
    /// Nanoseconds that operations on these blocks take longer.
    public var slowBlocks: Range<UInt64> = 0..<0
    public var slowness: UInt64 = 0
    /// Nanoseconds that a flush takes longer for each block that is in the cache.
    public var flushCost: UInt64 = 0
    /// Ends each operation with this instead of doing it.
    public var failure: BlockStatus?
    /// Writes to these blocks end in `writeFault`; any part of them has been done, also of the blocks beside these.
    public var failingWrites: Range<UInt64> = 0..<0
    /// Writes to these blocks end in `capacityExceeded`; any part of them has been done.
    public var fullBlocks: Range<UInt64> = 0..<0
    /// A flush ends, and flushes nothing; a write with FUA stays in the cache. Disks that lie.
    public var ignoresFlush = false
    public var ignoresForceUnitAccess = false
    /// Of a hundred blocks that are overwritten while they are in the cache, how many have reached the media before: what a
    /// loss of power leaves is then neither the newest content nor the one that was flushed.
    public var destagedPercent = 0
    /// Failures are answered with success. Disks that lie.
    public var hidesFailures = false
    /// A flush, or a write, is answered when it is taken, and done when its time comes.
    public var answersFlushesEarly = false
    public var answersWritesEarly = false
    /// Of a flush that covers more blocks than this, the others stay in the cache.
    public var flushCapacity = Int.max
    /// One write in so many is done one block further; 0 for none.
    public var misdirectedWriteRarity: UInt64 = 0
    /// One write in so many is answered and not done; 0 for none.
    public var droppedWriteRarity: UInt64 = 0
    /// One write in so many is done once more, so much later; 0 for none.
    public var repeatedWriteRarity: UInt64 = 0
    public var repetitionDelayNanoseconds: UInt64 = 5_000_000
    /// Of a write of several blocks the last is left out.
    public var writesEndShort = false
    /// Write Zeroes and deallocation are answered and not done, or leave something else than zeroes.
    public var forgetsZeroes = false
    public var zeroesAreNotZero = false
    /// Comparisons find what they expect.
    public var comparesEqual = false
    /// Operations are taken and do not end until this is false again.
    public var isStuck = false
    /// A flush covers what had completed before it was submitted, and no more: all that NVMe promises (NVM Command Set,
    /// "Flush command"). Else also what completes while it runs.
    public var flushIsStrict = false
    /// Flushes fail, and leave this.
    public var failedFlush: FailedFlush?
    /// One operation in so many takes `tail` longer; 0 for none.
    public var tailRarity: UInt64 = 0
    public var tail: ClosedRange<UInt64> = 50_000_000...300_000_000
    /// Blocks that a loss of power, or the end of the process that writes them, may leave torn within.
    public var tearing: Range<UInt64> = 0..<0
    /// Reads of these blocks return what is on the media, not what was written last; or what is so many blocks away.
    public var misreading: Range<UInt64> = 0..<0
    public var misreadDistance: Int = 0

    public init() {}
}
