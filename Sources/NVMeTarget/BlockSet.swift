import Base
import BlockInterface

/// The channels of one reactor.
///
/// Requests are collected during a poll and submitted once. Plain slots, so that the I/O path touches no reference
/// count; a channel itself is called once per batch.
final class BlockSet {
    private var slots: ChannelSlots
    private var count: UInt32 = 0
    private var capacity = 0
    /// Places without a channel.
    private var free: [ChannelIndex] = []
    /// The channels that have requests: a round looks at those alone, for there may be many thousands.
    private var busy: UnsafeMutablePointer<ChannelIndex>
    private var busyCount = 0
    /// Channels by their notification descriptors.
    private var places: [Int32: ChannelIndex] = [:]
    private let completions: UnsafeMutableBufferPointer<BlockCompletion>
    /// Raised when channels come or go: the reactor watches their descriptors.
    private(set) var generation: UInt64 = 0
    /// The memory that requests' buffers lie in.
    private var announced: [UnsafeMutableRawBufferPointer] = []
    /// Told before a device's own memory may be unmapped.
    var beforeUnmapping: ((UnsafeMutableRawBufferPointer) -> Void)?

    init() {
        slots = ChannelSlots(capacity: 0)
        busy = .allocate(capacity: 0)
        completions = .allocate(capacity: Limits.completionBatch)
    }

    deinit {
        beforeUnmapping = nil
        for index in indices { release(index) }
        slots.deallocate()
        busy.deallocate()
        completions.deallocate()
    }

    private var indices: SlotIndices<ChannelIndex> { SlotIndices(count: count) }

    /// Adds a channel and returns its place.
    ///
    /// - Parameter memory: the device's own.
    func add(_ channel: BlockChannel, memory: UnsafeMutableRawBufferPointer? = nil) -> ChannelIndex {
        generation += 1
        for area in announced { channel.announce(area) }
        var slot = ChannelSlot()
        slot.channel = .passRetained(channel)
        slot.memory = memory
        let index = free.popLast() ?? addPlace()
        slots[index] = slot
        if channel.notificationDescriptor >= 0 { places[channel.notificationDescriptor] = index }
        return index
    }

    private func addPlace() -> ChannelIndex {
        if count == capacity { grow(to: capacity * 2) }
        defer { count += 1 }
        return ChannelIndex(position: count)
    }

    /// Tells all channels, and those to come, that buffers will lie in this memory, which outlives them.
    func announce(_ areas: [UnsafeMutableRawBufferPointer]) {
        announced += areas
        for index in indices {
            for area in areas { slots[index].channel?.takeUnretainedValue().announce(area) }
        }
    }

    /// Takes no new requests for a channel and frees it when its running ones have ended.
    func remove(_ index: ChannelIndex) {
        slots[index].isClosing = true
        if slots[index].isOver { release(index) }
    }

    /// Borrows memory with the data of a range.
    @inline(__always)
    func borrow(offset: UInt64, length: UInt64, on index: ChannelIndex) -> LentMemory? {
        let slots = slots
        guard let channel = slots[index].channel,
            let lent = channel._withUnsafeGuaranteedRef({ $0.borrow(offset: offset, length: length) })
        else { return nil }
        slots[index].loans += 1
        return lent
    }

    /// Ends a loan.
    @inline(__always)
    func giveBack(_ start: UnsafeMutableRawPointer, length: UInt64, on index: ChannelIndex) {
        let slots = slots
        guard let channel = slots[index].channel else { invariantViolated("a channel outlasts its loans") }
        channel._withUnsafeGuaranteedRef { $0.giveBack(start, length: length) }
        slots[index].loans -= 1
        if _slowPath(slots[index].isOver) { release(index) }
    }

    /// A change waits for a range that is lent.
    func isWanted(_ start: UnsafeMutableRawPointer, length: UInt64, on index: ChannelIndex) -> Bool {
        slots[index].channel?.takeUnretainedValue().isWanted(start, length: length) == true
    }

    /// Queues a request; `false` when the channel has as many as it can take.
    @inline(__always)
    func enqueue(_ request: BlockRequest, on index: ChannelIndex) -> Bool {
        let slots = slots
        guard slots[index].running < Limits.blockDepth else { return false }
        let pending = slots[index].pending ?? makeRoom(index)
        if slots[index].running == 0 {
            busy[busyCount] = index
            busyCount += 1
        }
        pending[slots[index].pendingCount] = request
        slots[index].pendingCount += 1
        slots[index].running += 1
        return true
    }

