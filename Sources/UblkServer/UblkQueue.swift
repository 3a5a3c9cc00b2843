import Base
import BlockInterface
import CLinux
import CUring
import Glibc
import Reactor

/// The queue of a ublk device: gives the requests of the kernel to a block device, on a reactor.
///
///     fetched by the kernel -- unsubmitted (its range may be locked) -- at the device -- answered, and fetched again
///
/// Data is copied by pread and pwrite between the kernel's pages and the queue's memory, which the device registers.
public final class UblkQueue: Poller, @unchecked Sendable {
    // Unchecked: it belongs to its reactor's thread from `begin` on.

    /// Requests at once: a bit of a word for each.
    public static let depth = 64
    /// Bytes of a request with data; the kernel splits longer ones.
    public static let longestRequest = 256 << 10
    /// Bytes of a range that is discarded or zeroed at once.
    public static let longestRange = 1 << 30

    private struct Slot {
        var request = UblkRequest()
        var isLocked = false
    }

    private let descriptor: Int32
    private let ring: UnsafeMutablePointer<io_uring>
    /// Becomes readable when the kernel has a request.
    private let bell: Int32
    private let descriptions: UnsafeMutableRawPointer
    private let memory: UblkMemory
    private let ranges: RangeLock
    private let channel: BlockChannel
    private var slots = [Slot](repeating: Slot(), count: depth)
    /// Bits of requests that the device has not been given.
    private var unsubmitted: UInt64 = 0
    private var running = 0
    private let requests = UnsafeMutablePointer<BlockRequest>.allocate(capacity: depth)
    private let completions = UnsafeMutablePointer<BlockCompletion>.allocate(capacity: depth)
    private var now = MonotonicTime(nanoseconds: 0)
    /// No more requests are begun; hears when none is under way.
    private var whenQuiet: (@Sendable () -> Void)?
    private var isLeaving = false
    private let generation = UInt64.random(in: 1...UInt64.max)

    private static let descriptionBytes = (depth * MemoryLayout<ublksrv_io_desc>.size + 4095) / 4096 * 4096

    /// - Parameters:
    ///   - index: of a device that was added, or whose recovery has begun.
    ///   - ranges: keeps changes of parts of blocks by others apart from its own.
    ///   - memory: of no other queue.
    public init(
        _ index: Int32, device: any BlockDevice, ranges: RangeLock, memory: UblkMemory
    ) throws(TercetError) {
        let opened = try Self.open("/dev/ublkc\(index)")
        do throws(TercetError) { channel = try device.openChannel(depth: Self.depth, for: .ublk) } catch {
            Self.close(opened)
            throw error
        }
        (descriptor, descriptions, bell, ring) = (opened.descriptor, opened.descriptions, opened.bell, opened.ring)
        self.memory = memory
        self.ranges = ranges
        super.init()
    }

    /// The kernel's part of a queue.
    private struct Opened {
        var descriptor: Int32
        var descriptions: UnsafeMutableRawPointer
        var bell: Int32
        var ring: UnsafeMutablePointer<io_uring>
    }

