import Base

/// The ground that all parts of the engine stand on: who takes part, what each member may lack, the record that says so, and
/// what goes out to the driver. Each of these keeps its own fields to itself; here is what concerns several of them.
struct VolumeState: ~Copyable {
    let configuration: VolumeConfiguration
    let rules: Rules
    let arena: Arena
    /// The time of the call that is being answered.
    var now = MonotonicTime(nanoseconds: 0)
    var life = LifeCycle()
    var members = Members()
    var maps: RegionMaps
    var pages = PageWriter()
    var record: Record
    var outbox: Outbox
    var agenda: Agenda = []

    init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer, rules: Rules) {
        guard
            let least = try? VolumeGeometry(
                blockSize: configuration.blockSize, regionSize: max(4096, configuration.blockSize), dataBlocks: 1)
        else { invariantViolated("the configured block size is a power of two from 512 to 65536") }
        self.configuration = configuration
        self.rules = rules
        self.arena = Arena(base: arena, layout: ArenaLayout(configuration))
        maps = RegionMaps(least)
        record = Record(configuration)
        let operations = configuration.queueDepth + configuration.copyConcurrency + 4
        outbox = Outbox(requests: operations * 4 + 256, completions: operations)
    }

    // MARK: Members

    @inline(__always) var phase: VolumePhase { life.phase }

    /// Members that a read may be served by.
    @inline(__always) var readers: MemberSet { rules.readers(active: members.active, inSync: members.inSync) }

    /// Members that a write goes to.
    @inline(__always) var writers: MemberSet { rules.writers(active: members.active, inSync: members.inSync) }

    mutating func become(_ member: MemberIndex, _ next: MemberPhase) { members[member].become(next, now: now) }

    @inline(__always)
    mutating func send(
        _ tag: Tag, _ operation: MemberOperation, start: UInt64 = 0, count: UInt64 = 0, buffer: MemberBuffer = .none,
        forceUnitAccess: Bool = false
    ) {
        invariant(members[tag.member].phase.isConnected, "commands go to connected members")
        members[tag.member].outstanding += 1
        outbox.send(
            MemberRequest(
                tag: tag.rawValue, member: tag.member, operation: operation, forceUnitAccess: forceUnitAccess,
                bufferOwner: buffer.owner, bufferValue: buffer.value, start: start, count: count))
    }

    mutating func ask(_ action: VolumeAction) { outbox.ask(action) }
    mutating func notice(_ notice: VolumeNotice) { outbox.notice(notice) }

    /// Whether a loss of the member leaves what the volume needs.
    func canDoWithout(_ member: MemberIndex) -> Bool {
        let rest = members.active.without(member)
        return rest.intersection(members.inSync) != [] && rest.count >= max(2, record.minimumCopies) && record.isValid
    }

    /// Whether the driver's connections to a member are wanted.
    func isWanted(_ member: MemberIndex) -> Bool {
        phase != .deposed && !life.isEnding
            && (!configuration.excluded.contains(member) || record.wasReplaced(member))
    }

    /// A member is not used any more. True where it was.
    mutating func takeOut(_ member: MemberIndex, _ reason: MemberLossReason) -> Bool {
        let wasUsed = members.active.contains(member)
        members[member].connection.lossReason = reason
        members[member].joining.step = .idle
        members[member].pace.notSlow()
        outbox.statistics.memberLosses += 1
        notice(.memberLost(member, reason))
        members.doNotUse(member)
        maps.drop(member)
        return wasUsed
    }

    /// Connects a member that is to be connected, and gives it up where it takes too long for a step, or for its record.
    mutating func tick(_ member: MemberIndex) -> Effect? {
        switch members[member].phase {
        case .disconnected:
            guard now >= members[member].connection.connectAt, isWanted(member) else { return nil }
            become(member, .connecting)
            ask(.connect(member))
            return nil
        case .surveying, .fencing, .reading, .joining:
            let isLate = now.nanoseconds(since: members[member].stepStartedAt) > configuration.joinTimeout
            return isLate ? .lose(member, .joinFailed) : nil
        case .active: return isRecordLate(member) ? .lose(member, .timedOut) : nil
        case .connecting, .draining, .surveyed, .ready, .disconnecting, .refused: return nil
        }
    }

    /// Whether a member has been slower than the others for so long that it is given up, and can be done without.
    mutating func isSlowForLong(_ member: MemberIndex, oldest: UInt64) -> Bool {
        if !rules.mustBePatient, oldest > 2_000_000, canDoWithout(member) { return true }
        var others: UInt64 = 0
        for other in members.usedInSync.without(member) { others = max(others, members[other].pace.slowest) }
        guard members[member].pace.isSlow(oldest: oldest, others: others, configuration), canDoWithout(member) else {
            members[member].pace.notSlow()
            return false
        }
        return members[member].pace.slowGoesOn(now, oldest: oldest, configuration)
    }

    /// Whether another namespace may be put in a member's place.
    func mayReplace(_ member: MemberIndex, by uuid: UUIDBytes) -> Bool {
        for other in MemberSet.all.without(member) where record.uuids[other] == uuid { return false }
        return (phase == .serving || phase == .suspended) && record.isValid
            && members.usedInSync.without(member) != []
    }

    /// Another namespace is in a member's place from now on. It may be the old one again, at which commands of the old
    /// association may still land (invariant 6).
    mutating func replace(_ member: MemberIndex, by uuid: UUIDBytes) {
        record.replace(member, by: uuid)
        members[member].joining.found = nil
        members[member].joining.layout = nil
        members[member].record.sequence = 0
        members[member].connection.reconnectDelay = 0
        members[member].connection.connectAt = min(members[member].connection.connectAt, now)
        guard members[member].phase == .refused else { return }
        become(member, .connecting)
        ask(.connect(member))
    }

    /// The first block of a member's record slots, for a size of its namespace.
    func slotsBlock(blocks: UInt64) -> UInt64? {
        MemberLayout.slotBlock(0, memberBlocks: blocks, blockSize: configuration.blockSize)
    }

    var blocksPerPage: UInt64 { UInt64(arena.layout.pageSize) / UInt64(configuration.blockSize) }

    // MARK: Bits

    /// Asks for the bits that a write to `regions` needs: "in flight" on all active members, and for each member that is
    /// not active "it lacks writes here". True when all are durable (invariants 1 and 3).
    @inline(__always)
    mutating func requestBits(_ regions: ClosedRange<RegionIndex>) -> Bool {
        var isDurable = maps.areMarked(regions)
        if !isDurable { maps.request(.inFlight, regions) }
        if members.active != .all {
            for member in MemberSet.all.subtracting(members.active) {
                if !requestBehind(member, regions) { isDurable = false }
            }
        }
        return isDurable
    }

    /// Asks for "the member may lack writes here". True when it is durable on every active member.
    @discardableResult
    mutating func requestBehind(_ member: MemberIndex, _ regions: ClosedRange<RegionIndex>) -> Bool {
        if !rules.mustMarkBehind { return true }
        if maps.behindDurable(member).hasAll(regions) { return true }
        maps.request(.behind(member), regions)
        return false
    }

    /// Has regions that members in sync could not read written again from another (read repair).
    mutating func requestRepair(_ failed: MemberSet, _ regions: ClosedRange<RegionIndex>) {
        for member in failed.intersection(members.usedInSync) {
            for region in regions { maps.setRepair(member, region, true) }
        }
        agenda.insert(.copies)
    }

    /// Invariant 3: what a lost member had not flushed, it may lack, even if it missed nothing.
    mutating func noteLacking(_ member: MemberIndex) {
        guard rules.mustMarkLosses else { return }
        maps.add(maps.intents, to: .behind(member))
        if members.inSync.contains(member), members.usedInSync != [] {
            // If there are more than the record names, any may be one.
            let areAllNamed = record.quarantined.count < maps.geometry.quarantineCapacity
            maps.quarantineOrphans(of: members.usedInSync, named: areAllNamed ? record.quarantined : nil)
        }
        // Regions that were to be written anew on it still are.
        maps.add(maps.repair(member), to: .behind(member))
        maps.add(maps.unreconciled, to: .behind(member))
        maps.clearRepair(member)
    }

    /// Clears the in-flight bits that a flush has made superfluous. Only under a valid record: an older one may hold, which
    /// does not say that a member lacks what its bits say.
    mutating func clearIntents(keepsRecent: Bool) {
        guard record.isValid,
            let clearable = maps.clearableIntents(
                inSync: members.inSync, active: members.active, keepsRecent: keepsRecent)
        else { return }
        maps.clear(clearable.bits, of: .inFlight)
        clearable.free()
    }

    // MARK: Pages

    /// Writes bitmap pages that members lack.
    mutating func pumpPages() {
        guard phase != .deposed else { return }
        var first = MapPageIndex(0)
        while let (place, page, targets) = pages.next(
            from: first, &maps, arena, volume: configuration.volume, now: now)
        {
            first = MapPageIndex(page.number.offset + 1)
            for member in targets {
                guard let layout = members[member].joining.layout else {
                    invariantViolated("an active member has a layout")
                }
                outbox.statistics.pageWrites += 1
                let ordinal =
                    page.kind.member.map { BitmapPage.behindOrdinal(of: $0, on: member) } ?? BitmapPage.inFlightOrdinal
                send(
                    Tag(.page, member: member, index: place.offset), .write,
                    start: layout.pageBlock(ordinal: ordinal, page: page.place), count: maps.geometry.blocksPerPage,
                    buffer: .arena(arena.layout.staging(place.offset)), forceUnitAccess: true)
            }
        }
    }

    /// A member has answered for a bitmap page. Why it is given up for that, where it is.
    mutating func pageAnswered(_ place: Int, _ member: MemberIndex, _ status: MemberStatus) -> MemberLossReason? {
        let isHolder = maps.holders.contains(member)
        let needsAgain = isHolder && status.mayBeSentAgain
        pages.answered(place, member, needsAgain: needsAgain, &maps)
        guard isHolder else { return nil }
        if status == .success {
            members[member].record.refusedSince = .distantFuture
            return nil
        }
        return needsAgain ? metadataWasRefused(member) : .metadataFailed
    }

    /// A member was too busy for metadata, or not to be reached the way it was tried: it is sent again, but not for ever.
    mutating func metadataWasRefused(_ member: MemberIndex) -> MemberLossReason? {
        if members[member].record.refusedSince == .distantFuture { members[member].record.refusedSince = now }
        return now.nanoseconds(since: members[member].record.refusedSince) > configuration.commandTimeout
            ? .timedOut : nil
    }
}

/// The memory that a member's command uses.
enum MemberBuffer: BitwiseCopyable {
    case none
    /// The memory that a host's request named.
    case host(UInt64)
    /// By its offset in the engine's own.
    case arena(Int)

    @inline(__always) var owner: BufferOwner {
        switch self {
        case .none: .none
        case .host: .host
        case .arena: .arena
        }
    }

    @inline(__always) var value: UInt64 {
        switch self {
        case .none: 0
        case .host(let name): name
        case .arena(let offset): UInt64(offset)
        }
    }
}

extension MemberStatus {
    /// The command was surely not done, and another try on the same association may help.
    var mayBeSentAgain: Bool { self == .busy || self == .notDone || self == .pathError }
}
