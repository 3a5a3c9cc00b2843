import Base
import BlockInterface

/// The thing that an operation waits for.
enum Waiting: Int {
    /// Its turn has come: it is dispatched next.
    case turn
    /// The volume is not served.
    case service
    /// Bits have to be durable.
    case intent
    /// Its region has to be the same on all members in sync.
    case reconcile
    /// A flush: what may have been in caches that are lost has to be written again.
    case rewrite
    /// A pause.
    case pause
    /// Its bits, or the record, have to be durable before it is acknowledged.
    case record
}

/// The operations that run, those of the host and the engine's own: their slots, their order, and what they wait for.
struct Operations: ~Copyable {
    private var slots: OperationSlots
    private var overlaps: OverlapIndex
    private var lists = InlineArray<7, OperationList>(repeating: OperationList())
    private let hostSlots: Int
    /// The host's operations that run.
    private(set) var hostRunning = 0

    /// - Parameter own: slots for the engine's own operations.
    init(hostSlots: Int, own: Int, rules: Rules) {
        self.hostSlots = hostSlots
        slots = OperationSlots(capacity: hostSlots + own, initial: Operation())
        overlaps = OverlapIndex(capacity: hostSlots + own, rules: rules)
    }

    subscript(slot: OperationIndex) -> Operation {
        @inline(__always) _read { yield slots[slot] }
        @inline(__always) _modify { yield &slots[slot] }
    }

    // MARK: Slots

    /// Takes a slot for a host's I/O; `nil` where as many run as may.
    @inline(__always)
    mutating func takeForHost() -> OperationIndex? {
        guard hostRunning < hostSlots, let slot = take() else { return nil }
        hostRunning += 1
        return slot
    }

    /// Takes a slot for the engine's own use; `nil` when all are taken.
    mutating func takeInternal(_ kind: OperationKind) -> OperationIndex? {
        guard let slot = take() else { return nil }
        self[slot].isInternal = true
        self[slot].kind = kind
        return slot
    }

    /// A slot, cleared for its next operation; the generation goes on.
    @inline(__always)
    private mutating func take() -> OperationIndex? {
        guard let slot = slots.take() else { return nil }
        let generation = self[slot].generation &+ 1
        self[slot] = Operation()
        self[slot].generation = generation
        return slot
    }

    /// Gives a slot back to the pool, and lets those go that waited for it.
    mutating func release(_ slot: OperationIndex) {
        displace(slot)
        if !self[slot].isInternal { hostRunning -= 1 }
        self[slot].become(.free)
        slots.give(slot)
    }

    /// All slots that were ever taken; those that are free are so by their state.
    var places: SlotIndices<OperationIndex> { slots.usedIndices }

    /// The operation that a member's command belongs to, which is not pending there any more.
    @inline(__always)
    mutating func claim(_ tag: Tag) -> OperationIndex {
        let slot = slots.index(at: UInt32(truncatingIfNeeded: tag.index))
        invariant(
            self[slot].generation == tag.generation
                && self[slot].progress.pending.contains(tag.member),
            "a completion belongs to a command of the slot's present operation")
        self[slot].progress.pending.remove(tag.member)
        return slot
    }

    @inline(__always)
    func tag(_ slot: OperationIndex, _ member: MemberIndex) -> Tag {
        Tag(.operation, member: member, index: slot.offset, generation: self[slot].generation)
    }

    // MARK: Order

    /// Puts an operation's range in order with those that overlap it. True where nothing is before it.
    @inline(__always)
    mutating func place(
        _ slot: OperationIndex, start: UInt64, count: UInt64, _ geometry: VolumeGeometry
    ) -> Bool {
        self[slot].start = start
        self[slot].count = count
        let regions = geometry.regions(start: start, count: count)
        self[slot].firstRegion = regions.lowerBound
        self[slot].lastRegion = regions.upperBound
        self[slot].order.isPlaced = true
        overlaps.insert(slot, slots)
        if self[slot].order.blockers == 0 { return true }
        self[slot].become(.blocked)
        return false
    }

