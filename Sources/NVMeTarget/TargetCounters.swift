import Base
import BlockInterface
import Synchronization

/// Counters of reads and writes of one namespace at one reactor. Written by the reactor only, as `Statistics`.
struct NamespaceCounters: BitwiseCopyable {
    // Those of one command do not lie side by side: the compiler would add two of them at once, which takes longer.
    private var readCommands: UInt64 = 0
    private var writeCommands: UInt64 = 0
    private var bytesRead: UInt64 = 0
    private var bytesWritten: UInt64 = 0
    private var readNanoseconds: UInt64 = 0
    private var writeNanoseconds: UInt64 = 0
    var failed: UInt64 = 0

    var reads: CommandCount { CommandCount(commands: readCommands, bytes: bytesRead, nanoseconds: readNanoseconds) }
    var writes: CommandCount {
        CommandCount(commands: writeCommands, bytes: bytesWritten, nanoseconds: writeNanoseconds)
    }

    @inline(__always)
    mutating func countRead(_ bytes: UInt64, _ nanoseconds: UInt64) {
        readCommands &+= 1
        bytesRead &+= bytes
        readNanoseconds &+= nanoseconds
    }

    @inline(__always)
    mutating func countWrite(_ bytes: UInt64, _ nanoseconds: UInt64) {
        writeCommands &+= 1
        bytesWritten &+= bytes
        writeNanoseconds &+= nanoseconds
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
                state.tables.reduce(into: (reads: CommandCount(), writes: CommandCount(), failed: UInt64(0))) {
                    let counters = $1.counters(of: namespace.nsid)
                    $0.reads += counters.reads
                    $0.writes += counters.writes
                    $0.failed &+= counters.failed
                }
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
        reference.addLatencies(to: &reads, and: &writes)
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
