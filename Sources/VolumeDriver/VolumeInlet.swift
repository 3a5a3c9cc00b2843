import Base
import BlockInterface
import Reactor
import Synchronization

/// The volume's side of a channel that another reactor uses: takes requests out of one ring and puts their ends into
/// another. What is in no registered memory is copied through memory of the volume.
final class VolumeInlet: VolumeIOSink, @unchecked Sendable {
    // Unchecked: the rings and the flag are for two threads; the rest belongs to the volume's.

    /// Written by the channel, read here; and the other way round.
    let requests: Ring<BlockRequest>
    let completions: Ring<BlockCompletion>
    /// Wakes the channel's reactor.
    let bell = Doorbell()
    /// The channel is closed: nothing of it is under way.
    let isClosed = Atomic<Bool>(false)
    // All that follows belongs to the volume's thread.
    private let depth: Int
    private let user: BlockUser
    private var io: VolumeIO?
    private unowned(unsafe) var volume: Volume?
    private var memory: VolumeMemory?
    private let slots: UnsafeMutablePointer<Slot>
    private let free: UnsafeMutablePointer<UInt32>
    private var freeCount: Int
    /// Writes since the last flush. Only a broken variant looks.
    private var isUnflushed = false
    /// A request that the gate did not let through, or for which there was no memory to copy it through.
    private var stalled: BlockRequest?
    private var announced: [UnsafeMutableRawBufferPointer] = []
    private let copied = Atomic<UInt64>(0)

    /// A request that is under way.
    private struct Slot {
        var request = BlockRequest(tag: 0, operation: .flush)
        /// Memory that its data is copied through.
        var copy: UnsafeMutableRawPointer?
        var isRunning = false
    }

    init(depth: Int, user: BlockUser) {
        self.depth = depth
        self.user = user
        requests = Ring(capacity: depth)
        completions = Ring(capacity: depth)
        slots = .allocate(capacity: depth)
        slots.initialize(repeating: Slot(), count: depth)
        free = .allocate(capacity: depth)
        for index in 0..<depth { free[index] = UInt32(depth - 1 - index) }
        freeCount = depth
    }

    deinit {
        slots.deallocate()
        free.deallocate()
    }

    /// I/Os whose data had to be copied. From any thread.
    var copiedCount: UInt64 { copied.load(ordering: .relaxed) }

    // MARK: The volume's thread

    /// - Parameter scratch: what a verify reads into.
    func open(on volume: Volume, scratch: UnsafeMutableRawPointer?) {
        let io = VolumeIO(volume, depth: depth, user: user)
        io.scratch = scratch
        io.sink = self
        self.io = io
        self.volume = volume
        memory = volume.memory
    }

    func announce(_ area: UnsafeMutableRawBufferPointer) {
        announced.append(area)
        memory?.announce(area)
    }

    /// The channel is closed, and nothing of it is under way.
    var isOver: Bool { isClosed.load(ordering: .acquiring) && freeCount == depth && stalled == nil }

    /// The channel is gone.
    func close() {
        for area in announced { memory?.withdraw(area) }
        announced = []
        io?.sink = nil
        io?.close()
        io = nil
        volume = nil
    }

    /// Requests have arrived, and the volume's gate lets none through now.
    private(set) var isHeld = false

    /// Gives the volume what has arrived, as much as its gate lets through; returns how much that was.
    func collect() -> Int {
        guard let volume else { return 0 }
        var taken = 0
        isHeld = false
        while freeCount > 0, let request = stalled ?? requests.pop() {
            isHeld = !volume.door.gate.isOpen(volume.now)
            guard !isHeld, begin(request, volume) else {
                stalled = request
                break
            }
            stalled = nil
            taken += 1
        }
        return taken
    }

    /// Whether data is on its way to a range.
    func isWriting(_ request: BlockRequest) -> Bool {
        let range = request.offset..<request.offset + request.length
        for slot in 0..<depth where slots[slot].isRunning && slots[slot].request.operation.writesData {
            let other = slots[slot].request
            if range.overlaps(other.offset..<other.offset + other.length) { return true }
        }
        return false
    }

    /// `false` where there is no memory to copy the data through.
    private func begin(_ request: BlockRequest, _ volume: Volume) -> Bool {
        guard let io, let memory else { return false }
        if _slowPath(volume.options.deliberateDefect == .flushOfOneChannel), isFlushedByItself(request) { return true }
        var passed = request
        var copy: UnsafeMutableRawPointer?
        if let buffer = request.buffer, request.operation.usesData, request.length > 0,
            _slowPath(!isRegistered(request, buffer, memory))
        {
            guard let found = copyThrough(&passed, memory) else {
                // One that no memory is large enough for would wait for ever.
                guard Int(clamping: request.length) <= Self.longestCopy else {
                    end(BlockCompletion(tag: request.tag, status: .unsupported))
                    bell.ring()
                    return true
                }
                return false
            }
            copy = found
        }
        freeCount -= 1
        let slot = free[freeCount]
        slots[Int(slot)] = Slot(request: request, copy: copy, isRunning: true)
        passed.tag = UInt64(slot)
        volume.door.gate.begin(request, volume.now)
        if let known = volume.door.known { note(request, tag: UInt64(slot), known, volume) }
        invariant(io.submit(passed), "a channel has no more under way than its depth")
        return true
    }

