import Base
import FabricInterface

/// The life of a queue pair at the host.
enum QueuePairState: UInt8, BitwiseCopyable {
    case free
    /// Its connection is being made; receives are posted.
    case connecting
    /// Messages flow.
    case live
    /// In the error state: nothing is posted, what was posted is awaited.
    case closing

    /// The one place where a queue pair changes its state.
    mutating func move(to next: QueuePairState) {
        switch (self, next) {
        case (.free, .connecting), (.connecting, .live), (.connecting, .closing), (.live, .closing), (.closing, .free):
            self = next
        default: invariantViolated("a queue pair makes only the listed transitions")
        }
    }
}

/// One queue pair of a device group. Plain data; the memory that it points to belongs to the device group.
struct QueuePairSlot: BitwiseCopyable {
    var state = QueuePairState.free
    /// Failed and reported to its owner.
    var hasFailed = false
    /// The controller broke the rules: its answers are not looked at any more.
    var isDistrusted = false
    /// Raised each time the slot is used anew: a late message for its former owner is recognised.
    var generation: UInt32 = 0
    var handle = QueuePairHandle(index: 0)
    var connection = ConnectionHandle(value: 0)
    /// Commands that may be under way: one less than the submission queue has entries.
    var depth: UInt32 = 0
    var requests: UnsafeMutablePointer<RequestSlot>! = nil
    var freeRequests: UnsafeMutablePointer<UInt32>! = nil
    var freeCount: UInt32 = 0
    /// Capsules, one for each request.
    var capsules: UnsafeMutableRawPointer! = nil
    var capsuleKey: UInt32 = 0
    /// Answers, one for each receive buffer.
    var responses: UnsafeMutableRawPointer! = nil
    var responseKey: UInt32 = 0
    /// Bytes that a SEND may carry inline.
    var inlineBytes = 0
    /// Operations of the queue that this queue pair serves.
    var table: UnsafeMutablePointer<OperationTable>! = nil
    /// Work that has not completed.
    var sends: UInt32 = 0
    var receives: UInt32 = 0
    var closingSince = MonotonicTime(nanoseconds: 0)
}

/// Names a queue pair across reactors, and tells it from those that had its slot before.
struct QueuePairReference: Hashable, Sendable {
    var device: Int
    var slot: UInt32
    var generation: UInt32
}

/// What work was for, in the upper half of its identifier, with the queue pair's slot. The lower half is an index.
enum WorkKind: UInt8 {
    case receive
    case send

    @inline(__always)
    func id(_ slot: UInt32, _ index: UInt32) -> UInt64 {
        UInt64(rawValue) << 63 | UInt64(slot) << 32 | UInt64(index)
    }

    @inline(__always)
    static func parse(_ id: UInt64) -> (kind: WorkKind, slot: UInt32, index: UInt32) {
        (
            id >> 63 == 0 ? .receive : .send, UInt32(truncatingIfNeeded: id >> 32) & 0x7FFF_FFFF,
            UInt32(truncatingIfNeeded: id)
        )
    }
}
