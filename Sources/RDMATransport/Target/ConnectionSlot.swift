import Base
import FabricInterface
import NVMeSpec
import TargetTransport

/// The life of a queue pair at the target.
enum ConnectionState: UInt8, BitwiseCopyable {
    case free
    /// Accepted; the connection manager has not reported ESTABLISHED. Capsules may arrive already and are kept.
    case accepted
    /// Messages flow.
    case live
    /// In the error state: nothing is posted, and what was posted ends.
    case closing

    /// The one place where a connection changes its state.
    mutating func move(to next: ConnectionState) {
        switch (self, next) {
        case (.free, .accepted), (.accepted, .live), (.accepted, .closing), (.live, .closing), (.closing, .free):
            self = next
        default: invariantViolated("a connection makes only the listed transitions")
        }
    }
}

/// One queue pair of a port. Plain data.
struct ConnectionSlot: BitwiseCopyable {
    var state = ConnectionState.free
    var handle = QueuePairHandle(index: 0)
    var connection = ConnectionHandle(value: 0)
    /// How the SEND of an answer is posted: inline where the device takes as many bytes, so that it does not have to fetch
    /// them.
    var answerFlags = WorkFlags.answer
    /// SEND carries the command's key to be invalidated.
    var invalidatesKeys = false
    /// Entries of the send queue, and READs, that may still be posted.
    var sendsAvailable: Int32 = 0
    var readsAvailable: Int32 = 0
    var progress = SendProgress()
    /// Requests that wait for READ depth, and for send queue entries.
    var awaitingRead = SlotList<RequestSlot>()
    var awaitingSend = SlotList<RequestSlot>()
    /// Capsules that came before ESTABLISHED.
    var early = SlotList<ReceiveSlot>()
    /// Requests whose work is posted.
    var postedRequests: UInt32 = 0
    /// When it was accepted, or began to close.
    var since = MonotonicTime(nanoseconds: 0)
    /// The engine has been told that it failed.
    var isReported = false
    /// Closing, and the engine has no request of it any more.
    var isReleased = false
    /// Closing, and destroyed before its work had completed: its handle may be another's.
    var isDestroyed = false
}

/// Whether posted work moves: a host that takes no answers is not waited for.
struct SendProgress: BitwiseCopyable {
    /// Entries of the send queue.
    private let entries: Int32
    /// Counts ended work; with what it was, and when, at the last look.
    private var ended: UInt32 = 0
    private var endedSeen: UInt32 = 0
    private var lastMove = MonotonicTime(nanoseconds: 0)

    init(entries: Int32 = 0, now: MonotonicTime = MonotonicTime(nanoseconds: 0)) {
        self.entries = entries
        lastMove = now
    }

    @inline(__always)
    mutating func workEnded() { ended &+= 1 }

    /// Whether posted work has not moved for so long that its host cannot be waited for any more.
    mutating func isStalled(available: Int32, now: MonotonicTime) -> Bool {
        if ended != endedSeen || available == entries {
            endedSeen = ended
            lastMove = now
            return false
        }
        return now >= lastMove.advanced(byMilliseconds: Limits.stalledMilliseconds)
    }
}

/// The receive buffer of a capsule, while it waits for its connection.
struct ReceiveSlot: ListedSlot {
    var next = CapsuleIndex.none
    var connection = ConnectionIndex.none
    var byteCount: UInt32 = 0
}

extension WorkFlags {
    /// Those of the SEND that carries an answer. Not a literal of two, which allocates in unoptimised builds.
    static var answer: WorkFlags {
        WorkFlags(rawValue: WorkFlags.signaled.rawValue | WorkFlags.solicited.rawValue)
    }
}