    /// Whether a flush ends at once, because the channel has written nothing itself. A broken variant.
    private func isFlushedByItself(_ request: BlockRequest) -> Bool {
        guard request.operation == .flush else {
            isUnflushed = isUnflushed || request.operation.changes
            return false
        }
        defer { isUnflushed = false }
        guard !isUnflushed else { return false }
        end(BlockCompletion(tag: request.tag, status: .success))
        bell.ring()
        return true
    }

    @inline(__always)
    private func isRegistered(
        _ request: BlockRequest, _ buffer: UnsafeMutableRawPointer, _ memory: VolumeMemory
    ) -> Bool {
        let length = Int(clamping: request.length)
        guard memory.holds(buffer, length) else { return false }
        guard request.operation == .compareAndWrite, let replacement = request.replacement else { return true }
        return memory.holds(replacement, length)
    }

    /// The longest I/O whose data is copied.
    private static let longestCopy = 8 << 20

    /// Has a request use memory of the volume in place of its own; `nil` where none is free.
    private func copyThrough(_ request: inout BlockRequest, _ memory: VolumeMemory) -> UnsafeMutableRawPointer? {
        guard let buffer = request.buffer, request.length <= UInt64(Self.longestCopy) else { return nil }
        let length = Int(request.length)
        let isPair = request.operation == .compareAndWrite
        guard let copy = memory.allocate(isPair ? 2 * length : length) else { return nil }
        if request.operation != .read { copy.copyMemory(from: buffer, byteCount: length) }
        if isPair, let replacement = request.replacement {
            (copy + length).copyMemory(from: replacement, byteCount: length)
            request.replacement = copy + length
        }
        request.buffer = copy
        copied.add(1, ordering: .relaxed)
        return copy
    }

    @inline(__always)
    private func note(_ request: BlockRequest, tag: UInt64, _ known: KnownContents, _ volume: Volume) {
        guard request.operation.changes, request.contains(within: volume.byteCount) else { return }
        known.begin(request)
        if _slowPath(!request.operation.writesData) {
            known.beginZeroing(
                request, tag: tag, owner: ObjectIdentifier(self), isContended: volume.door.isBeingWritten(request))
        }
    }

    func completed(_ ended: UnsafeBufferPointer<BlockCompletion>) {
        for completion in ended {
            let slot = slots + Int(completion.tag)
            let request = slot.pointee.request
            if let copy = slot.pointee.copy {
                if request.operation == .read, completion.status == .success, let buffer = request.buffer {
                    buffer.copyMemory(from: copy, byteCount: Int(request.length))
                }
                memory?.free(copy)
            }
            if let volume {
                volume.door.gate.end(request)
                if _slowPath(request.operation.changes && !request.operation.writesData) {
                    volume.door.known?.endZeroing(
                        tag: completion.tag, owner: ObjectIdentifier(self), isDone: completion.status == .success)
                }
            }
            slot.pointee.isRunning = false
            free[freeCount] = UInt32(truncatingIfNeeded: completion.tag)
            freeCount += 1
            end(BlockCompletion(tag: request.tag, status: completion.status))
        }
        bell.ring()
    }

    private func end(_ completion: BlockCompletion) {
        invariant(completions.push(completion), "a channel has no more under way than its depth")
    }
}

extension BlockOperation {
    /// It has a buffer.
    @inline(__always) var usesData: Bool {
        switch self {
        case .read, .write, .compare, .compareAndWrite: true
        case .flush, .writeZeroes, .deallocate, .verify: false
        }
    }

    /// It changes the device's contents.
    @inline(__always) var changes: Bool {
        switch self {
        case .write, .compareAndWrite, .writeZeroes, .deallocate: true
        case .read, .flush, .compare, .verify: false
        }
    }

    /// It brings data to the device.
    @inline(__always) var writesData: Bool { self == .write || self == .compareAndWrite }
}

extension BlockRequest {
    /// It is a range of a device of so many bytes, and not an empty one.
    @inline(__always)
    fileprivate func contains(within byteCount: UInt64) -> Bool {
        let (end, overflow) = offset.addingReportingOverflow(length)
        return !overflow && length > 0 && end <= byteCount
    }
}