    /// Room for a channel's requests, when the first one comes: most of many thousands of channels never have any.
    @inline(never)
    private func makeRoom(_ index: ChannelIndex) -> UnsafeMutablePointer<BlockRequest> {
        let pending = UnsafeMutablePointer<BlockRequest>.allocate(capacity: Limits.blockDepth)
        slots[index].pending = pending
        return pending
    }

    /// Hands all collected requests to their channels; what a channel does not take stays for the next time.
    func submit() {
        for position in 0..<busyCount {
            let index = busy[position]
            let pendingCount = slots[index].pendingCount
            guard pendingCount > 0, let channel = slots[index].channel, let pending = slots[index].pending else {
                continue
            }
            let taken = channel._withUnsafeGuaranteedRef {
                $0.submit(UnsafeBufferPointer(start: pending, count: pendingCount))
            }
            if taken < pendingCount { pending.update(from: pending + taken, count: pendingCount - taken) }
            slots[index].pendingCount = pendingCount - taken
        }
    }

    /// Passes ended operations to `body`; returns how many.
    @inline(__always)
    func poll(_ body: (BlockCompletion) -> Void) -> Int {
        var work = 0
        var position = 0
        // An end may begin something else: the list can grow meanwhile.
        while position < busyCount {
            let index = busy[position]
            guard let channel = slots[index].channel else { invariantViolated("a channel outlasts its requests") }
            let ended = channel._withUnsafeGuaranteedRef { $0.poll(into: completions) }
            work += ended
            for completion in 0..<ended { body(completions[completion]) }
            // Counted down afterwards: a request that `body` adds to this channel finds it in the list.
            slots[index].running -= ended
            if slots[index].running > 0 {
                position += 1
                continue
            }
            busyCount -= 1
            busy[position] = busy[busyCount]
            if slots[index].isOver { release(index) }
        }
        return work
    }

    /// Withdraws a request that has not started; its completion says `aborted` when that worked.
    func cancel(tag: UInt64, on index: ChannelIndex) -> Bool {
        guard let channel = slots[index].channel else { return false }
        return channel.takeUnretainedValue().cancel(tag: tag)
    }

    /// Requests wait for ranges that other reactors' operations hold: nothing tells when they are free.
    var isBlocked: Bool {
        (0..<busyCount).contains { slots[busy[$0]].channel?.takeUnretainedValue().isBlocked == true }
    }

    var descriptors: [Int32] {
        indices.compactMap { slots[$0].channel?.takeUnretainedValue().notificationDescriptor }
    }

    /// Only a channel that has requests has something to tell.
    func armNotifications() {
        for position in 0..<busyCount { slots[busy[position]].channel?.takeUnretainedValue().armNotification() }
    }

    func acknowledgeNotifications() {
        for position in 0..<busyCount {
            slots[busy[position]].channel?.takeUnretainedValue().acknowledgeNotification()
        }
    }

    func acknowledgeNotification(_ descriptor: Int32) {
        guard let index = places[descriptor] else { return }
        slots[index].channel?.takeUnretainedValue().acknowledgeNotification()
    }

    /// Makes room for so many channels more at once, so that it is not doubled again and again.
    func reserve(_ more: Int) {
        let wanted = Int(count) - free.count + more
        if wanted > capacity { grow(to: wanted) }
    }

    private func grow(to wanted: Int) {
        let wanted = max(16, wanted)
        slots = slots.enlarged(to: wanted)
        let moreBusy = UnsafeMutablePointer<ChannelIndex>.allocate(capacity: wanted)
        moreBusy.update(from: busy, count: busyCount)
        busy.deallocate()
        busy = moreBusy
        capacity = wanted
    }

    private func release(_ index: ChannelIndex) {
        guard let channel = slots[index].channel else { return }
        generation += 1
        if let memory = slots[index].memory { beforeUnmapping?(memory) }
        let descriptor = channel.takeUnretainedValue().notificationDescriptor
        if places[descriptor] == index { places[descriptor] = nil }
        channel.takeUnretainedValue().close()
        channel.release()
        slots[index].pending?.deallocate()
        slots[index] = ChannelSlot()
        free.append(index)
    }
}
