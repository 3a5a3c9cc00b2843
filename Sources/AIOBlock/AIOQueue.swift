import Base
import BlockInterface
import CAIO
import CLinux
import Glibc
import SystemPackage

/// An operation of a channel.
struct OperationIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// An AIO context with the operations that are on their way, all of it allocated at once.
///
/// A struct and not part of `AIOChannel`, because each access to a variable of an object is checked at run time, which
/// took more than half of the instructions of an operation.
struct AIOQueue: ~Copyable {
    /// Bytes of a piece of `compare` and `verify`; a multiple of every block size.
    static let scratchSize = 128 << 10
    /// Comparisons that run at once; more wait.
    static let scratchCount = 8
    /// Slots that have no scratch memory.
    static let noScratch = UInt8.max

    let device: AIODevice
    let descriptor: Int32
    let isReadOnly: Bool
    let maximumTransfer: UInt64
    let depth: Int
    let blockSize: UInt64
    let ringIsKnown: Bool
    let eventDescriptor: Int32
    let workerQueue: WorkerQueue
    var context: io_context_t?
    var slots: SlotTable<OperationIndex, Slot>
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
    /// Changes that wait for a comparison and write of their range to end, or the other way round.
    var blocked: IndexRing
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
        /// A part of `AIODevice.changes` is held.
        var holdsRange = false
        /// Of a comparison and write: it was equal.
        var isEqual = false

        /// The present step of an operation that consists of several.
        var step: BlockOperation {
            guard request.operation == .compareAndWrite else { return request.operation }
            return isEqual ? .write : .compare
        }
    }

    /// The place of a slot's operation.
    enum Place: UInt8, BitwiseCopyable {
        case free, ready, kernel, worker, waitingForScratch, waitingForRange, ended
    }

    /// Resources of the system, which may refuse them.
    struct Resources {
        var context: io_context_t
        var eventDescriptor: Int32
        var scratch: UnsafeMutableRawPointer
    }

    static func resources(for name: String, depth: Int) throws(TercetError) -> Resources {
        guard depth >= 1 && depth <= 32768 else {
            throw TercetError(.invalid, "\(name): a queue depth of \(depth) is not possible; 1 to 32768 is")
        }
        var context: io_context_t?
        let result = io_setup(Int32(depth), &context)
        guard result == 0, let context else { throw setupError(name, -result, depth) }
        let eventDescriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        let size = (scratchCount + 1) * scratchSize
        let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard eventDescriptor >= 0, let memory, memory != MAP_FAILED else {
            let reason = Errno(rawValue: errno).description
            io_destroy(context)
            if eventDescriptor >= 0 { Glibc.close(eventDescriptor) }
            throw TercetError(.exhausted, "\(name): a channel could not be opened: \(reason)")
        }
        return Resources(context: context, eventDescriptor: eventDescriptor, scratch: memory)
    }

    init(device: AIODevice, depth: Int, resources: Resources) {
        self.device = device
        self.depth = depth
        descriptor = device.descriptor
        isReadOnly = device.options.readOnly
        maximumTransfer = UInt64(device.options.maximumTransfer)
        blockSize = UInt64(device.fixedGeometry.blockSize)
        context = resources.context
        eventDescriptor = resources.eventDescriptor
        scratch = resources.scratch
        ringIsKnown =
            tercet_aio_ring_is_known(resources.context) != 0
            && !device.options.detours.contains(.systemCallForCompletions)
        let empty = Slot(
            request: BlockRequest(tag: 0, operation: .flush), done: 0, place: .free, status: .success,
            scratch: Self.noScratch)
        slots = SlotTable(capacity: depth, initial: empty)
        iocbs = .allocate(capacity: depth)
        ready = .allocate(capacity: depth)
        ready.initialize(repeating: nil, count: depth)
        events = .allocate(capacity: depth)
        ended = IndexRing(capacity: depth)
        waiting = IndexRing(capacity: depth)
        blocked = IndexRing(capacity: depth)
        workerQueue = WorkerQueue(depth: depth, eventDescriptor: eventDescriptor)
        device.worker.add(workerQueue)
    }

    deinit {
        releaseContext()
        iocbs.deallocate()
        ready.deallocate()
        events.deallocate()
        munmap(scratch, (Self.scratchCount + 1) * Self.scratchSize)
        Glibc.close(eventDescriptor)
    }

    var running: Int { depth - slots.available }

    /// Makes the event descriptor unreadable until the next completion.
    func acknowledge() {
        var count: UInt64 = 0
        _ = read(eventDescriptor, &count, 8)
    }

    /// Makes the event descriptor readable.
    func signal() {
        var one: UInt64 = 1
        _ = write(eventDescriptor, &one, 8)
    }

    mutating func close() {
        releaseContext()
        context = nil
    }

    private func releaseContext() {
        guard let context else { return }
        if inKernel > 0 {
            // Waits for what the kernel has under way, so that no memory is written to afterwards.
            io_destroy(context)
        } else {
            // Takes the kernel some 20 ms even so, which a reactor has not.
            device.worker.destroy(context)
        }
        device.worker.remove(workerQueue)
    }

    private static func setupError(_ name: String, _ code: Int32, _ depth: Int) -> TercetError {
        let reason = Errno(rawValue: code).description
        guard code == EAGAIN else {
            return TercetError(TercetError.Code(errno: code), "\(name): asynchronous I/O is not available: \(reason)")
        }
        return TercetError(
            .exhausted,
            "\(name): the system has no room for \(depth) more asynchronous operations; raise /proc/sys/fs/aio-max-nr")
    }
}
