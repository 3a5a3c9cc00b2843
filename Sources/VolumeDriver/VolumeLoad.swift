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

    /// The share of users of a kind.
    public struct User: Sendable {
        public var user: BlockUser
        public var reads = CommandCount()
        public var writes = CommandCount()
        /// Flushes, and what else is neither read nor write.
        public var others: UInt64 = 0
        public var failed: UInt64 = 0
        public var readLatency = LatencyCounts()
        public var writeLatency = LatencyCounts()

        init(user: BlockUser) { self.user = user }
    }

    /// Of the kinds that the volume has had.
    public var users: [User]
    /// I/Os that have succeeded.
    public var ended: UInt64
    /// I/Os of users that have not ended.
    public var underWay: Int
    public var members: [Member]
    public var statistics: VolumeStatistics
    /// The state of the volume and its members at the same moment.
    public var status: VolumeStatusReport
}

/// The counters of a volume's users, by their kinds. Belongs to the volume's thread.
struct VolumeLoadCounters: ~Copyable {
    private struct Counts {
        var reads = CommandCount()
        var writes = CommandCount()
        var others: UInt64 = 0
        var failed: UInt64 = 0
        var hasUsers = false
    }

    /// By `BlockUser`.
    private let counts: UnsafeMutablePointer<Counts>
    /// By `BlockUser`: latencies of reads, and behind them those of writes, by `LatencyCounts.fineBucket`.
    private let latencies: UnsafeMutablePointer<UInt64>

    private static let latencyCount = BlockUser.allCases.count * 2 * LatencyCounts.fineCount

    init() {
        counts = .allocate(capacity: BlockUser.allCases.count)
        counts.initialize(repeating: Counts(), count: BlockUser.allCases.count)
        latencies = .allocate(capacity: Self.latencyCount)
        latencies.initialize(repeating: 0, count: Self.latencyCount)
    }

    deinit {
        counts.deallocate()
        latencies.deallocate()
    }

    /// Somebody of this kind uses the volume from now on.
    func meet(_ user: BlockUser) { counts[Int(user.rawValue)].hasUsers = true }

    /// The load of each kind of users that the volume has had.
    var users: [VolumeLoad.User] {
        BlockUser.allCases.filter { counts[Int($0.rawValue)].hasUsers }.map { user in
            let place = Int(user.rawValue)
            let fine = latencies + place * 2 * LatencyCounts.fineCount
            var load = VolumeLoad.User(user: user)
            (load.reads, load.writes) = (counts[place].reads, counts[place].writes)
            (load.others, load.failed) = (counts[place].others, counts[place].failed)
            load.readLatency.add(fine: fine)
            load.writeLatency.add(fine: fine + LatencyCounts.fineCount)
            return load
        }
    }

    /// I/Os of all users that have succeeded.
    var ended: UInt64 {
        (0..<BlockUser.allCases.count).reduce(0) {
            $0 + counts[$1].reads.commands + counts[$1].writes.commands + counts[$1].others
        }
    }

    /// An I/O of a user has ended.
    @inline(__always)
    mutating func count(_ user: BlockUser, _ request: BlockRequest, _ status: BlockStatus, nanoseconds: UInt64) {
        let place = Int(user.rawValue)
        let counts = counts + place
        guard status == .success else {
            counts.pointee.failed &+= 1
            return
        }
        let latencies = latencies + place &* 2 &* LatencyCounts.fineCount
        switch request.operation {
        case .read:
            counts.pointee.reads.add(request.length, nanoseconds)
            latencies[LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
        case .write:
            counts.pointee.writes.add(request.length, nanoseconds)
            latencies[LatencyCounts.fineCount &+ LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
        default: counts.pointee.others &+= 1
        }
    }
}
