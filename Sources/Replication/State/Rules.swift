import Base

/// The decisions that the invariants rest on, each under its name. `Rules()` decides as a volume has to. The tests make a
/// volume whose rules break one of them on purpose, which the simulation then has to notice; nothing else knows how.
package struct Rules: Sendable, BitwiseCopyable {
    private let broken: DeliberateFault

    package init() { broken = .none }
    package init(breaking fault: DeliberateFault) { broken = fault }

    /// No rule is broken: the invariants must hold.
    var areSound: Bool { broken == .none }

    // MARK: Invariant 4, the order of operations

    /// Whether of two operations that overlap, one of them a write, the later waits for the earlier.
    @inline(__always)
    func ordersOverlap(_ a: Operation, _ b: Operation) -> Bool {
        switch broken {
        case .overlapUnordered: !(a.kind.isWrite && b.kind.isWrite)
        case .readOfInFlightBlock: a.kind != .read && b.kind != .read
        case .resyncWithoutLock: a.kind != .copy && b.kind != .copy
        case .compareUnordered: !(a.isConditional || b.isConditional)
        default: true
        }
    }

    // MARK: Reads

    /// Members that a read may be sent to: those that are in sync.
    @inline(__always)
    func readers(active: MemberSet, inSync: MemberSet) -> MemberSet {
        broken == .behindMemberRead ? active : active.intersection(inSync)
    }

    /// Whether what a member has read is the volume's contents; it may have fallen behind meanwhile.
    @inline(__always)
    func mayServeRead(of member: MemberIndex, inSync: MemberSet) -> Bool {
        inSync.contains(member) || broken == .behindMemberRead
    }

    /// Whether a region in which members in sync may differ is copied before it is read (invariant 7).
    var mustReconcileBeforeRead: Bool { broken != .unreconciledRead }

    // MARK: Writes

    /// Members that a write is sent to: all that are active, in sync or being brought up to date (invariant 8).
    @inline(__always)
    func writers(active: MemberSet, inSync: MemberSet) -> MemberSet {
        broken == .returningMemberNotWritten ? active.intersection(inSync) : active
    }

    /// Whether data waits until its region's bit is durable (invariant 3).
    var mustMarkBeforeSending: Bool { broken != .intentAfterSend }

    /// Whether what a member lacks is noted on the others before the write is acknowledged (invariant 1).
    var mustMarkBehind: Bool { broken != .behindBitsNotSet }

    /// Members of `all` that a flush is sent to.
    @inline(__always)
    func flushed(_ all: MemberSet) -> MemberSet { broken == .flushSkipsMember ? all.without(1) : all }

    /// Whether a member in sync that has not done an operation keeps it from being acknowledged (invariant 1).
    var mustHaveAllInSync: Bool { broken != .flushSkipsMember && broken != .acknowledgeBeforeRecord }

    /// Whether an acknowledgement waits for the record (invariant 2).
    var mustRecordBeforeAcknowledging: Bool { broken != .acknowledgeBeforeRecord }

    /// Whether `copies` of a write are enough to acknowledge it (invariant 1).
    @inline(__always)
    func areEnough(copies: Int, minimum: Int) -> Bool {
        switch broken {
        case .returningMemberNotWritten: true
        case .allCopiesNeeded: copies == MemberSet.all.count
        default: copies >= minimum
        }
    }

    /// Whether a host's buffer is kept until no member's command can reach it (invariant 6).
    var mustKeepBuffers: Bool { broken != .bufferGivenBackAtTimeout }

    /// Whether a member that fails a flush is given up, because its next one need not cover what that one should have.
    var mustGiveUpAfterFailedFlush: Bool { broken != .failedFlushTrusted }

    /// Whether a region's bit is cleared when nobody has written to it for a while.
    var mustClearBits: Bool { broken != .bitsKept }

    /// Whether a region's bit is cleared only after a flush (invariant 3).
    var mustFlushBeforeClearing: Bool { broken != .intentClearedUnflushed }

    // MARK: Copies and scrubs

    /// Whether a region has been copied only when all of it has (invariant 8).
    var mustCopyWholeRegion: Bool { broken != .copyEndsShort }

    /// Whether what was copied counts only after a flush (invariants 3 and 8).
    var mustFlushCopies: Bool { broken != .copyCountsUnflushed }

    /// Whether a region counts as copied that has been, the volume's `number`th.
    func countsAsCopied(number: UInt64) -> Bool { broken != .copiesDoneTwice || number % 2 == 0 }

    /// Whether a scrub tells that members differ.
    var mustTellDifferences: Bool { broken != .scrubFindsNothing }

    // MARK: The loss of a member

    /// Whether a member that takes long for one command has its time.
    var mustBePatient: Bool { broken != .memberGivenUpAtOnce }

    /// Whether what a lost member had not flushed is marked, by the survivors and from its own map.
    var mustMarkLosses: Bool { broken != .lossNotMarked }

    /// Whether a record says that the member is behind (invariant 2).
    var mustRecordLosses: Bool { broken != .lossNotRecorded }

    /// Whether a member is used again only once the commands of its old association are over (invariant 6).
    var mustAwaitOldAssociations: Bool { broken != .oldAssociationNotAwaited }

    /// Whether a target's notice that another initiator has preempted this one deposes the volume.
    var mustHeedNotifications: Bool { broken != .notificationIgnored }

    /// Whether others are kept out of a member before it is believed (invariant 5).
    var mustPreempt: Bool { broken != .othersNotPreempted }

    /// Whether a member is read again once others are kept out (invariant 5).
    var mustReadAfterFencing: Bool { broken != .surveyBelieved }

    /// The command that keeps a deposed initiator out (invariant 5).
    func preemption(of victim: UInt64, key: UInt64) -> ReservationCommand {
        broken == .preemptWithoutAbort
            ? .preempt(key: key, preempted: victim) : .preemptAndAbort(key: key, preempted: victim)
    }

    // MARK: The record

    /// Whether a detach waits for the record that says that the members are clean.
    var mustRecordDetach: Bool { broken != .detachUnrecorded }

    /// Whether a record that has only been sent counts as confirmed.
    func maySentRecordCount(in phase: VolumePhase) -> Bool {
        broken == .recordSentIsBelieved && (phase == .serving || phase == .suspended)
    }

    /// Whether the record is valid that the members `confirmed` have, and `holders` must have (invariant 2). Once the volume is
    /// served, data may be written where a member's metadata was before the volume grew: the first record needs all that
    /// are `active`.
    func isValid(confirmed: MemberSet, holders: MemberSet, active: MemberSet, isFirst: Bool) -> Bool {
        if broken == .recordConfirmedByOne { return !confirmed.isEmpty }
        return holders.subtracting(confirmed).isEmpty && confirmed.count >= 2 && (!isFirst || active == confirmed)
    }

    /// Whether a member that lacks no region is taken into sync, by whether it holds the valid record.
    func mayTakeIntoSync(holdsRecord: Bool) -> Bool { holdsRecord || broken == .unconfirmedMemberTaken }

    /// Which of two records that were found is believed (invariant 5).
    func prefers(_ stamp: RecordStamp, to other: RecordStamp) -> Bool {
        broken == .oldestRecordTrusted ? stamp < other : stamp > other
    }

    /// Whether a namespace whose place another one has taken is refused when it comes back.
    var mustRefuseReplaced: Bool { broken != .replacedMemberBelieved }

    /// Whether a namespace that takes a member's place lacks everything, whatever record of the volume it has (invariant 8).
    var mustCopyAllToReplacements: Bool { broken != .formerRecordBelieved }

    /// Whether a record counts only where the members in sync that it names have confirmed it.
    var mustBeConfirmed: Bool { broken != .unconfirmedRecordBelieved }

    /// Whether a member holds a record only when both of its slots do.
    var mustFillBothSlots: Bool { broken != .recordInOneSlot && broken != .recordSentIsBelieved }

    /// Whether a slot counts only where its checksum is right.
    var mustSumRecords: Bool { broken != .tornRecordBelieved }

    /// Whether set bits force copies where all records agree (invariant 7).
    var mustHeedBitsOfEqualRecords: Bool { broken != .equalEpochsTrusted }

    /// The fate of what a member had not flushed, by the instance of its cache and the number that was recorded.
    func fate(of cache: CacheInstance, recorded: UInt64) -> CacheFate {
        if broken == .bootInstanceIgnored { return .kept }
        if cache.number == 0 || recorded == 0 { return broken == .untoldCacheLost ? .lost : .untold }
        if cache.number == recorded { return .kept }
        let isOpenSince = cache.opening != 0 && cache.opening <= recorded && recorded < cache.number
        return isOpenSince && broken != .readableCacheLost ? .readable : .lost
    }

    /// Whether the member that dirty regions are copied from is written too.
    var mustRewriteSource: Bool { broken != .sourceNotRewritten }

    /// Whether what a member has cached may be lost when it fails a write that has to be durable.
    var mustDoubtFailedDurability: Bool { broken != .failedDurabilityTrusted }

    /// Whether a flush waits until what was in caches that are lost has been written again.
    var mustRewriteBeforeFlush: Bool { broken != .flushBeforeRewritten }

    /// Whether a member falls behind by the regions that it was copied from and could not write again.
    var mustDoubtUnwritten: Bool { broken != .unwrittenSourceTrusted }

    /// Whether another's registration may be of one who has detached, as the record says.
    func grace(after record: Superblock?) -> FencingGrace? {
        broken == .everyWriterDetached ? FencingGrace() : record?.grace
    }

    /// The members in sync of those `present`, some of which, `intact`, have kept their caches (invariant 7).
    func inSync(present: MemberSet, intact: MemberSet) -> MemberSet {
        intact.isEmpty || broken == .lostCacheInSync ? present : intact
    }
}
