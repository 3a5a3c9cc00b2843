import Base
import FabricInterface
import InitiatorTransport

/// The life of a connection at the host.
enum HostQueuePairState: UInt8, BitwiseCopyable {
    case free
    /// The route to the controller is looked for; there is no queue pair.
    case resolving
    /// The connection is being made; receives are posted.
    case connecting
    /// Messages flow.
    case live
    /// In the error state: nothing is posted, what was posted is awaited.
    case closing

    /// The one place where a connection changes its state.
    mutating func move(to next: HostQueuePairState) {
        switch (self, next) {
        case (.free, .resolving), (.resolving, .connecting), (.resolving, .closing), (.resolving, .free),
            (.connecting, .live), (.connecting, .closing), (.connecting, .free), (.live, .closing),
            (.live, .free), (.closing, .free):
            self = next
        default: invariantViolated("a queue pair makes only the listed transitions")
        }
    }
}

/// One connection with its queue pair. Plain data; the memory that it points to belongs to its `CapsuleMemory`.
struct HostQueuePair: BitwiseCopyable {
    var state = HostQueuePairState.free
    /// Failed and reported.
    var hasFailed = false
    /// The controller broke the rules: its answers are not looked at any more.
    var isDistrusted = false
    var connection = ConnectionHandle(value: 0)
    /// Lives as long as the transport; there is one once the route is known.
    var device: Unmanaged<HostDevice>?
    var handle = QueuePairHandle(index: 0)
    /// Commands that may be under way: one less than the submission queue has entries.
    var depth = 0
    var capsules: HostCapsules?
    /// Bytes that a SEND may carry inline.
    var inlineBytes = 0
    /// Bytes of written data that travel in the capsule.
    var inCapsuleBytes = 0
    /// Work that has not completed.
    var sends: UInt32 = 0
    var receives: UInt32 = 0
    /// When a queue pair that closes is destroyed, whatever has not come back.
    var closingDeadline = MonotonicTime.distantFuture

    /// All work has come back.
    var isDrained: Bool { sends == 0 && receives == 0 }
}

/// The purpose of work, in the upper half of its identifier, with the connection's index. The lower half is the command's place,
/// or the receive buffer's.
enum HostWork {
    case receive(HostConnectionIndex, buffer: Int)
    case send(HostConnectionIndex, CommandIndex)

    @inline(__always)
    var id: UInt64 {
        switch self {
        case .receive(let connection, let buffer): UInt64(connection.position) << 32 | UInt64(buffer)
        case .send(let connection, let command):
            1 << 63 | UInt64(connection.position) << 32 | UInt64(command.position)
        }
    }

    @inline(__always)
    init(_ id: UInt64) {
        let connection = HostConnectionIndex(position: UInt32(truncatingIfNeeded: id >> 32) & 0x7FFF_FFFF)
        let low = UInt32(truncatingIfNeeded: id)
        self = id >> 63 == 0 ? .receive(connection, buffer: Int(low)) : .send(connection, CommandIndex(position: low))
    }
}
