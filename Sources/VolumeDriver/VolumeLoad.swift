import Base
import BlockInterface
import Replication

/// The I/O of a volume's users since it was attached, and that of its members.
public struct VolumeLoad: Sendable {
    /// A member's share.
    public struct Member: Sendable {
        /// Commands that it has completed, those of copies and of the volume's own pages too.
        public var commands: UInt64
        public var underWay: Int
    }

    public var reads: CommandCount
    public var writes: CommandCount
    /// Flushes, and what else is neither read nor write.
    public var others: UInt64
    public var failed: UInt64
    public var readLatency: LatencyCounts
    public var writeLatency: LatencyCounts
    /// I/Os of users that have not ended.
    public var underWay: Int
    public var members: [Member]
    public var statistics: VolumeStatistics
    /// The state of the volume and its members at the same moment.
    public var status: VolumeStatusReport
}

/// The counters of a volume's users. Belongs to the volume's thread.
struct VolumeLoadCounters: ~Copyable {
    private(set) var reads = CommandCount()
    private(set) var writes = CommandCount()
    private(set) var others: UInt64 = 0
    private(set) var failed: UInt64 = 0
    /// Latencies of reads, and behind them those of writes, by `LatencyCounts.fineBucket`.
    private let latencies: UnsafeMutablePointer<UInt64>

    init() {
        latencies = .allocate(capacity: 2 * LatencyCounts.fineCount)
        latencies.initialize(repeating: 0, count: 2 * LatencyCounts.fineCount)
    }

    deinit { latencies.deallocate() }

    var readLatency: LatencyCounts {
        var counts = LatencyCounts()
        counts.add(fine: latencies)
        return counts
    }

    var writeLatency: LatencyCounts {
        var counts = LatencyCounts()
        counts.add(fine: latencies + LatencyCounts.fineCount)
        return counts
    }

    /// An I/O of a user has ended.
    @inline(__always)
    mutating func count(_ request: BlockRequest, _ status: BlockStatus, nanoseconds: UInt64) {
        guard status == .success else {
            failed &+= 1
            return
        }
        switch request.operation {
        case .read:
            reads.add(request.length, nanoseconds)
            latencies[LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
        case .write:
            writes.add(request.length, nanoseconds)
            latencies[LatencyCounts.fineCount &+ LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
        default: others &+= 1
        }
    }
}
