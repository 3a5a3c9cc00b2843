import Base
import BlockInterface
import CLinux
import Glibc
import SystemPackage

/// The queue of one reactor to a device in memory.
final class MemoryChannel: BlockChannel {
    // Unchecked: one thread uses the channel, and no method of the queue calls anything that leads back here.
    @exclusivity(unchecked) private var queue: MemoryQueue

    /// Readable while there is work left and the reactor is about to sleep: the work is done by `poll` alone.
    private let eventDescriptor: Int32
    private var isReadable = false

    /// - Parameter ram: `nil` for a null device.
    init(ram: RAMDevice?, geometry: BlockGeometry, depth: Int, name: String) throws(TercetError) {
        guard depth >= 1 && depth <= 32768 else {
            throw TercetError(.invalid, "\(name): a queue depth of \(depth) is not possible; 1 to 32768 is")
        }
        eventDescriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        guard eventDescriptor >= 0 else {
            throw TercetError(.exhausted, "\(name): a channel could not be opened: \(Errno(rawValue: errno))")
        }
        queue = MemoryQueue(ram: ram, geometry: geometry, depth: depth)
        super.init()
    }

    deinit { Glibc.close(eventDescriptor) }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { queue.submit(requests) }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        queue.poll(into: completions)
    }

    override var running: Int { queue.count + queue.blockedCount }

    override var isBlocked: Bool { queue.blockedCount > 0 }

    override var notificationDescriptor: Int32 { eventDescriptor }

    override func armNotification() {
        if queue.count == 0 { return acknowledgeNotification() }
        if isReadable { return }
        isReadable = true
        var one: UInt64 = 1
        _ = write(eventDescriptor, &one, 8)
    }

    override func acknowledgeNotification() {
        guard isReadable else { return }
        isReadable = false
        var count: UInt64 = 0
        _ = read(eventDescriptor, &count, 8)
    }

    override func borrow(offset: UInt64, length: UInt64) -> LentMemory? { queue.borrow(offset: offset, length: length) }

    override func giveBack(_ start: UnsafeMutableRawPointer, length: UInt64) { queue.giveBack(start, length: length) }

    override func isWanted(_ start: UnsafeMutableRawPointer, length: UInt64) -> Bool {
        queue.isWanted(start, length: length)
    }

    override func cancel(tag: UInt64) -> Bool { queue.cancel(tag: tag) }
}
