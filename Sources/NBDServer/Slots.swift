import Base
import BlockInterface
import NBDProtocol

/// The index of a request of one connection.
struct RequestIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// The index of a piece of a request; the tag of its device requests.
struct PieceIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// A client's request that is under way.
struct RequestSlot: ListedSlot {
    var next = RequestIndex.none
    var request = NBDRequest(type: 0, cookie: 0, offset: 0, length: 0)
    var command = NBDCommand.flush
    /// The first failure.
    var error = NBDError.none
    /// Bytes of the export that pieces have been made of, from `request.offset` on.
    var cut: UInt64 = 0
    /// Pieces that are not over.
    var pieces: UInt32 = 0
    /// A header for all data has been sent, or is about to be: an error cannot be told any more.
    var isHeaderSent = false
}

/// A part of a request: at most 1 MiB of data, or a range without data, or an answer alone.
struct PieceSlot: ListedSlot {
    /// The thing that it waits for.
    enum Phase: BitwiseCopyable {
        /// Its payload has not arrived whole.
        case receiving
        /// To be given to the device, or there.
        case device
        /// The block that the part begins in, or ends in, is being read.
        case readingHead
        case readingTail
        /// All that was completed before, itself included, is made durable.
        case flushing
        /// To be sent, or partly sent.
        case sending
    }

    var next = PieceIndex.none
    var request = RequestIndex.none
    var phase = Phase.device
    var operation = BlockOperation.flush
    var flags: BlockFlags = []
    /// The lock on its range is held, in the mode that it needs.
    var isLocked = false
    /// It changes a part of a block only.
    var isPartial = false
    /// `buffer` is the device's own memory, lent until the piece is sent.
    var isLent = false
    var endsRequest = false
    /// The range in the export that the client asked for, in bytes.
    var offset: UInt64 = 0
    var length: UInt64 = 0
    /// The blocks around it, in bytes.
    var blockOffset: UInt64 = 0
    var blockLength: UInt64 = 0
    /// Memory of `blockLength` bytes, where it has data; and two blocks more where it is partial.
    nonisolated(unsafe) var buffer: UnsafeMutableRawPointer?
    nonisolated(unsafe) var edges: UnsafeMutableRawPointer?
    /// Bytes that the buffers count for.
    var heldBytes = 0
    /// Bytes of header and of data to be sent, and of both together that are sent; or payload received.
    var headerLength = 0
    var dataLength = 0
    var moved = 0

    /// The client's data.
    @inline(__always)
    var data: UnsafeMutableRawPointer? { buffer.map { $0 + Int(offset - blockOffset) } }

    @inline(__always)
    var lockMode: RangeLock.Mode { isPartial ? .exclusive : .shared }

    /// Its range is to be locked: it changes something.
    @inline(__always)
    var needsLock: Bool {
        switch operation {
        case .write, .writeZeroes, .deallocate: blockLength > 0
        default: false
        }
    }
}
