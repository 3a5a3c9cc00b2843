import Base
import BlockInterface
import CAIO
import CLinux
import Glibc

/// The queue of one reactor to one `AIODevice`: an AIO context of its own, and everything else allocated when it is
/// opened.
final class AIOChannel: BlockChannel {
    /// Bytes of a piece of `compare` and `verify`; a multiple of every block size.
    static let scratchSize = 128 << 10
    /// Comparisons that run at once; more wait.
    static let scratchCount = 8
    /// Slots that have no scratch memory.
    static let noScratch = UInt8.max

    let device: AIODevice
    let depth: Int
    let blockSize: UInt64
    let ringIsKnown: Bool
    let eventDescriptor: Int32
    let workerQueue: WorkerQueue
    var context: io_context_t?
    var pool: SlotPool<Slot>
    /// One per slot.
    let iocbs: UnsafeMutablePointer<iocb>
    /// Iocbs that the kernel has not taken yet.
    let ready: UnsafeMutablePointer<UnsafeMutablePointer<iocb>?>
    var readyCount = 0
    let events: UnsafeMutablePointer<io_event>
    var inKernel = 0
    var inWorker = 0
    /// Slots whose completion has not been polled.
    var ended: IndexRing
    /// Comparisons that wait for scratch memory.
    var waiting: IndexRing
    /// `scratchCount` pieces, and one more that all verifications read into, since nobody looks at it.
    let scratch: UnsafeMutableRawPointer
    /// Bit n is set while piece n is free.
    var freeScratch: UInt8 = .max

    /// One operation.
    struct Slot: BitwiseCopyable {
        var request: BlockRequest
        /// Bytes of the request that are done.
        var done: UInt64
        var place: Place
        var status: BlockStatus
        var scratch: UInt8
    }

    /// Where a slot's operation is.
    enum Place: UInt8, BitwiseCopyable {
        case free, ready, kernel, worker, waitingForScratch, ended
    }

    init(device: AIODevice, depth: Int) throws(BlockDeviceError) {
        guard depth >= 1 && depth <= 32768 else {
            throw BlockDeviceError("\(device.name): a queue depth of \(depth) is not possible; 1 to 32768 is")
        }
        self.device = device
        self.depth = depth
        blockSize = UInt64(device.fixedGeometry.blockSize)
        var context: io_context_t?
        let result = io_setup(Int32(depth), &context)
        guard result == 0, let context else { throw Self.setupError(device.name, -result, depth) }
        self.context = context
        ringIsKnown =
            tercet_aio_ring_is_known(context) != 0 && !device.options.detours.contains(.systemCallForCompletions)
        eventDescriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        let size = (Self.scratchCount + 1) * Self.scratchSize
        let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard eventDescriptor >= 0, let memory, memory != MAP_FAILED else {
            let reason = String(cString: strerror(errno))
            io_destroy(context)
            if eventDescriptor >= 0 { Glibc.close(eventDescriptor) }
            throw BlockDeviceError("\(device.name): a channel could not be opened: \(reason)")
        }
        scratch = memory
        let empty = Slot(
            request: BlockRequest(tag: 0, operation: .flush), done: 0, place: .free, status: .success,
            scratch: Self.noScratch)
        pool = SlotPool(capacity: depth, initial: empty)
        iocbs = .allocate(capacity: depth)
        ready = .allocate(capacity: depth)
        ready.initialize(repeating: nil, count: depth)
        events = .allocate(capacity: depth)
        ended = IndexRing(capacity: depth)
        waiting = IndexRing(capacity: depth)
        workerQueue = WorkerQueue(depth: depth, eventDescriptor: eventDescriptor)
        super.init()
        device.worker.add(workerQueue)
    }

    deinit {
        close()
        iocbs.deallocate()
        ready.deallocate()
        events.deallocate()
        munmap(scratch, (Self.scratchCount + 1) * Self.scratchSize)
        Glibc.close(eventDescriptor)
    }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { begin(requests) }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        pool.available == depth ? 0 : collect(into: completions)
    }

    override func cancel(tag: UInt64) -> Bool { withdraw(tag: tag) }

    override var running: Int { depth - pool.available }

    override var notificationDescriptor: Int32 { eventDescriptor }

    override func armNotification() {
        acknowledgeNotification()
        // The kernel had no room: nothing may be under way that would wake the reactor up, so it must try again soon.
        if readyCount > 0 { signal() }
    }

    override func acknowledgeNotification() {
        var count: UInt64 = 0
        _ = read(eventDescriptor, &count, 8)
    }

    override func close() {
        guard let context else { return }
        if inKernel > 0 {
            // Waits for what the kernel has under way, so that no memory is written to afterwards.
            io_destroy(context)
        } else {
            // Takes the kernel some 20 ms even so, which a reactor has not.
            device.worker.destroy(context)
        }
        self.context = nil
        device.worker.remove(workerQueue)
    }

    /// Makes the notification descriptor readable.
    func signal() {
        var one: UInt64 = 1
        _ = write(eventDescriptor, &one, 8)
    }

    private static func setupError(_ name: String, _ code: Int32, _ depth: Int) -> BlockDeviceError {
        let reason = String(cString: strerror(code))
        guard code == EAGAIN else {
            return BlockDeviceError("\(name): asynchronous I/O is not available: \(reason)")
        }
        return BlockDeviceError(
            "\(name): the system has no room for \(depth) more asynchronous operations; raise /proc/sys/fs/aio-max-nr")
    }
}
