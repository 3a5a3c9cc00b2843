import Base
import NVMeSpec

/// Counters of one reactor. Written by the reactor only; read for SMART and for operators, where a value that is a
/// moment old is good enough.
public struct Statistics: Sendable, BitwiseCopyable {
    public var readCommands: UInt64 = 0
    public var writeCommands: UInt64 = 0
    public var bytesRead: UInt64 = 0
    public var bytesWritten: UInt64 = 0
    public var otherCommands: UInt64 = 0
    public var failedCommands: UInt64 = 0
    public var mediaErrors: UInt64 = 0
    /// Sums of the times from a capsule's arrival to its answer: of reads and writes that succeeded, and of all other commands.
    public var readNanoseconds: UInt64 = 0
    public var writeNanoseconds: UInt64 = 0
    public var otherNanoseconds: UInt64 = 0
    /// Requests that had to wait for data memory, for READ depth, and for send queue entries.
    public var waitsForMemory: UInt64 = 0
    public var waitsForReadDepth: UInt64 = 0
    public var waitsForSendQueue: UInt64 = 0
    /// Connections that ended because the host broke the protocol.
    public var protocolErrors: UInt64 = 0

    public init() {}

    /// Sum of the times of all commands.
    public var serviceNanoseconds: UInt64 { readNanoseconds &+ writeNanoseconds &+ otherNanoseconds }

    static func + (left: Statistics, right: Statistics) -> Statistics {
        // A struct of counters alone. A host's SMART log adds up those of all reactors and hosts.
        var sum = left
        withUnsafeMutableBytes(of: &sum) { sum in
            withUnsafeBytes(of: right) { right in
                let (sum, right) = (
                    sum.assumingMemoryBound(to: UInt64.self), right.assumingMemoryBound(to: UInt64.self)
                )
                for place in sum.indices { sum[place] &+= right[place] }
            }
        }
        return sum
    }
}

/// The place of a reactor's counters.
///
/// Unchecked: the memory is a `SubsystemView`'s, which takes the reference out of its subsystem before it frees it.
struct StatisticsReference: @unchecked Sendable, BitwiseCopyable, Equatable {
    private let counters: UnsafeMutablePointer<Statistics>
    /// Latencies of reads, and behind them those of writes, by `LatencyCounts.fineBucket`.
    private let latencies: UnsafeMutablePointer<UInt64>

    private init(
        _ counters: UnsafeMutablePointer<Statistics>, _ latencies: UnsafeMutablePointer<UInt64>
    ) {
        self.counters = counters
        self.latencies = latencies
    }

    static func allocate() -> StatisticsReference {
        let counters = UnsafeMutablePointer<Statistics>.allocate(capacity: 1)
        counters.initialize(to: Statistics())
        let latencies = UnsafeMutablePointer<UInt64>.allocate(capacity: 2 * LatencyCounts.fineCount)
        latencies.initialize(repeating: 0, count: 2 * LatencyCounts.fineCount)
        return StatisticsReference(counters, latencies)
    }

    func deallocate() {
        counters.deallocate()
        latencies.deallocate()
    }

    func addLatencies(to reads: inout LatencyCounts, and writes: inout LatencyCounts) {
        reads.add(fine: latencies)
        writes.add(fine: latencies + LatencyCounts.fineCount)
    }

    @inline(__always)
    func countLatency(isWrite: Bool, _ nanoseconds: UInt64) {
        latencies[(isWrite ? LatencyCounts.fineCount : 0) &+ LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
    }

    var value: Statistics { counters.pointee }

    /// Changes the counters; for their reactor alone.
    @inline(__always)
    func update(_ change: (inout Statistics) -> Void) { change(&counters.pointee) }
}

extension StatisticsReference {
    /// Counts a command that is answered: for its host, and for its namespace if there is one.
    @inline(__always)
    func count(_ request: RequestSlot, _ namespaces: NamespaceTable, _ now: MonotonicTime) {
        let nanoseconds = now.nanoseconds(since: request.arrival)
        let bytes = UInt64(request.transfer.byteCount)
        let isSuccess = request.outcome.status.isSuccess
        let nsid = request.header.nsid
        update { counters in
            guard isSuccess else {
                counters.failedCommands &+= 1
                counters.otherNanoseconds &+= nanoseconds
                namespaces.count(nsid) { $0.failed &+= 1 }
                return
            }
            switch request.command {
            case .io(.read):
                counters.readCommands &+= 1
                counters.bytesRead &+= bytes
                counters.readNanoseconds &+= nanoseconds
                countLatency(isWrite: false, nanoseconds)
                namespaces.count(nsid) { $0.reads.add(bytes, nanoseconds) }
            case .io(.write):
                counters.writeCommands &+= 1
                counters.bytesWritten &+= bytes
                counters.writeNanoseconds &+= nanoseconds
                countLatency(isWrite: true, nanoseconds)
                namespaces.count(nsid) { $0.writes.add(bytes, nanoseconds) }
            default:
                counters.otherCommands &+= 1
                counters.otherNanoseconds &+= nanoseconds
            }
        }
    }
}
