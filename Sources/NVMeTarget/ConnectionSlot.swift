import Base
import NVMeSpec
import TargetTransport

/// The life of a connection in the engine.
enum ConnectionState: UInt8, BitwiseCopyable {
    case free
    /// Commands flow.
    case live
    /// No answer is sent; requests end as their work ends.
    case closing

    /// The one place where a connection changes its state.
    mutating func move(to next: ConnectionState) {
        switch (self, next) {
        case (.free, .live), (.live, .closing), (.closing, .free): self = next
        default: invariantViolated("a connection makes only the listed transitions")
        }
    }
}

/// The kind of queue that a connection carries; decided by its Connect command.
enum QueueRole: UInt8, BitwiseCopyable {
    case unconnected
    case admin
    case io
}

/// One queue of a host, at the index that the port gave its connection. Plain data.
struct ConnectionSlot: BitwiseCopyable {
    var state = ConnectionState.free
    var role = QueueRole.unconnected
    /// Raised each time the slot is used anew: a late message for its former owner is recognised.
    var generation: UInt32 = 0
    /// As the transport's greeting said; Connect must say the same.
    var queueID: UInt16 = 0
    /// Entries of the host's submission queue, and so the commands it may have unanswered; 1-based.
    var entries: UInt32 = 0
    var sqHead: UInt16 = 0
    var flowControlDisabled = false
    /// Commands received and not answered.
    var unanswered: UInt32 = 0
    /// Requests that refer to this slot.
    var requests: UInt32 = 0
    /// When it opened, or last had a Connect that was held: a host that never sends Connect is not waited for.
    var awaitsConnectSince = MonotonicTime(nanoseconds: 0)
    /// The first half of a fused operation, which waits for the second.
    var firstHalf = RequestIndex.none
    /// The controller's place in the poll group's table, once connected.
    var controller = ControllerPlace.none
    /// The subsystem's namespaces as this reactor sees them.
    var namespaces = NamespaceTable()
    /// The subsystem's counters of this reactor.
    var statistics: StatisticsReference? = nil
    /// The host's bit in `NamespaceSlot.readers` and `writers`.
    var hostBit: UInt64 = 0
    /// Commands since the controller was last told that the host is alive.
    var commandsSinceReport: UInt32 = 0
    /// Closing, and its last request has ended.
    var isDrained = false
}
