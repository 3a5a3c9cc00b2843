import Base
import BlockInterface

/// One reactor's channel to one namespace's device, with the requests collected since the last submission.
struct ChannelSlot: BitwiseCopyable {
    var channel: Unmanaged<BlockChannel>? = nil
    var pending: UnsafeMutablePointer<BlockRequest>? = nil
    var pendingCount = 0
    /// Requests submitted or pending whose completion has not been seen.
    var running = 0
    var isClosing = false
    /// The device's own memory, and loans that have not ended.
    var memory: UnsafeMutableRawBufferPointer? = nil
    var loans = 0

    /// Nothing needs the channel any more, or will.
    var isOver: Bool { isClosing && running == 0 && loans == 0 }
}

/// The slots of a reactor's channels, in memory that their `BlockSet` allocates, moves and frees.
struct ChannelSlots: BitwiseCopyable {
    private let first: UnsafeMutablePointer<ChannelSlot>

    init(capacity: Int) { first = .allocate(capacity: capacity) }

    /// The same slots with room for more; the former memory is freed.
    func moved(capacity: Int, count: Int) -> ChannelSlots {
        let larger = ChannelSlots(capacity: capacity)
        larger.first.update(from: first, count: count)
        first.deallocate()
        return larger
    }

    func free() { first.deallocate() }

    @inline(__always)
    subscript(index: ChannelIndex) -> ChannelSlot {
        unsafeAddress { UnsafePointer(first + index.offset) }
        nonmutating unsafeMutableAddress { first + index.offset }
    }
}
