import Base
import BlockInterface
import NVMeInitiator
import Replication

/// Takes the ends of a volume's I/O, on the group's thread.
public protocol VolumeIOSink: AnyObject {
    /// I/Os have ended; their buffers are the caller's again. New ones may be submitted from here.
    func completed(_ completions: UnsafeBufferPointer<BlockCompletion>)
}

/// The I/O of one of a volume's users, in the words of block devices: of any length, begun in the order in which it was
/// submitted. A volume may have several users; they take turns where it has as many I/Os as it takes.
///
/// Belongs to the group's thread. Nothing is allocated once it is made.
public final class VolumeIO {
    /// I/Os that may be under way or wait at once.
    public let depth: Int
    /// Memory that `verify` reads into, as long as the longest part; without it that is not supported.
    public var scratch: UnsafeMutableRawPointer?
    /// Hears of the ends. It outlives this, or is taken back before it goes.
    public unowned(unsafe) var sink: (any VolumeIOSink)?
    private unowned(unsafe) let volume: Volume
    private let user: BlockUser
    /// The upper half of the cookies that the engine gets: which of the volume's users.
    private var number: UInt64 = 0
    private let slots: UnsafeMutablePointer<Slot>
    private let free: UnsafeMutablePointer<UInt32>
    private var freeCount: Int
    /// I/Os with parts that have not been submitted, oldest first.
    private let waiting: UnsafeMutablePointer<UInt32>
    private(set) var waitingCount = 0
    /// The ends that `sink` has not heard of: `depth` that the engine brought, `depth` that ended at once, and while it hears
    /// of those, `depth` more that end at once.
    private let ended: UnsafeMutablePointer<BlockCompletion>
    private var endedCount = 0
    /// I/Os that ended without the engine since `sink` heard last.
    private var endedAtOnce = 0

    /// Parts of one I/O that are under way at once: a long one leaves room for others.
    private static let partsAtOnce: UInt32 = 8
    /// The user's number begins at this bit of a cookie.
    static let numberShift: UInt64 = 48

    private struct Slot {
        var request = BlockRequest(tag: 0, operation: .flush)
        var begun = MonotonicTime(nanoseconds: 0)
        /// Bytes submitted.
        var submitted: UInt64 = 0
        /// Parts under way.
        var parts: UInt32 = 0
        /// In the list of those with parts to submit.
        var isWaiting = false
        /// The first failure.
        var status = BlockStatus.success
    }

    private enum Progress { case done, limited, full }

    /// A further user of the volume, of a kind for its counters. On the group's thread, or before the volume is polled.
    public init(_ volume: Volume, depth: Int, user: BlockUser = .program) {
        self.volume = volume
        self.user = user
        volume.load.meet(user)
        self.depth = depth
        slots = .allocate(capacity: depth)
        slots.initialize(repeating: Slot(), count: depth)
        free = .allocate(capacity: depth)
        for index in 0..<depth { free[index] = UInt32(depth - 1 - index) }
        freeCount = depth
        waiting = .allocate(capacity: depth)
        ended = .allocate(capacity: 3 * depth)
        number = volume.add(self)
    }

    deinit {
        slots.deallocate()
        free.deallocate()
        waiting.deallocate()
        ended.deallocate()
    }

    /// I/Os submitted of whose end `sink` has not heard.
    public var running: Int { depth - freeCount + endedCount }

    /// The user is gone: nothing of it is under way.
    public func close() {
        invariant(running == 0, "a user of a volume goes when its I/O has ended")
        volume.remove(number)
    }

    /// Takes an I/O; `false` where `depth` are under way. `request.tag` comes back with its end, and `request.buffer` names
    /// memory as the volume's `HostMemory` says. A compare-and-write is not split: what is longer than a member's command
    /// ends in `outOfRange`.
    @inline(__always)
    public func submit(_ request: BlockRequest) -> Bool {
        guard freeCount > 0 else { return false }
        if let status = refusal(request) {
            guard endedAtOnce < depth else { return false }
            endedAtOnce += 1
            volume.mustLook = true
            tell(BlockCompletion(tag: request.tag, status: status))
            return true
        }
        freeCount -= 1
        let slot = free[freeCount]
        slots[Int(slot)] = Slot(request: request, begun: volume.group.now)
        // Others that wait come first.
        if _fastPath(!volume.hasWaitingUsers), submitParts(of: slot) == .done { return true }
        slots[Int(slot)].isWaiting = true
        waiting[waitingCount] = slot
        waitingCount += 1
        volume.hasWaitingUsers = true
        volume.mustLook = true
        return true
    }

