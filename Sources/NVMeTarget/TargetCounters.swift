import Base
import BlockInterface
import Synchronization

/// Counters of reads and writes of one namespace at one reactor. Written by the reactor only, as `Statistics`.
struct NamespaceCounters: BitwiseCopyable {
    var reads = CommandCount()
    var writes = CommandCount()
    var failed: UInt64 = 0
    /// So that they are 64 bytes, and a place is found by a shift.
    private var padding: UInt64 = 0
}

/// Commands of one kind.
public struct CommandCount: Sendable, BitwiseCopyable, Equatable {
    public internal(set) var commands: UInt64 = 0
    public internal(set) var bytes: UInt64 = 0
    /// Sum of the times from a capsule's arrival to its answer.
    public internal(set) var nanoseconds: UInt64 = 0

    init() {}

    @inline(__always)
    mutating func add(_ byteCount: UInt64, _ time: UInt64) {
        commands &+= 1
        bytes &+= byteCount
        nanoseconds &+= time
    }

    static func += (left: inout CommandCount, right: CommandCount) {
        left.commands &+= right.commands
        left.bytes &+= right.bytes
        left.nanoseconds &+= right.nanoseconds
    }
}

/// Times that commands took: four buckets for each power of two, from a microsecond to 17 seconds.
public struct LatencyCounts: Sendable, Equatable {
    static let bucketCount = 96
    /// Reactors count in buckets of the same kind for all powers of two, so that no I/O has to be told from the shortest and the
    /// longest.
    static let fineCount = 256
    /// The fine bucket of a microsecond.
    private static let firstFine = 40

    /// The counts of `upperNanoseconds`.
    public internal(set) var counts = [UInt64](repeating: 0, count: LatencyCounts.bucketCount)

    /// The longest time of each bucket; shorter ones are in the first, longer ones in the last.
    public static let upperNanoseconds: [UInt64] = (0..<bucketCount).map { index -> UInt64 in
        let quarters = UInt64(5 + index % 4)
        return (quarters << UInt64(index / 4 + 8)) - 1
    }

    @inline(__always)
    static func fineBucket(of nanoseconds: UInt64) -> Int {
        let time = nanoseconds | 1
        let octave = 63 &- time.leadingZeroBitCount
        // The two bits behind the highest one, and that one.
        let quarter = Int(truncatingIfNeeded: (time &<< 2) &>> UInt64(truncatingIfNeeded: octave))
        return octave &* 4 &+ quarter &- 4
    }

    /// The fine buckets that make up one.
    static func fineBuckets(of bucket: Int) -> ClosedRange<Int> {
        let fine = bucket + firstFine
        return (bucket == 0 ? 0 : fine)...(bucket == bucketCount - 1 ? fineCount - 1 : fine)
    }
}

/// Counters of a subsystem's hosts and namespaces, summed over all reactors.
public struct SubsystemCounters: Sendable {
    public struct Host: Sendable {
        /// Its NQN, or `Subsystem.otherHosts`.
        public var nqn: String
        public var statistics: Statistics
        public var reads: LatencyCounts
        public var writes: LatencyCounts
    }

    public struct Namespace: Sendable {
        public var nsid: UInt32
        public var reads: CommandCount
        public var writes: CommandCount
        public var failed: UInt64
        public var geometry: BlockGeometry
        public var deviceFailures: UInt64
    }

    public var nqn: String
    public var controllers: Int
    public var hosts: [Host]
    public var namespaces: [Namespace]
}

extension Target {
    /// Counters of all subsystems. They go on counting meanwhile: a value may be a moment old.
    public var counters: [SubsystemCounters] { subsystems.map(\.operatorCounters) }

    /// How long the target has been there.
    public func uptimeNanoseconds(_ now: MonotonicTime) -> UInt64 { now.nanoseconds(since: started) }
}

extension Subsystem {
    fileprivate var operatorCounters: SubsystemCounters {
        // Under the lock, which a reactor takes before it frees its counters.
        let (hosts, tables, controllers, namespaces) = state.withLock { state in
            var hosts: [String: SubsystemCounters.Host] = [:]
            for counters in state.counters {
                hosts[
                    counters.host,
                    default: .init(
                        nqn: counters.host, statistics: Statistics(), reads: LatencyCounts(), writes: LatencyCounts())
                ]
                .add(counters.reference)
            }
            let namespaces = state.namespaces.all
            let sums = namespaces.map { namespace in
                state.tables.reduce(into: NamespaceCounters()) { $0.add($1.counters(of: namespace.nsid)) }
            }
            return (hosts, sums, state.controllers.count, namespaces)
        }
        return SubsystemCounters(
            nqn: nqn, controllers: controllers, hosts: hosts.values.sorted { $0.nqn < $1.nqn },
            namespaces: zip(namespaces, tables).map { namespace, sum in
                SubsystemCounters.Namespace(
                    nsid: namespace.nsid, reads: sum.reads, writes: sum.writes, failed: sum.failed,
                    geometry: namespace.geometry, deviceFailures: UInt64(namespace.definition.device.failures.count))
            })
    }
}

extension SubsystemCounters.Host {
    fileprivate mutating func add(_ reference: StatisticsReference) {
        statistics = statistics + reference.value
        for place in 0..<LatencyCounts.bucketCount {
            reads.counts[place] &+= reference.latency(isWrite: false, place)
            writes.counts[place] &+= reference.latency(isWrite: true, place)
        }
    }
}

extension NamespaceCounters {
    fileprivate mutating func add(_ other: NamespaceCounters) {
        reads += other.reads
        writes += other.writes
        failed &+= other.failed
    }
}

/// A controller of a host, for operators.
public struct ConnectedController: Sendable {
    public var id: UInt16
    public var host: String
    public var address: SocketAddress?
    public var ioQueues: Int
}

extension Subsystem {
    /// The controllers that hosts have, in the order of their identifiers.
    public var connectedControllers: [ConnectedController] {
        controllers.map { controller in
            ConnectedController(
                id: controller.id, host: controller.hostNQN, address: controller.localAddress,
                ioQueues: controller.state.withLock { $0.ioQueues.count })
        }
    }
}
