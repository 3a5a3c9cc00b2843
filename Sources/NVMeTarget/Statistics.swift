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
    /// Sum of the times from a capsule's arrival to its answer, in nanoseconds.
    public var serviceNanoseconds: UInt64 = 0
    /// Requests that had to wait for data memory, for READ depth, and for send queue entries.
    public var waitsForMemory: UInt64 = 0
    public var waitsForReadDepth: UInt64 = 0
    public var waitsForSendQueue: UInt64 = 0
    /// Connections that ended because the host broke the protocol.
    public var protocolErrors: UInt64 = 0

    public init() {}

    static func + (left: Statistics, right: Statistics) -> Statistics {
        var sum = left
        for counter in counters { sum[keyPath: counter] &+= right[keyPath: counter] }
        return sum
    }

    private static var counters: [WritableKeyPath<Statistics, UInt64>] {
        [
            \.readCommands, \.writeCommands, \.bytesRead, \.bytesWritten, \.otherCommands, \.failedCommands,
            \.mediaErrors, \.serviceNanoseconds, \.waitsForMemory, \.waitsForReadDepth, \.waitsForSendQueue,
            \.protocolErrors,
        ]
    }
}

/// The place of a reactor's counters.
///
/// Unchecked: the memory is a `SubsystemView`'s, which takes the reference out of its subsystem before it frees it.
struct StatisticsReference: @unchecked Sendable, BitwiseCopyable, Equatable {
    private let counters: UnsafeMutablePointer<Statistics>

    private init(_ counters: UnsafeMutablePointer<Statistics>) { self.counters = counters }

    static func allocate() -> StatisticsReference {
        let counters = UnsafeMutablePointer<Statistics>.allocate(capacity: 1)
        counters.initialize(to: Statistics())
        return StatisticsReference(counters)
    }

    func deallocate() { counters.deallocate() }

    var value: Statistics { counters.pointee }

    /// Changes the counters; for their reactor alone.
    @inline(__always)
    func update(_ change: (inout Statistics) -> Void) { change(&counters.pointee) }
}

extension StatisticsReference {
    /// Counts a command that is answered.
    @inline(__always)
    func count(_ request: RequestSlot, _ now: MonotonicTime) {
        let nanoseconds = now.nanoseconds(since: request.arrival)
        let bytes = UInt64(request.transfer.byteCount)
        update { counters in
            counters.serviceNanoseconds &+= nanoseconds
            guard request.outcome.status.isSuccess else {
                counters.failedCommands &+= 1
                return
            }
            switch request.command {
            case .io(.read):
                counters.readCommands &+= 1
                counters.bytesRead &+= bytes
            case .io(.write):
                counters.writeCommands &+= 1
                counters.bytesWritten &+= bytes
            default: counters.otherCommands &+= 1
            }
        }
    }
}
