import Base

/// One volume over three members: consumes events and yields actions; knows no clock, thread or socket.
///
/// A driver calls `submit`, `complete`, `handle` and `tick` from one thread, and after each call (or batch of calls)
/// takes `requests`, `completions` and `takeActions()`. It holds the rules that `MemberRequest`, `MemberEvent` and
/// `VolumeAction` state. In steady state nothing is allocated.
///
/// This is the engine as its driver sees it; its parts are joined by `VolumeParts`.
public struct VolumeEngine: ~Copyable {
    private var parts: VolumeParts
    /// When `tick` was called last.
    private var tickedAt = MonotonicTime.distantFuture
    /// Until then nothing was to be done, and no tick wanted: time without one is no standstill.
    private var quietUntil = MonotonicTime(nanoseconds: 0)

    /// Bytes of I/O memory that the engine needs, aligned to 4096: the driver allocates and registers it.
    public static func arenaByteCount(_ configuration: VolumeConfiguration) -> Int {
        ArenaLayout(configuration).byteCount
    }

    /// `arena` is `arenaByteCount` bytes that outlive the engine.
    public init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer) {
        self.init(configuration, arena: arena, rules: Rules())
    }

    package init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer, rules: Rules) {
        parts = VolumeParts(configuration, arena: arena, rules: rules)
    }

    // MARK: Output

    /// Commands to send, in order; `removeRequests` once they have been taken.
    public var requests: UnsafeBufferPointer<MemberRequest> { parts.volume.outbox.requests }
    public mutating func removeRequests() { parts.volume.outbox.removeRequests() }

    /// Host I/Os that have ended; `removeCompletions` once they have been taken.
    public var completions: UnsafeBufferPointer<HostCompletion> { parts.volume.outbox.completions }
    public mutating func removeCompletions() { parts.volume.outbox.removeCompletions() }

    /// Requests to the driver beside I/O; empties the list.
    public mutating func takeActions() -> [VolumeAction] { parts.volume.outbox.takeActions() }

    // MARK: Input

    /// Takes a host's I/O. False when `queueDepth` are running: submit it again after one has completed.
    public mutating func submit(_ request: HostRequest, now: MonotonicTime) -> Bool {
        parts.volume.now = now
        guard parts.io.submit(request, &parts.volume, &parts.background) else { return false }
        parts.pump()
        return true
    }

    /// Takes members' completions.
    public mutating func complete(_ completions: UnsafeBufferPointer<MemberCompletion>, now: MonotonicTime) {
        parts.volume.now = now
        for completion in completions { parts.route(completion) }
        parts.pump()
    }

    /// Takes an event of the control plane.
    public mutating func handle(_ event: MemberEvent, now: MonotonicTime) {
        parts.volume.now = now
        parts.handle(event)
        parts.pump()
    }

    /// When `tick` wants to be called next, at the latest. Asked in each round, and mutating for that: for a getter the compiler
    /// copies the whole engine.
    public mutating func nextTick() -> MonotonicTime {
        let isBusy =
            parts.io.operations.hostRunning > 0 || parts.background.copies.running > 0 || parts.volume.phase != .serving
            || parts.volume.members.active != .all
        guard parts.volume.phase != .detached else { return .distantFuture }
        let wait = isBusy ? 5 : parts.isQuiet() ? Self.quietMilliseconds : Self.idleMilliseconds
        return parts.volume.now.advanced(byMilliseconds: wait)
    }

    /// Between ticks where nothing runs, and where time brings nothing about either.
    private static let idleMilliseconds: UInt64 = 50
    private static let quietMilliseconds: UInt64 = 5000

    /// Lets time pass.
    public mutating func tick(now: MonotonicTime) {
        parts.volume.now = now
        guard parts.volume.phase != .detached else { return }
        parts.tick(since: tickedAt == .distantFuture ? tickedAt : max(tickedAt, min(quietUntil, now)))
        tickedAt = now
        parts.pump()
        quietUntil =
            parts.isQuiet() ? now.advanced(byMilliseconds: Self.quietMilliseconds - Self.idleMilliseconds) : now
    }

    // MARK: Beginning and end

    /// Attaches the volume. `nonce` is a random number of this attachment. Ends in phase `serving`, or in `attachFailed`.
    public mutating func attach(nonce: UInt32, now: MonotonicTime) {
        invariant(
            parts.volume.phase == .detached && parts.volume.record.attachmentKey == 0, "an engine attaches once")
        parts.volume.now = now
        parts.attachment.begin(nonce: nonce)
        parts.become(.attaching)
        parts.tickMembers()
    }

    /// Detaches: drains, flushes all members, clears the maps, marks clean, releases, in that order. New I/O is refused.
    /// The reservations stay while a writer that was fenced may still write (`VolumeConfiguration.releaseDelay`).
    /// False where the volume is not being served.
    ///
    /// - Parameter leavesReservations: they stay, for another host that attaches at once and takes them away: members store what becomes
    ///   of them, which may take long.
    public mutating func detach(now: MonotonicTime, leavesReservations: Bool = false) -> Bool {
        parts.volume.now = now
        guard parts.volume.phase == .serving || parts.volume.phase == .suspended else { return false }
        parts.volume.life.leavesReservations = leavesReservations
        parts.background.scrub.stop()
        parts.volume.life.resetDetach(now)
        parts.become(.detaching)
        parts.io.releaseHeld(&parts.volume, &parts.background)
        parts.pump()
        return true
    }

    /// Lets the volume go as it is, as a crash would: nothing is flushed, marked or released.
    public mutating func abandon(now: MonotonicTime) {
        parts.volume.now = now
        guard parts.volume.phase != .detached, parts.volume.phase != .deposed else { return }
        parts.perform(.depose(.abandoned))
        parts.pump()
    }

    /// A detach now would leave the reservations at the members: a writer that was fenced may still write.
    public var keepsReservations: Bool { parts.volume.now < parts.attachment.graceEnd }

    // MARK: Operators

    /// Stops copying to members that are behind, after the regions that are under way.
    public mutating func pauseResync() { parts.background.copies.pace.isPaused = true }

    public mutating func resumeResync() {
        parts.background.copies.pace.isPaused = false
        parts.volume.agenda.insert(.copies)
    }

    /// Bytes per second that are copied, but for regions that a read waits for; 0 for no limit.
    public mutating func setResyncRate(_ bytesPerSecond: UInt64) { parts.background.copies.pace.rate = bytesPerSecond }

    /// Compares all regions once; `scrubFinished` tells the result, and `mismatch` each region that differs.
    public mutating func startScrub() { parts.background.scrub.start() }
    public mutating func stopScrub() { parts.background.scrub.stop() }

    /// Declares `source` right for a region in which a scrub found members to differ: it is copied to the others, and
    /// served again.
    public mutating func repairRegion(_ region: RegionIndex, from source: MemberIndex, now: MonotonicTime) {
        parts.volume.now = now
        guard parts.volume.phase == .serving, region.offset < parts.volume.maps.regionCount,
            parts.volume.readers.contains(source)
        else { return }
        parts.background.copies.repair(region, from: source, &parts.volume)
        parts.pump()
    }

    /// Puts a new namespace in a member's place; `connect` for the member means the new one from now on. Everything is
    /// copied to it, and the volume is served meanwhile. False where the volume is not served, where no other member is
    /// in sync by a valid record (a moment later it may be), or where the new namespace is another of the volume's already.
    /// A namespace that is being put there, or was, is copied to anew: what is there is not believed.
    public mutating func replaceMember(_ member: MemberIndex, uuid: UUIDBytes, now: MonotonicTime) -> Bool {
        parts.volume.now = now
        guard parts.volume.mayReplace(member, by: uuid) else { return false }
        parts.lose(member, .removed)
        parts.volume.replace(member, by: uuid)
        parts.background.copies.takeOutOfSync(member, &parts.volume)
        if parts.volume.rules.mustCopyAllToReplacements { parts.volume.maps.addEverything(to: member) }
        parts.volume.changeRecord()
        parts.reviewService()
        parts.pump()
        return true
    }

    /// Enlarges the volume to `dataBlocks` after its three namespaces have grown (`MemberEvent.resized`). I/O waits while
    /// the metadata moves to the members' new ends; the new blocks are then copied from one member to the others, and are
    /// read as that member holds them. Ends in the notice `grown` or `growFailed`.
    ///
    /// False where that is not possible now: all members have to be in sync and large enough, and the new metadata must
    /// not overlap the old, which stays valid until the new is. Until `grown` has come, the registry keeps the old sizes
    /// as `VolumeConfiguration.formattedBlocks`; then it takes them from the record, which says of a member that was lost
    /// meanwhile where its metadata still is.
    public mutating func grow(dataBlocks: UInt64, now: MonotonicTime) -> Bool {
        parts.volume.now = now
        guard parts.attachment.prepareGrowth(dataBlocks: dataBlocks, parts.volume) else { return false }
        parts.enterRecovery()
        parts.pump()
        return true
    }

    /// Marks the volume's contents, which only become greater; a first write marks a blank volume by itself. Ends in the notice
    /// `contentsMarked` where that changes anything. False where the volume is not being served.
    public mutating func mark(_ contents: VolumeContents, now: MonotonicTime) -> Bool {
        parts.volume.now = now
        guard parts.volume.phase == .serving else { return false }
        guard contents > parts.volume.record.contents else { return true }
        parts.volume.mark(contents)
        parts.pump()
        return true
    }

    // MARK: Observation

    /// The mark of the volume's contents that is durable; meaningful once it has been served.
    public var contents: VolumeContents { parts.volume.record.durableContents }

    /// How much a detach has still to do: less and less while it comes further, and 0 at its end. `Int.max` where the volume is
    /// not being detached.
    public var detachWorkLeft: Int {
        switch phase {
        case .detached: return 0
        case .detaching: break
        default: return .max
        }
        // A step is more than all that one of them can have to do.
        let steps = Int(DetachStep.releasing.rawValue - parts.volume.life.detachStep.rawValue) + 1
        return steps << 40 + parts.io.operations.hostRunning + parts.background.copies.running
            + parts.volume.maps.dirtyPageCount + parts.volume.members.connected.count
    }

    /// How long the steps of the last detach took.
    public var detachTimes: DetachTimes { parts.volume.life.detachTimes }

    public var configuration: VolumeConfiguration { parts.volume.configuration }

    /// The phase of the volume's life.
    public var phase: VolumePhase { parts.volume.phase }

    /// The volume's size and regions; meaningful once it has been served.
    public var geometry: VolumeGeometry { parts.volume.maps.geometry }

    /// The longest host I/O, in blocks.
    public var maximumTransferBlocks: UInt64 { parts.volume.maximumTransferBlocks }

    /// Counts since the engine was made.
    public var statistics: VolumeStatistics { parts.volume.outbox.statistics }

    /// Members that hold every acknowledged write.
    public var membersInSync: MemberSet { parts.volume.members.inSync }

    /// The record that names the members in sync is on all members that must have it.
    public var isRecordValid: Bool { parts.volume.record.isValid }

    /// This attachment's reservation key; its high half is the epoch. 0 before it is chosen.
    public var reservationKey: UInt64 { parts.volume.record.attachmentKey }

    /// The reservation key of the attachment that this one has taken the volume over from: its record was the last by which anything
    /// was acknowledged. 0 where there was none.
    public var predecessorKey: UInt64 { parts.volume.record.predecessorKey }

    /// That attachment had detached the volume clean.
    public var wasClean: Bool { parts.volume.record.predecessorWasClean }

    /// The state of the volume and its members, for an operator. Not for the I/O path: it counts bits.
    public var status: VolumeStatusReport {
        VolumeStatusReport(
            phase: phase, epoch: parts.volume.record.epoch, version: parts.volume.record.version,
            isRecordValid: parts.volume.record.isValid, dirtyRegions: parts.volume.maps.intents.count,
            unreconciledRegions: parts.volume.maps.unreconciledCount,
            quarantinedRegions: parts.volume.maps.quarantine.count,
            regionSize: geometry.regionSize,
            members: MemberSet.all.map {
                MemberStatusReport(
                    phase: parts.volume.members[$0].phase, isInSync: membersInSync.contains($0),
                    behindRegions: parts.volume.maps.behind($0).count, latency: parts.volume.members[$0].pace.latency,
                    lastLoss: parts.volume.members[$0].connection.lossReason)
            })
    }

    /// The things that the engine waits for, in lines of text: for the trace of a failing seed.
    package var internals: String {
        var lines = [
            "phase \(phase), record \(parts.volume.record.version) valid \(parts.volume.record.isValid), in sync \(membersInSync), "
                + "active \(parts.volume.members.active), copies \(parts.background.copies.running), copied "
                + "\(parts.background.copies.unflushed), flushing \(parts.background.isFlushing)"
        ]
        for slot in parts.io.operations.places where parts.io.operations[slot].state != .free {
            let operation = parts.io.operations[slot]
            lines.append(
                "slot \(slot.position): \(operation.kind) \(operation.state) \(operation.start)+\(operation.count) blockers "
                    + "\(operation.order.blockers) pending \(operation.progress.pending) done \(operation.progress.done)"
            )
        }
        for member in MemberSet.all {
            lines.append(
                "member \(member): \(parts.volume.members[member].phase) \(parts.volume.members[member].joining.step) outstanding "
                    + "\(parts.volume.members[member].outstanding) copies again at "
                    + "\(parts.volume.members[member].copyRetry.at.nanoseconds)")
        }
        return lines.joined(separator: "\n")
    }
}