    private static func open(_ path: String) throws(TercetError) -> Opened {
        let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw UblkControl.problem(errno, path) }
        let mapped = mmap(nil, descriptionBytes, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0)
        guard let mapped, mapped != MAP_FAILED else {
            let code = errno
            Glibc.close(descriptor)
            throw UblkControl.problem(code, "the requests of \(path) cannot be mapped")
        }
        let bell = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        var result = io_uring_queue_init(UInt32(depth), ring, 0)
        if result == 0 {
            let opened = Opened(descriptor: descriptor, descriptions: mapped, bell: bell, ring: ring)
            result = io_uring_register_eventfd(ring, bell)
            if result == 0 { return opened }
            io_uring_queue_exit(ring)
        }
        ring.deallocate()
        Glibc.close(bell)
        munmap(mapped, descriptionBytes)
        Glibc.close(descriptor)
        throw UblkControl.problem(-result, "io_uring for \(path)")
    }

    private static func close(_ opened: Opened) {
        io_uring_queue_exit(opened.ring)
        opened.ring.deallocate()
        Glibc.close(opened.bell)
        munmap(opened.descriptions, descriptionBytes)
        Glibc.close(opened.descriptor)
    }

    deinit {
        requests.deallocate()
        completions.deallocate()
    }

    // MARK: Beginning and end

    /// Asks the kernel for requests. On its reactor's thread: the kernel knows the queue by it.
    public func begin() {
        channel.announce(memory.bytes)
        for tag in 0..<Self.depth { prepare(tag, isAnswer: false, result: 0) }
        _ = submitAnswers()
    }

    /// Begins no more requests; the kernel keeps them for the next process. Tells when none is under way.
    public func leave(whenQuiet told: @escaping @Sendable () -> Void) {
        isLeaving = true
        while unsubmitted != 0 { unlock(takeUnsubmitted()) }
        whenQuiet = told
        tellIfQuiet()
    }

    /// Lets the kernel know that nobody serves the device any more, which has been stopped. On the reactor's thread, once it is
    /// removed from the reactor.
    public func end() {
        part()
        Self.close(Opened(descriptor: descriptor, descriptions: descriptions, bell: bell, ring: ring))
    }

    /// Has no more to do with the block device, after `leave`. On the reactor's thread, once it is removed from the reactor.
    ///
    /// The kernel hears of it by the end of that thread and of the process: only so does it keep the requests that it is giving to
    /// the queue at that moment, and lets another process take the device over (seen on Linux 6.12).
    public func part() {
        for tag in 0..<Self.depth { unlock(tag) }
        channel.close()
    }

    private func tellIfQuiet() {
        guard running == 0, let told = whenQuiet else { return }
        whenQuiet = nil
        told()
    }

    // MARK: Rounds

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        var work = takeRequests()
        if unsubmitted != 0 { work += submit() }
        if running > 0 { work += collect() }
        work += submitAnswers()
        return work
    }

    public override var isDearToWake: Bool { false }

    public override var nextDeadline: MonotonicTime {
        // Nothing tells when a range is free, or the kernel takes an answer that it did not take before.
        unsubmitted != 0 || channel.isBlocked || io_uring_sq_ready(ring) > 0
            ? now.advanced(byMilliseconds: 1) : .distantFuture
    }

    public override func prepareToSleep() { if channel.running > 0 { channel.armNotification() } }

    public override func becameReady(_ ready: Int32) {
        if ready == bell {
            var count: UInt64 = 0
            _ = read(bell, &count, 8)
        } else if ready == channel.notificationDescriptor {
            channel.acknowledgeNotification()
        }
    }

    public override var descriptors: [Int32] { [bell, channel.notificationDescriptor] }

    /// One queue may take another's place between two sleeps.
    public override var descriptorGeneration: UInt64 { generation }

    // MARK: Requests

    private func takeRequests() -> Int {
        var taken = 0
        var (tag, result) = (UInt16(0), Int32(0))
        while tercet_uring_take(ring, &tag, &result) != 0 {
            taken += 1
            // Anything else is the end of the device.
            if result == UBLK_IO_RES_OK, !isLeaving { take(Int(tag)) }
        }
        return taken
    }

    /// Reads what the kernel asks for.
    private func take(_ tag: Int) {
        switch UblkRequest.read(descriptions + tag * MemoryLayout<ublksrv_io_desc>.size) {
        case .refuse(let code): return answer(tag, -code)
        case .perform(let request):
            if request.operation == .write, !copy(tag, request, isIncoming: true) { return answer(tag, -EIO) }
            slots[tag] = Slot(request: request)
        }
        unsubmitted |= 1 << UInt64(tag)
    }

    /// Copies the data of a request between the kernel and the queue's memory.
    private func copy(_ tag: Int, _ request: UblkRequest, isIncoming: Bool) -> Bool {
        guard let place = memory.place(tag) else { return false }
        let position = tercet_ublk_position(0, UInt16(tag))
        let length = Int(request.length)
        let moved =
            isIncoming
            ? pread(descriptor, place, length, position) : pwrite(descriptor, place, length, position)
        return moved == length
    }

    private func takeUnsubmitted() -> Int {
        let tag = unsubmitted.trailingZeroBitCount
        unsubmitted &= ~(1 << UInt64(tag))
        return tag
    }

    /// Gives the device the requests whose ranges are free.
    private func submit() -> Int {
        var count = 0
        var left = unsubmitted
        while left != 0 {
            let tag = left.trailingZeroBitCount
            left &= left - 1
            guard lock(tag) else { continue }
            let slot = slots[tag].request
            (requests + count).initialize(
                to: BlockRequest(
                    tag: UInt64(tag), operation: slot.operation, flags: slot.flags, offset: slot.offset,
                    length: slot.length, buffer: slot.hasData ? memory.place(tag) : nil))
            count += 1
        }
        guard count > 0 else { return 0 }
        let taken = channel.submit(UnsafeBufferPointer(start: requests, count: count))
        for place in 0..<taken { unsubmitted &= ~(1 << requests[place].tag) }
        running += taken
        return taken
    }

    private func lock(_ tag: Int) -> Bool {
        let request = slots[tag].request
        guard request.needsLock, !slots[tag].isLocked else { return true }
        slots[tag].isLocked = ranges.tryLock(.shared, offset: request.offset, length: request.length)
        return slots[tag].isLocked
    }

    private func unlock(_ tag: Int) {
        guard slots[tag].isLocked else { return }
        slots[tag].isLocked = false
        ranges.unlock(.shared, offset: slots[tag].request.offset, length: slots[tag].request.length)
    }

    // MARK: Answers

    private func collect() -> Int {
        let count = channel.poll(into: UnsafeMutableBufferPointer(start: completions, count: Self.depth))
        running -= count
        for place in 0..<count {
            let tag = Int(completions[place].tag)
            unlock(tag)
            answer(tag, result(tag, completions[place].status))
        }
        if count > 0 { tellIfQuiet() }
        return count
    }

    /// Bytes that were read, written or cleared; or a negative errno value.
    private func result(_ tag: Int, _ status: BlockStatus) -> Int32 {
        let request = slots[tag].request
        switch status {
        case .success:
            if request.operation == .read, !copy(tag, request, isIncoming: false) { return -EIO }
            return request.hasData ? Int32(request.length) : 0
        case .capacityExceeded: return -ENOSPC
        case .unsupported: return -EOPNOTSUPP
        case .fenced: return -ENOLINK
        case .writeProtected, .outOfRange, .unrecoveredReadError, .writeFault, .compareFailure, .deviceGone,
            .unavailable, .aborted, .internalError:
            return -EIO
        }
    }

    private func answer(_ tag: Int, _ result: Int32) { prepare(tag, isAnswer: true, result: result) }

    private func prepare(_ tag: Int, isAnswer: Bool, result: Int32) {
        // The ring has an entry for each request.
        let isThere = tercet_ublk_io(ring, descriptor, isAnswer ? 1 : 0, 0, UInt16(tag), result)
        invariant(isThere != 0, "a request has one command at a time")
    }

    /// Hands the kernel what is prepared; what it does not take now it is given in the next round.
    private func submitAnswers() -> Int {
        guard io_uring_sq_ready(ring) > 0 else { return 0 }
        return Int(max(0, io_uring_submit(ring)))
    }
}
