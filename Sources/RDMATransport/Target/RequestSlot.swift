import Base
import FabricInterface
import Memory
import TargetTransport

/// The port's work for a request.
enum RequestWork: UInt8, BitwiseCopyable {
    case none
    /// Waits for READ depth or for send queue entries to fetch.
    case awaitingRead
    /// RDMA READs are running.
    case reading
    /// Waits for send queue entries to answer.
    case awaitingSend
    /// The answer is posted.
    case sending
    /// The connection ended before the fetch, or before the answer left: to be reported.
    case lostFetch
    case lostAnswer
}

/// A request as the port knows it, at the engine's index. Plain data.
struct RequestSlot: ListedSlot {
    var work = RequestWork.none
    /// The order has waited for room.
    var hasWaited = false
    /// The piece of the host's memory to fetch next.
    var nextPiece: UInt8 = 0
    /// READ depth and send queue entries that the request holds.
    var heldReads: UInt16 = 0
    var heldSends: UInt16 = 0
    var connection = ConnectionIndex.none
    var next = RequestIndex.none
    /// The registration of the memory that the request was lent.
    var loan: Registration? = nil
    /// The order, while it is not carried out in one go.
    var order: PendingOrder = .none

    enum PendingOrder: BitwiseCopyable {
        case none
        case fetch(Fetch)
        case answer(Answer)
    }
}

/// The purpose of a work request: the upper half of its identifier. The lower half is a slot.
enum WorkKind: UInt8 {
    case receive
    case read
    case answer
    case unsignaled

    @inline(__always)
    init(id: UInt64) { self = WorkKind(rawValue: UInt8(truncatingIfNeeded: id >> 32) & 3).unsafelyUnwrapped }

    @inline(__always)
    func id(_ slot: some SlotIndex) -> UInt64 { UInt64(rawValue) << 32 | UInt64(slot.position) }
}