    /// How an I/O ends that the engine need not see; `nil` for any other.
    private func refusal(_ request: BlockRequest) -> BlockStatus? {
        switch request.operation {
        case .flush: return nil
        case .verify where scratch == nil: return .unsupported
        default: break
        }
        let mask = volume.blockMask
        let (end, overflow) = request.offset.addingReportingOverflow(request.length)
        if overflow || (request.offset | request.length) & mask != 0 || end > volume.byteCount { return .outOfRange }
        if request.operation == .compareAndWrite, request.length > volume.longestTransferBytes { return .outOfRange }
        return request.length == 0 ? .success : nil
    }

    // MARK: Parts

    /// Gives the engine parts of the I/Os that wait, in order, as many as it takes. Returns whether any is left.
    func submitWaiting() -> Bool {
        var kept = 0
        var place = 0
        while place < waitingCount {
            let slot = waiting[place]
            let progress = submitParts(of: slot)
            if progress == .full { break }
            place += 1
            if progress == .limited {
                waiting[kept] = slot
                kept += 1
            } else {
                slots[Int(slot)].isWaiting = false
                if slots[Int(slot)].parts == 0 { conclude(slot, slots[Int(slot)].status) }
            }
        }
        if kept < place {
            while place < waitingCount {
                waiting[kept] = waiting[place]
                kept += 1
                place += 1
            }
            waitingCount = kept
        }
        return waitingCount > 0
    }

    private func submitParts(of slot: UInt32) -> Progress {
        let io = slots + Int(slot)
        repeat {
            // After a failure nothing more is submitted.
            guard io.pointee.status == .success else { return .done }
            guard io.pointee.parts < Self.partsAtOnce else { return .limited }
            let length = min(io.pointee.request.length - io.pointee.submitted, volume.longestTransferBytes)
            guard submitPart(io, length, cookie: number << Self.numberShift | UInt64(slot)) else { return .full }
            io.pointee.parts += 1
            io.pointee.submitted += length
        } while io.pointee.submitted < io.pointee.request.length
        return .done
    }

    @inline(__always)
    private func submitPart(_ io: UnsafeMutablePointer<Slot>, _ length: UInt64, cookie: UInt64) -> Bool {
        let (request, offset) = (io.pointee.request, io.pointee.submitted)
        let isVerify = _slowPath(request.operation == .verify)
        return volume.submit(
            HostRequest(
                request.operation, start: (request.offset + offset) >> volume.blockShift,
                count: length >> volume.blockShift,
                buffer: isVerify ? name(scratch) : name(request.buffer) &+ offset,
                replacement: name(request.replacement), cookie: cookie,
                forceUnitAccess: request.flags.contains(.forceUnitAccess)))
    }

    @inline(__always)
    private func name(_ memory: UnsafeMutableRawPointer?) -> UInt64 { UInt64(UInt(bitPattern: memory)) }

    // MARK: Ends

    /// A part has ended.
    @inline(__always)
    func partEnded(_ slot: UInt32, _ status: BlockStatus) {
        let io = slots + Int(slot)
        io.pointee.parts -= 1
        if _slowPath(status != .success), io.pointee.status == .success {
            io.pointee.status = status
        }
        if io.pointee.parts == 0, !io.pointee.isWaiting { conclude(slot, io.pointee.status) }
    }

    private func conclude(_ slot: UInt32, _ status: BlockStatus) {
        let io = slots + Int(slot)
        volume.load.count(
            user, io.pointee.request, status, nanoseconds: volume.group.now.nanoseconds(since: io.pointee.begun))
        tell(BlockCompletion(tag: io.pointee.request.tag, status: status))
        free[freeCount] = slot
        freeCount += 1
    }

    @inline(__always)
    private func tell(_ completion: BlockCompletion) {
        ended[endedCount] = completion
        endedCount += 1
    }

    /// Tells `sink` what has ended; returns how much that was.
    @inline(__always)
    func deliver() -> Int {
        let count = endedCount
        guard count > 0 else { return 0 }
        endedAtOnce = 0
        sink?.completed(UnsafeBufferPointer(start: ended, count: count))
        // I/Os that were submitted meanwhile and have ended at once are behind.
        endedCount -= count
        for place in 0..<endedCount { ended[place] = ended[place + count] }
        return count
    }
}
