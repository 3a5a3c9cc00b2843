import Base

/// One volume over three members: consumes events and yields actions; knows no clock, thread or socket.
///
/// A driver calls `submit`, `complete`, `handle` and `tick` from one thread, and after each call (or batch of calls)
/// takes `requests`, `completions` and `takeActions()`. It holds the rules that `MemberRequest`, `MemberEvent` and
/// `VolumeAction` state. In steady state nothing is allocated.
public struct VolumeEngine: ~Copyable {
    public let configuration: VolumeConfiguration
    let rules: Rules
    let arena: UnsafeMutableRawPointer
    let arenaLayout: ArenaLayout

    var now = MonotonicTime(nanoseconds: 0)
    /// When `tick` was called last.
    var tickedAt = MonotonicTime.distantFuture
    /// Where the volume is in its life.
    public internal(set) var phase = VolumePhase.detached
    var members = MemberTable()
    /// Members that take all writes and hold the record.
    var active: MemberSet = []
    /// Members that hold every acknowledged write, by the record that is wanted.
    var inSync: MemberSet = []

    // Operations.
    var pool: SlotPool<Operation>
    let slots: UnsafeMutablePointer<Operation>
    let hostSlots: Int
    var hostRunning = 0
    var overlaps: OverlapIndex
    var ready = OperationList()
    var held = OperationList()
    var awaitingIntent = OperationList()
    var awaitingReconcile = OperationList()
    var backingOff = OperationList()
    var awaitingRecord = OperationList()
    var reviewsAcknowledgements = false
    var reviewsIntents = false
    var reviewsReconcile = false

    // Metadata.
    var maps: VolumeMaps
    var record = RecordKeeper()
    var staging: StagingPages
    var readyMaps = PerMember<FoundMaps?>(repeating: nil)

    // Attaching.
    var attachmentKey: UInt64 = 0
    var attachNonce: UInt32 = 0
    /// When another's registration was preempted last.
    var preemptedAt: MonotonicTime?
    var attachDeadline = MonotonicTime.distantFuture
    var isDeciding = false
    var isWaitingNoticed = false
    var restartsDecision = false
    var reconcileSource: MemberIndex?

    // Background work.
    var copies: CopyTable
    var copied = CopiedRegions()
    var housekeeping = Housekeeping()
    var scrub = Scrub()
    /// Regions that the record names as quarantined, ascending.
    var quarantined: [Int] = []
    var detachStep = DetachStep.idle
    var uuids = PerMember(repeating: UUIDBytes())
    var replacementUUIDs = PerMember<UUIDBytes?>(repeating: nil)
    var freshMembers: MemberSet
    /// The size that each member had when its metadata was last known to be at its end; 0 where not known.
    var formattedBlocks: PerMember<UInt64>
    /// The geometry that the volume is being enlarged to.
    var growthTarget: VolumeGeometry?

    // Output.
    var requestQueue: OutputQueue<MemberRequest>
    var completionQueue: OutputQueue<HostCompletion>
    var actions: [VolumeAction] = []

    /// What has been counted since the engine was made.
    public internal(set) var statistics = VolumeStatistics()

    /// Bytes of I/O memory that the engine needs, aligned to 4096: the driver allocates and registers it.
    public static func arenaByteCount(_ configuration: VolumeConfiguration) -> Int {
        ArenaLayout(configuration).byteCount
    }