    /// Takes an operation out of the order: it gives its place up, or has ended.
    @inline(__always)
    mutating func displace(_ slot: OperationIndex) {
        guard self[slot].order.isPlaced else { return }
        overlaps.remove(slot, slots, ready: &lists[Waiting.turn.rawValue])
        self[slot].order.isPlaced = false
    }

    // MARK: Waiting

    @inline(__always)
    mutating func wait(_ slot: OperationIndex, for what: Waiting) { lists[what.rawValue].append(slot, slots) }

    /// The next operation whose turn has come.
    @inline(__always)
    mutating func nextInTurn() -> OperationIndex? { lists[Waiting.turn.rawValue].popFirst(slots) }

    /// All that wait for something, in order; they are not waiting any more.
    mutating func takeAll(_ what: Waiting) -> OperationList { lists[what.rawValue].takeAll() }

    @inline(__always)
    func popFirst(_ list: inout OperationList) -> OperationIndex? { list.popFirst(slots) }

    func first(_ what: Waiting) -> OperationIndex? { lists[what.rawValue].head.ifAny }
    func isAny(_ what: Waiting) -> Bool { !lists[what.rawValue].isEmpty }

    // MARK: Times

    /// Marks an operation as sent.
    @inline(__always)
    mutating func markIssued(_ slot: OperationIndex, _ now: MonotonicTime) {
        if self[slot].state != .issued { self[slot].become(.issued) }
        self[slot].times.issuedAt = now
        if self[slot].times.firstIssuedAt == nil { self[slot].times.firstIssuedAt = now }
    }

    /// A time in which this process stood still does not count.
    mutating func forgive(_ later: (MonotonicTime) -> MonotonicTime) {
        for slot in places where self[slot].state != .free {
            self[slot].times.issuedAt = later(self[slot].times.issuedAt)
            self[slot].times.firstIssuedAt = self[slot].times.firstIssuedAt.map(later)
        }
    }

    /// For how long each member's oldest write has been under way, in nanoseconds.
    func oldestWrites(_ now: MonotonicTime) -> PerMember<UInt64> {
        var oldest = PerMember<UInt64>(repeating: 0)
        for slot in places where self[slot].progress.pending != [] && self[slot].kind.isWrite {
            let age = now.nanoseconds(since: self[slot].times.issuedAt)
            for member in self[slot].progress.pending { oldest[member] = max(oldest[member], age) }
        }
        return oldest
    }

    // MARK: Ends

    /// Tells the host how its I/O ended, once.
    @inline(__always)
    mutating func tellHost(_ slot: OperationIndex, _ status: BlockStatus, _ outbox: inout Outbox) {
        guard !self[slot].isInternal, !self[slot].hasCompletedHost else { return }
        self[slot].hasCompletedHost = true
        outbox.complete(HostCompletion(cookie: self[slot].cookie, status: status))
    }

    /// Ends an operation: tells the host, unblocks what waits for it, frees the slot.
    @inline(__always)
    mutating func finish(_ slot: OperationIndex, _ status: BlockStatus, _ volume: inout VolumeState) {
        tellHost(slot, status, &volume.outbox)
        guard self[slot].progress.pending == [] else {
            invariant(
                !volume.rules.mustKeepBuffers, "invariant 6: a buffer is given back after the last completion")
            return
        }
        release(slot)
    }

    /// A member was lost: what it has done counts no more.
    mutating func forget(_ member: MemberIndex, _ volume: inout VolumeState) {
        for slot in places where self[slot].state != .free {
            self[slot].progress.forget(member)
            if !volume.rules.mustKeepBuffers, self[slot].progress.pending.contains(member), self[slot].kind.isWrite {
                tellHost(slot, .success, &volume.outbox)
            }
        }
    }
}
