import Base

/// The fate of I/O while too few members can be reached.
public enum SuspendPolicy: UInt8, Sendable {
    /// I/O waits.
    case wait
    /// I/O fails with `BlockStatus.unavailable`.
    case fail
}

/// All that the engine is told when it is made. Times are in nanoseconds. It has more fields than a part may have, because it
/// is a list of settings, each of which an operator or a test may choose.
public struct VolumeConfiguration: Sendable {
    public var volume: UUIDBytes
    public var blockSize: UInt32
    /// The size that each member had when its metadata was last written, where the registry knows it: the superblock is
    /// looked for there when it is not at the namespace's present end. 0 where not known.
    public var formattedBlocks: [UInt64] = [0, 0, 0]
    /// Members that are not to be used in this attachment.
    public var excluded: MemberSet = []
    /// Members that were replaced: they need not hold a superblock of this volume, and everything is copied to them. Until
    /// one has been taken in, it has no vote: both others are needed. A namespace that was a member of the volume before
    /// is to be wiped first.
    public var fresh: MemberSet = []
    /// Serve even though acknowledged writes may be lost, because the members that might have them are not there, and those that
    /// are there have lost their caches.
    public var acceptsLoss = false
    public var suspendPolicy = SuspendPolicy.wait
    /// Host I/Os that may run at once; one more is refused until one has ended.
    public var queueDepth = 256
    /// Bytes that one member command may move: the least of the three members' MDTS, and the size of a host I/O at most.
    public var maximumTransfer = 1 << 20
    /// Regions that are copied at once: 1 to `maximumCopyConcurrency`, and a mistake of the caller's where it is neither.
    public var copyConcurrency = 2 {
        didSet {
            precondition(
                (1...Self.maximumCopyConcurrency).contains(copyConcurrency),
                "a volume copies 1 to \(Self.maximumCopyConcurrency) regions at once, not \(copyConcurrency)")
        }
    }
    /// The most regions that are copied at once: those that are under way when the last flush was due have to fit in the
    /// list of what waits for one.
    public static var maximumCopyConcurrency: Int { 16 }
    /// A member's command that takes longer means that the connection is given up.
    public var commandTimeout: UInt64 = 5_000_000_000
    /// How long an attach waits for the third member once two are there.
    public var attachGrace: UInt64 = 1_000_000_000
    /// A step of taking a member in that takes longer fails.
    public var joinTimeout: UInt64 = 10_000_000_000
    /// Pause before a member that was lost is connected again, at first and at most.
    public var reconnectDelay: UInt64 = 100_000_000
    public var reconnectDelayMaximum: UInt64 = 10_000_000_000
    /// Pause before a command that a member was too busy for is sent again.
    public var retryDelay: UInt64 = 5_000_000
    /// How often regions without writes are looked for, flushed and marked clean.
    public var housekeepingInterval: UInt64 = 2_000_000_000
    /// A member is demoted when its writes take longer than the others' slowest writes of late have, by this factor and this
    /// margin for this long; a factor of 0 means never. Margin and duration are more than a process waits for a processor.
    public var slowFactor: UInt64 = 8
    public var slowMargin: UInt64 = 50_000_000
    public var slowDuration: UInt64 = 100_000_000
    /// A process whose ticks are further apart than this stood still itself. More than it waits for a processor, and than
    /// the time between two ticks of a volume that has nothing to do (50 ms).
    public var standstill: UInt64 = 200_000_000
    /// A detach releases the reservations only when no writer was fenced for this long; else they stay, and the next attach
    /// preempts them, which does not count as fencing a writer. It is longer than any initiator's keep-alive timeout and quiesce time: a deposed initiator that was
    /// stopped meanwhile could write after a release while its old association stands.
    public var releaseDelay: UInt64 = 60_000_000_000
    /// A number of the clock that the engine is told the time by: equal only where times are of one clock, which was not set
    /// back in between. 0 where not known.
    public var clock: UInt64 = 0
    /// How long a member that was demoted for being slow stays out, at first; doubled each time, up to the maximum.
    public var slowCooldown: UInt64 = 5_000_000_000
    public var slowCooldownMaximum: UInt64 = 600_000_000_000

    public init(volume: UUIDBytes, blockSize: UInt32) {
        self.volume = volume
        self.blockSize = blockSize
    }
}
