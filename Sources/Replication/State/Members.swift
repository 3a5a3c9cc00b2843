import Base

/// The members of a volume: each one's state, and who of them is used.
struct Members: ~Copyable {
    private let table: UnsafeMutablePointer<Member>
    /// Members that take all writes and hold the record.
    private(set) var active: MemberSet = []
    /// Members that hold every acknowledged write, by the record that is wanted.
    private(set) var inSync: MemberSet = []
    /// Members in sync whose caches may have been lost, and that are to be given up.
    private(set) var doubted: MemberSet = []

    init() {
        table = .allocate(capacity: memberCount)
        table.initialize(repeating: Member(), count: memberCount)
    }

    deinit {
        table.deinitialize(count: memberCount)
        table.deallocate()
    }

    subscript(member: MemberIndex) -> Member {
        @inline(__always) unsafeAddress { UnsafePointer(table + member.number) }
        @inline(__always) unsafeMutableAddress { table + member.number }
    }

    /// Members whose data is the volume's, and that can be used.
    @inline(__always) var usedInSync: MemberSet { active.intersection(inSync) }

    func those(in phase: MemberPhase) -> MemberSet { MemberSet(MemberSet.all.filter { self[$0].phase == phase }) }
    var connected: MemberSet { MemberSet(MemberSet.all.filter { self[$0].phase.isConnected }) }

    mutating func use(_ member: MemberIndex) { active.insert(member) }
    mutating func doNotUse(_ member: MemberIndex) { active.remove(member) }
    mutating func useNone() { active = [] }
    mutating func takeIntoSync(_ member: MemberIndex) { inSync.insert(member) }
    mutating func takeOutOfSync(_ member: MemberIndex) { inSync.remove(member) }
    mutating func doubt(_ member: MemberIndex) { doubted.insert(member) }
    mutating func takeDoubted() -> MemberSet {
        defer { doubted = [] }
        return doubted
    }
    mutating func decideInSync(_ members: MemberSet) { inSync = members }

    /// The member of a set whose latency times its queue is least.
    func fastest(_ set: MemberSet) -> MemberIndex? {
        var best: MemberIndex?
        var bestCost = UInt64.max
        for member in set {
            let cost = max(1, self[member].pace.latency) &* UInt64(self[member].outstanding + 1)
            if cost < bestCost {
                best = member
                bestCost = cost
            }
        }
        return best
    }

    // MARK: Connections

    /// The driver has made an association.
    mutating func connected(
        _ member: MemberIndex, association: UInt64, cache: CacheInstance, blocks: UInt64, now: MonotonicTime
    ) {
        self[member].become(.draining, now: now)
        self[member].connection.association = association
        self[member].connection.cache = cache
        self[member].connection.blocks = blocks
        self[member].pace.reset()
        self[member].joining.keysSeen = []
        self[member].record.signpostedBlocks = 0
    }

    /// Commands of the member's association may land until the driver says that they cannot (invariant 6).
    mutating func mayStillLand(_ member: MemberIndex) {
        self[member].connection.undeadAssociation = max(
            self[member].connection.undeadAssociation, self[member].connection.association)
    }

    mutating func associationDied(_ member: MemberIndex, _ association: UInt64) {
        if self[member].connection.undeadAssociation <= association { self[member].connection.undeadAssociation = 0 }
    }

    /// The driver has ended the association. The member is connected again after a pause, longer each time.
    mutating func disconnected(
        _ member: MemberIndex, cooldown: UInt64, _ configuration: VolumeConfiguration, now: MonotonicTime
    ) {
        if self[member].connection.isRefused {
            self[member].connection.isRefused = false
            self[member].become(.refused, now: now)
        } else {
            self[member].become(.disconnected, now: now)
        }
        let pause = min(
            max(configuration.reconnectDelay, self[member].connection.reconnectDelay * 2),
            configuration.reconnectDelayMaximum)
        self[member].connection.reconnectDelay = pause
        self[member].connection.connectAt = now.advanced(byNanoseconds: max(pause, cooldown))
    }

    /// The volume waits for members: those that are away are connected at once, also one that is kept out for having been slow.
    mutating func lookForThem(now: MonotonicTime) {
        for member in those(in: .disconnected) {
            self[member].connection.connectAt = min(self[member].connection.connectAt, now)
        }
    }

    /// Whether a member is away only for having been slow, and not for longer than `limit` nanoseconds: nothing says that it
    /// cannot take a write.
    func isOneOnlySlow(now: MonotonicTime, limit: UInt64) -> Bool {
        MemberSet.all.contains { member in
            !active.contains(member) && self[member].phase != .refused && self[member].connection.lossReason == .slow
                && self[member].pace.wasLost(within: limit, now: now)
        }
    }

    /// A time in which this process stood still does not count.
    mutating func forgive(_ later: (MonotonicTime) -> MonotonicTime) {
        for member in MemberSet.all {
            self[member].record.issuedAt = later(self[member].record.issuedAt)
            self[member].stepStartedAt = later(self[member].stepStartedAt)
            self[member].pace.notSlow()
        }
    }
}
