import Base
import BlockInterface
import Glibc

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

/// The slots of a reactor's channels, in memory that their `BlockSet` allocates, enlarges and frees.
struct ChannelSlots: BitwiseCopyable {
    private let first: UnsafeMutablePointer<ChannelSlot>

    init(capacity: Int) { self.init(realloc(nil, Self.bytes(capacity))) }

    private init(_ memory: UnsafeMutableRawPointer?) {
        guard let memory else { invariantViolated("there is memory for a table of channels") }
        first = memory.assumingMemoryBound(to: ChannelSlot.self)
    }

    /// The same slots with room for more, in the place of the former. Large memory keeps its pages: to copy many thousands of slots
    /// would take longer than a round may.
    func enlarged(to capacity: Int) -> ChannelSlots { ChannelSlots(realloc(first, Self.bytes(capacity))) }

    func deallocate() { free(first) }

    private static func bytes(_ capacity: Int) -> Int { max(1, capacity) * MemoryLayout<ChannelSlot>.stride }

    @inline(__always)
    subscript(index: ChannelIndex) -> ChannelSlot {
        unsafeAddress { UnsafePointer(first + index.offset) }
        nonmutating unsafeMutableAddress { first + index.offset }
    }
}
