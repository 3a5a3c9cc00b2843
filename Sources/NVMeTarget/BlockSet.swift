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
    /// The device's own memory, which the channel lends; and loans that have not ended.
    var memory: UnsafeMutableRawBufferPointer? = nil
    var loans = 0

    /// Nothing needs the channel any more, or will.
    var isOver: Bool { isClosing && running == 0 && loans == 0 }
}

/// The channels of one reactor.
///
/// Requests are collected during a poll and submitted once. Plain slots, so that the I/O path touches no reference
/// count; a channel itself is called once per batch.
final class BlockSet {
    private(set) var slots: UnsafeMutablePointer<ChannelSlot>
    private(set) var count = 0
    private var capacity = 0
    private let completions: UnsafeMutableBufferPointer<BlockCompletion>
    /// Raised when channels come or go: the reactor watches their descriptors.
    private(set) var generation: UInt64 = 0
    /// The memory that requests' buffers lie in.
    private var announced: [UnsafeMutableRawBufferPointer] = []
    /// Told before a device's own memory may be unmapped.
    var beforeUnmapping: ((UnsafeMutableRawBufferPointer) -> Void)?

    init() {
        slots = .allocate(capacity: 0)
        completions = .allocate(capacity: Limits.completionBatch)
    }

    deinit {
        beforeUnmapping = nil
        for index in 0..<count { release(index) }
        slots.deallocate()
        completions.deallocate()
    }

    /// Adds a channel and returns its place.
    ///
    /// - Parameter memory: the device's own.
    func add(_ channel: BlockChannel, memory: UnsafeMutableRawBufferPointer? = nil) -> ChannelIndex {
        generation += 1
        for area in announced { channel.announce(area) }
        var slot = ChannelSlot()
        slot.channel = .passRetained(channel)
        slot.pending = .allocate(capacity: Limits.blockDepth)
        slot.memory = memory
        for index in 0..<count where slots[index].channel == nil {
            slots[index] = slot
            return ChannelIndex(position: UInt32(index))
        }
        if count == capacity { grow() }
        slots[count] = slot
        count += 1
        return ChannelIndex(position: UInt32(count - 1))
    }

    /// Tells all channels, and those to come, that buffers will lie in this memory, which outlives them.
    func announce(_ areas: [UnsafeMutableRawBufferPointer]) {
        announced += areas
        for index in 0..<count {
            for area in areas { slots[index].channel?.takeUnretainedValue().announce(area) }
        }
    }

    /// Takes no new requests for a channel and frees it when its running ones have ended.
    func remove(_ index: ChannelIndex) {
        slots[index.offset].isClosing = true
        if slots[index.offset].isOver { release(index.offset) }
    }

    /// Borrows a range of the device's own memory. Returns where it is, and the memory around it that may be registered.
    @inline(__always)
    func borrow(
        offset: UInt64, length: UInt64, on index: ChannelIndex
    ) -> (memory: UnsafeMutableRawPointer, surroundings: UnsafeMutableRawBufferPointer)? {
        let slot = slots + index.offset
        guard let start = slot.pointee.memory?.baseAddress, let channel = slot.pointee.channel,
            let surroundings = channel._withUnsafeGuaranteedRef({ $0.borrow(offset: offset, length: length) })
        else { return nil }
        slot.pointee.loans += 1
        return (start + Int(offset), surroundings)
    }

    /// Ends a loan.
    @inline(__always)
    func giveBack(_ memory: UnsafeMutableRawPointer, length: UInt64, on index: ChannelIndex) {
        let slot = slots + index.offset
        guard let channel = slot.pointee.channel, let start = slot.pointee.memory?.baseAddress else {
            invariantViolated("a channel outlasts its loans")
        }
        channel._withUnsafeGuaranteedRef { $0.giveBack(offset: UInt64(memory - start), length: length) }
        slot.pointee.loans -= 1
        if _slowPath(slot.pointee.isOver) { release(index.offset) }
    }