    /// `arena` is `arenaByteCount` bytes that outlive the engine.
    public init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer) {
        self.init(configuration, arena: arena, rules: Rules())
    }

    package init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer, rules: Rules) {
        self.configuration = configuration
        self.rules = rules
        self.arena = arena
        arenaLayout = ArenaLayout(configuration)
        hostSlots = configuration.queueDepth
        let capacity = configuration.queueDepth + configuration.copyConcurrency + 4
        pool = SlotPool(capacity: capacity, initial: Operation())
        slots = pool.slots
        overlaps = OverlapIndex(capacity: capacity, rules: rules)
        guard
            let least = try? VolumeGeometry(
                blockSize: configuration.blockSize, regionSize: max(4096, configuration.blockSize), dataBlocks: 1)
        else { invariantViolated("the configured block size is a power of two from 512 to 65536") }
        maps = VolumeMaps(least)
        staging = StagingPages()
        copies = CopyTable(count: configuration.copyConcurrency)
        freshMembers = configuration.fresh
        formattedBlocks = PerMember { configuration.formattedBlocks[$0] }
        requestQueue = OutputQueue(capacity: capacity * 4 + 256)
        completionQueue = OutputQueue(capacity: capacity)
    }

    deinit {
        maps.free()
        for member in MemberSet.all { readyMaps[member]?.free() }
    }

    /// The volume's size and regions; meaningful once it has been served.
    public var geometry: VolumeGeometry { maps.geometry }

    /// The longest host I/O, in blocks.
    public var maximumTransferBlocks: UInt64 {
        UInt64(min(configuration.maximumTransfer, Int(maps.geometry.regionSize)) / Int(configuration.blockSize))
    }

    // MARK: What the driver takes

    /// Commands to send, in order; `removeRequests` once they have been taken.
    public var requests: UnsafeBufferPointer<MemberRequest> {
        UnsafeBufferPointer(start: requestQueue.values, count: requestQueue.count)
    }
    public mutating func removeRequests() { requestQueue.removeAll() }

    /// Host I/Os that have ended; `removeCompletions` once they have been taken.
    public var completions: UnsafeBufferPointer<HostCompletion> {
        UnsafeBufferPointer(start: completionQueue.values, count: completionQueue.count)
    }
    public mutating func removeCompletions() { completionQueue.removeAll() }

    /// What is asked of the driver beside I/O; empties the list.
    public mutating func takeActions() -> [VolumeAction] {
        if actions.isEmpty { return [] }
        let taken = actions
        actions = []
        return taken
    }

    // MARK: What the driver brings

    /// Takes a host's I/O. False when `queueDepth` are running: submit it again after one has completed.
    public mutating func submit(_ request: HostRequest, now: MonotonicTime) -> Bool {
        self.now = now
        guard hostRunning < hostSlots, let slot = pool.take() else { return false }
        hostRunning += 1
        begin(Int32(bitPattern: slot), request)
        pump()
        return true
    }

    /// Takes members' completions.
    public mutating func complete(_ completions: UnsafeBufferPointer<MemberCompletion>, now: MonotonicTime) {
        self.now = now
        for completion in completions { route(completion) }
        pump()
    }

    /// Takes an event of the control plane.
    public mutating func handle(_ event: MemberEvent, now: MonotonicTime) {
        self.now = now
        switch event {
        case .connected(let member, let association, let bootInstance, let blocks):
            memberConnected(member, association: association, bootInstance: bootInstance, blocks: blocks)
        case .disconnected(let member): memberDisconnected(member)
        case .associationDead(let member, let association): associationDied(member, association)
        case .resized(let member, let blocks): memberResized(member, blocks: blocks)
        case .registrationPreempted(let member):
            if rules.mustHeedNotifications { depose(.superseded(member: member)) }
        case .reservationDone(let member, let status): reservationDone(member, status)
        case .reservationReport(let member, let report): reservationReported(member, report)
        }
        pump()
    }

    /// When `tick` wants to be called next, at the latest.
    public var nextTick: MonotonicTime {
        phase == .detached ? .distantFuture : now.advanced(byMilliseconds: isBusy ? 5 : 50)
    }

    private var isBusy: Bool { hostRunning > 0 || copies.running > 0 || phase != .serving || active != .all }

    /// Lets time pass.
    public mutating func tick(now: MonotonicTime) {
        self.now = now
        guard phase != .detached else { return }
        noteStandstill()
        tickMembers()
        tickOperations()
        if phase == .serving || phase == .detaching {
            tickHousekeeping()
            tickQuarantine()
            tickSlowMembers()
        }
        pump()
    }

    /// Does what has become possible. Ends, because each step uses up what made it possible.
    mutating func pump() {
        var again = true
        while again {
            again = false
            if reviewsAcknowledgements { again = true; reviewAcknowledgements() }
            if reviewsIntents { again = true; reviewIntents() }
            if reviewsReconcile { again = true; reviewReconcile() }
            if let slot = ready.popFirst(slots) { again = true; dispatch(slot) }
        }
        if !maps.dirtyPages.isEmpty || copied.count > 0 || copies.mayStart { pumpBackground() }
        if phase != .serving { pumpPhase() }
        // A scrub goes on at once where nobody else wants the members, else with the next tick.
        if scrub.isRunning, hostRunning == 0 { tickScrub() }
    }

    private mutating func pumpBackground() {
        pumpPages()
        pumpCopies()
    }

    mutating func become(_ next: VolumePhase) {
        guard next != phase else { return }
        invariant(phase.mayBecome(next), "a volume's phases follow each other as listed")
        phase = next
        actions.append(.phaseChanged(next))
    }

    mutating func become(_ member: MemberIndex, _ next: MemberPhase) {
        guard members[member].phase != next else { return }
        invariant(members[member].phase.mayBecome(next), "a member's phases follow each other as listed")
        members[member].phase = next
        members[member].stepStartedAt = now
    }

    @inline(__always)
    mutating func become(_ slot: Int32, _ next: OperationState) {
        invariant(slots[Int(slot)].state.mayBecome(next), "an operation's states follow each other as listed")
        slots[Int(slot)].state = next
    }

    mutating func notice(_ notice: VolumeNotice) { actions.append(.notice(notice)) }

    @inline(__always)
    mutating func send(
        _ tag: Tag, _ operation: MemberOperation, start: UInt64 = 0, count: UInt64 = 0, owner: BufferOwner = .none,
        buffer: UInt64 = 0, forceUnitAccess: Bool = false
    ) {
        invariant(members[tag.member].phase.isConnected, "commands go to connected members")
        members[tag.member].outstanding += 1
        requestQueue.append(
            MemberRequest(
                tag: tag.rawValue, member: tag.member, operation: operation,
                forceUnitAccess: forceUnitAccess, bufferOwner: owner, bufferValue: buffer, start: start, count: count))
    }

    private mutating func route(_ completion: MemberCompletion) {
        guard let tag = Tag(rawValue: completion.tag), members[tag.member].outstanding > 0 else {
            invariantViolated("a completion belongs to a command that was sent")
        }
        members[tag.member].outstanding -= 1
        let status = completion.status
        if status == .reservationConflict { depose(.superseded(member: tag.member)) }
        switch tag.purpose {
        case .operation: operationCompleted(tag, status)
        case .page: pageCompleted(tag, status)
        case .superblock: superblockCompleted(tag, status)
        case .join: joinReadCompleted(tag, status)
        }
    }
}
