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

/// The place of a reactor's counters of a host: a `Statistics`, and behind it the latencies of reads, then those of writes, by
/// `LatencyCounts.fineBucket`.
///
/// Unchecked: the memory is a `SubsystemView`'s, which takes the reference out of its subsystem before it frees it.
struct StatisticsReference: @unchecked Sendable, BitwiseCopyable, Equatable {
    private let counters: UnsafeMutablePointer<Statistics>

    private init(_ counters: UnsafeMutablePointer<Statistics>) { self.counters = counters }

    static func allocate() -> StatisticsReference {
        let latencyCount = 2 * LatencyCounts.fineCount
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<Statistics>.stride + latencyCount * MemoryLayout<UInt64>.stride,
            alignment: MemoryLayout<Statistics>.alignment)
        let counters = memory.initializeMemory(as: Statistics.self, to: Statistics())
        UnsafeMutableRawPointer(counters + 1).initializeMemory(as: UInt64.self, repeating: 0, count: latencyCount)
        return StatisticsReference(counters)
    }

    func deallocate() { UnsafeMutableRawPointer(counters).deallocate() }

    @inline(__always)
    private var latencies: UnsafeMutablePointer<UInt64> {
        UnsafeMutableRawPointer(counters + 1).assumingMemoryBound(to: UInt64.self)
    }

    func addLatencies(to reads: inout LatencyCounts, and writes: inout LatencyCounts) {
        reads.add(fine: latencies)
        writes.add(fine: latencies + LatencyCounts.fineCount)
    }

    var value: Statistics { counters.pointee }

    /// Changes the counters; for their reactor alone.
    @inline(__always)
    func update(_ change: (inout Statistics) -> Void) { change(&counters.pointee) }

    @inline(__always)
    func countRead(_ bytes: UInt64, _ nanoseconds: UInt64) {
        counters.pointee.readCommands &+= 1
        counters.pointee.bytesRead &+= bytes
        counters.pointee.readNanoseconds &+= nanoseconds
        latencies[LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
    }

    @inline(__always)
    func countWrite(_ bytes: UInt64, _ nanoseconds: UInt64) {
        counters.pointee.writeCommands &+= 1
        counters.pointee.bytesWritten &+= bytes
        counters.pointee.writeNanoseconds &+= nanoseconds
        latencies[LatencyCounts.fineCount &+ LatencyCounts.fineBucket(of: nanoseconds)] &+= 1
    }
}