    /// A change waits for a range that is lent.
    func isWanted(_ memory: UnsafeMutableRawPointer, length: UInt64, on index: ChannelIndex) -> Bool {
        guard let start = slots[index.offset].memory?.baseAddress else { return false }
        return slots[index.offset].channel?.takeUnretainedValue()
            .isWanted(offset: UInt64(memory - start), length: length) == true
    }

    /// Queues a request; `false` when the channel has as many as it can take.
    @inline(__always)
    func enqueue(_ request: BlockRequest, on index: ChannelIndex) -> Bool {
        let slot = slots + index.offset
        guard slot.pointee.running < Limits.blockDepth, let pending = slot.pointee.pending else { return false }
        pending[slot.pointee.pendingCount] = request
        slot.pointee.pendingCount += 1
        slot.pointee.running += 1
        return true
    }

    /// Hands all collected requests to their channels; what a channel does not take stays for the next time.
    func submit() {
        for index in 0..<count {
            let slot = slots + index
            let pendingCount = slot.pointee.pendingCount
            guard pendingCount > 0, let channel = slot.pointee.channel, let pending = slot.pointee.pending else {
                continue
            }
            let taken = channel._withUnsafeGuaranteedRef {
                $0.submit(UnsafeBufferPointer(start: pending, count: pendingCount))
            }
            if taken < pendingCount { pending.update(from: pending + taken, count: pendingCount - taken) }
            slot.pointee.pendingCount = pendingCount - taken
        }
    }

    /// Passes ended operations to `body`; returns how many.
    @inline(__always)
    func poll(_ body: (BlockCompletion) -> Void) -> Int {
        var work = 0
        for index in 0..<count where slots[index].running > 0 {
            guard let channel = slots[index].channel else { continue }
            let ended = channel._withUnsafeGuaranteedRef { $0.poll(into: completions) }
            slots[index].running -= ended
            work += ended
            for completion in 0..<ended { body(completions[completion]) }
            if slots[index].isOver { release(index) }
        }
        return work
    }

    /// Withdraws a request that has not started; its completion says `aborted` when that worked.
    func cancel(tag: UInt64, on index: ChannelIndex) -> Bool {
        guard let channel = slots[index.offset].channel else { return false }
        return channel.takeUnretainedValue().cancel(tag: tag)
    }

    /// Requests wait for ranges that other reactors' operations hold: nothing tells when they are free.
    var isBlocked: Bool {
        (0..<count).contains { index in
            slots[index].running > 0 && slots[index].channel?.takeUnretainedValue().isBlocked == true
        }
    }

    var descriptors: [Int32] {
        (0..<count).compactMap { slots[$0].channel?.takeUnretainedValue().notificationDescriptor }
    }

    func armNotifications() {
        for index in 0..<count { slots[index].channel?.takeUnretainedValue().armNotification() }
    }

    func acknowledgeNotifications() {
        for index in 0..<count { slots[index].channel?.takeUnretainedValue().acknowledgeNotification() }
    }

    func acknowledgeNotification(_ descriptor: Int32) {
        for index in 0..<count {
            guard let channel = slots[index].channel?.takeUnretainedValue() else { continue }
            if channel.notificationDescriptor == descriptor { channel.acknowledgeNotification() }
        }
    }

    private func grow() {
        let larger = UnsafeMutablePointer<ChannelSlot>.allocate(capacity: max(16, capacity * 2))
        larger.initialize(repeating: ChannelSlot(), count: max(16, capacity * 2))
        larger.update(from: slots, count: count)
        slots.deallocate()
        slots = larger
        capacity = max(16, capacity * 2)
    }

    private func release(_ index: Int) {
        guard let channel = slots[index].channel else { return }
        generation += 1
        if let memory = slots[index].memory { beforeUnmapping?(memory) }
        channel.takeUnretainedValue().close()
        channel.release()
        slots[index].pending?.deallocate()
        slots[index] = ChannelSlot()
    }
}
