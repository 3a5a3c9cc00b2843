import Base
import FabricInterface
import NVMeSpec

/// The life of a queue pair at the target.
enum QueuePairState: UInt8, BitwiseCopyable {
    case free
    /// Accepted; the connection manager has not reported ESTABLISHED. Capsules may arrive already and are kept.
    case accepted
    /// Messages flow.
    case live
    /// In the error state: no answer is sent, requests end as their work ends.
    case closing

    /// The one place where a queue pair changes its state.
    mutating func move(to next: QueuePairState) {
        switch (self, next) {
        case (.free, .accepted), (.accepted, .live), (.accepted, .closing), (.live, .closing), (.closing, .free):
            self = next
        default: invariantViolated("a queue pair makes only the listed transitions")
        }
    }
}

/// What a queue pair carries; decided by its Connect command.
enum QueueRole: UInt8, BitwiseCopyable {
    case unconnected
    case admin
    case io
}

/// One queue pair of a device group. Plain data.
struct QueuePairSlot: BitwiseCopyable {
    var state = QueuePairState.free
    var role = QueueRole.unconnected
    /// Raised each time the slot is used anew: a late message for its former owner is recognised.
    var generation: UInt32 = 0
    var handle = QueuePairHandle(index: 0)
    var connection = ConnectionHandle(value: 0)
    /// As the RDMA CM private data said; Connect must say the same.
    var queueID: UInt16 = 0
    /// Entries of the host's submission queue, and so the commands it may have unanswered; 1-based.
    var entries: UInt32 = 0
    var sqHead: UInt16 = 0
    var flowControlDisabled = false
    /// How the SEND of an answer is posted: inline where the device takes as many bytes, so that it does not have to fetch
    /// them.
    var answerFlags = WorkFlags.answer
    /// SEND carries the command's key to be invalidated.
    var remoteInvalidate = false
    /// Commands received and not answered.
    var unanswered: UInt32 = 0
    /// Requests that refer to this slot.
    var requests: UInt32 = 0
    /// Free entries of the send queue.
    var sendsAvailable: Int32 = 0
    /// When it was accepted, or last had a Connect that was held: a host that never sends Connect is not waited for.
    var awaitsConnectSince = MonotonicTime(nanoseconds: 0)
    /// Entries of the send queue.
    var sendEntries: Int32 = 0
    /// Counts ended work of the send queue, with what it was and when at the last look: a host that takes no answers is
    /// not waited for.
    var endedWork: UInt32 = 0
    var endedWorkSeen: UInt32 = 0
    var lastProgress = MonotonicTime(nanoseconds: 0)
    /// READs that may still be started.
    var readsAvailable: Int32 = 0
    var readDepth: Int32 = 0
    /// Requests in `awaitingRead`, and in `awaitingSend`.
    var awaitingRead = RequestList()
    var awaitingSend = RequestList()
    /// Capsules that came before ESTABLISHED.
    var early = RequestList()
    /// The first half of a fused operation, which waits for the second.
    var firstHalf = noSlot
    /// The controller's place in the poll group's table, once connected.
    var controller = noSlot
    /// The subsystem's namespaces as this reactor sees them.
    var namespaces: UnsafeMutablePointer<NamespaceSlot>? = nil
    var namespaceCount: UInt32 = 0
    /// The subsystem's counters of this reactor.
    var statistics: UnsafeMutablePointer<Statistics>? = nil
    /// The host's bit in `NamespaceSlot.readers` and `writers`.
    var hostBit: UInt64 = 0
    /// Commands since the controller was last told that the host is alive.
    var commandsSinceReport: UInt32 = 0
    var closingSince = MonotonicTime(nanoseconds: 0)
    /// Closing, and destroyed before its work had completed: its handle may be another's.
    var isDestroyed = false
    /// Closing, and its last request has ended.
    var isDrained = false
}

/// A namespace as one reactor sees it.
struct NamespaceSlot: BitwiseCopyable {
    var isPresent = false
    var isReadOnly = false
    var blockShift: UInt8 = 9
    /// Another one each time a namespace is opened in this place, or its block size changes: a command for what was here
    /// before is recognised. 0 where there is no namespace.
    var generation: UInt32 = 0
    /// The device lends its own memory.
    var lends = false
    /// Place of the reactor's channel to the device; `noSlot` where there is none.
    var channel = noSlot
    var blockCount: UInt64 = 0
    /// Which hosts the reservation lets read, and write: a bit a host.
    var readers = UInt64.max
    var writers = UInt64.max
    /// What the state of the namespace's ANA group answers to I/O; success where it lets it through.
    var access = Status.success
    /// The most that a Compare and Write may cover, in bytes.
    var compareAndWriteBytes: UInt32 = 512
    /// Alignment that the device wants of memory.
    var memoryAlignment: UInt32 = 512
}
