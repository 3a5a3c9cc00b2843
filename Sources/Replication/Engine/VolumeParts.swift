import Base

/// The parts of a volume's engine together: gives each event to the part that it is for, works off what has become possible,
/// and does what a part asks for that concerns others (`Effect`).
struct VolumeParts: ~Copyable {
    var volume: VolumeState
    var io: HostIO
    var background: Background
    var attachment = Attachment()

    init(_ configuration: VolumeConfiguration, arena: UnsafeMutableRawPointer, rules: Rules) {
        volume = VolumeState(configuration, arena: arena, rules: rules)
        io = HostIO(configuration, rules: rules)
        background = Background(configuration)
    }

    /// Takes an event of the control plane.
    mutating func handle(_ event: MemberEvent) {
        switch event {
        case .connected(let member, let association, let cache, let blocks):
            memberConnected(member, association: association, cache: cache, blocks: blocks)
        case .disconnected(let member): memberDisconnected(member)
        case .associationDead(let member, let association):
            volume.members.associationDied(member, association)
            if volume.members[member].phase == .draining { surveyIfDrained(member) }
        case .resized(let member, let blocks): memberResized(member, blocks: blocks)
        case .registrationPreempted(let member):
            if volume.rules.mustHeedNotifications { perform(.depose(.superseded(member: member))) }
        case .reservationDone(let member, let status):
            perform(attachment.reservationDone(member, status, &volume))
        case .reservationReport(let member, let report):
            perform(attachment.reservationReported(member, report, &volume))
        }
    }

    /// Lets time pass; `last` is when it did so before.
    mutating func tick(since last: MonotonicTime) {
        forgiveStandstill(since: last)
        tickMembers()
        tickOperations()
        guard volume.life.isServing else { return }
        dispatch(background.tickHousekeeping(&io.operations, &volume))
        volume.tickQuarantine()
        background.scrub.tick(&io.operations, &volume)
        tickSlowMembers()
    }

    /// Nothing is under way, wanted or to be cleared: until somebody asks or a member goes, time brings nothing about.
    mutating func isQuiet() -> Bool {
        volume.phase == .serving && volume.agenda.isEmpty && volume.members.active == .all
            && volume.members.inSync == .all
            && io.operations.hostRunning == 0 && background.copies.running == 0 && background.copies.unflushed == 0
            && !background.isFlushing && !background.wantsFlush && !background.scrub.isRunning
            && volume.maps.intents.isEmpty && volume.maps.unreconciled.isEmpty && volume.maps.quarantine.isEmpty
            && !volume.maps.hasDirtyPages && volume.pages.isIdle
            && MemberSet.all.allSatisfy { volume.members[$0].record.versionInFlight == 0 }
    }

    // MARK: Working off

    /// Does what has become possible. Ends, because each step uses up what made it possible.
    mutating func pump() {
        var again = true
        while again {
            again = false
            if !volume.agenda.isDisjoint(with: .urgent) { again = true; review() }
            if let slot = io.operations.nextInTurn() { again = true; takeTurn(slot) }
        }
        if volume.maps.hasDirtyPages || background.copies.unflushed > 0 || volume.agenda.contains(.copies) {
            volume.pumpPages()
            pumpCopies()
        }
        switch volume.phase {
        case .serving: break
        case .attaching, .recovering: for effect in attachment.pump(&volume) { perform(effect) }
        case .detaching: pumpDetach()
        case .detached, .suspended, .deposed: break
        }
        // A scrub goes on at once where nobody else wants the members, else with the next tick.
        if background.scrub.isRunning, io.operations.hostRunning == 0 {
            background.scrub.tick(&io.operations, &volume)
        }
    }

    /// Looks at what waits and may not have to any more.
    private mutating func review() {
        if volume.agenda.remove(.doubts) != nil {
            for member in volume.members.takeDoubted() { lose(member, .metadataFailed) }
        }
        if volume.agenda.remove(.acknowledgements) != nil { io.reviewAcknowledgements(&volume, &background) }
        if volume.agenda.remove(.intents) != nil { io.reviewIntents(&volume, &background) }
        if volume.agenda.remove(.reconciled) != nil {
            io.dispatchAll(.reconcile, &volume, &background)
            io.dispatchAll(.rewrite, &volume, &background)
        }
    }

    private mutating func takeTurn(_ slot: OperationIndex) {
        switch io.operations[slot].kind {
        case .read, .write, .writeZeroes, .flush: io.dispatch(slot, &volume, &background)
        case .copy: background.copies.dispatch(slot, &io.operations, &volume)
        case .scrub: background.scrub.dispatch(slot, &io.operations, &volume)
        }
    }

    private mutating func pumpCopies() {
        guard background.copies.isDue(io.operations, volume) else { return }
        if background.copies.pump(&io.operations, &volume) {
            dispatch(background.startFlush(clears: false, &io.operations, &volume))
        }
        if !volume.agenda.contains(.copies), background.copies.unflushed == 0 { background.copies.review(&volume) }
    }

    private mutating func pumpDetach() {
        let isIdle =
            io.operations.hostRunning == 0 && background.copies.running == 0 && !background.isFlushing
            && !background.scrub.isComparing
        switch Detachment.pump(
            &volume, isIdle: isIdle, isFlushing: background.isFlushing, graceEnd: attachment.graceEnd)
        {
        case .flush: dispatch(background.startFlush(clears: true, &io.operations, &volume))
        case .lose(let members): for member in members { lose(member, .removed) }
        case .end: become(.detached)
        case nil: break
        }
    }

    private mutating func dispatch(_ slot: OperationIndex?) {
        if let slot { io.dispatch(slot, &volume, &background) }
    }

    mutating func route(_ completion: MemberCompletion) {
        guard let tag = Tag(rawValue: completion.tag), volume.members[tag.member].outstanding > 0 else {
            invariantViolated("a completion belongs to a command that was sent")
        }
        volume.members[tag.member].outstanding -= 1
        let status = completion.status
        if status == .reservationConflict { perform(.depose(.superseded(member: tag.member))) }
        switch tag.purpose {
        case .operation: operationCompleted(tag, status)
        case .page: pageCompleted(tag, status)
        case .superblock: recordCompleted(tag.member, status)
        case .join: perform(attachment.joinCommandEnded(tag.member, status, &volume))
        }
    }

    private mutating func operationCompleted(_ tag: Tag, _ status: MemberStatus) {
        let slot = io.operations.claim(tag)
        let member = tag.member
        if status == .success { noteLatency(slot, member) }
        if status == .unknown, volume.members.active.contains(member) { lose(member, .outcomeUnknown) }
        switch io.operations[slot].kind {
        case .read, .write, .writeZeroes: io.completed(slot, member, status, &volume, &background)
        case .flush:
            if status == .mediaError || status == .noSpace, volume.members.active.contains(member),
                volume.rules.mustGiveUpAfterFailedFlush
            {
                lose(member, .metadataFailed)
            }
            io.completed(slot, member, status, &volume, &background)
        case .copy: background.copies.completed(slot, member, status, &io.operations, &volume)
        case .scrub: background.scrub.completed(slot, member, status, &io.operations, &volume)
        }
    }

    @inline(__always)
    private mutating func noteLatency(_ slot: OperationIndex, _ member: MemberIndex) {
        let operation = io.operations[slot].kind
        guard operation == .read || operation == .write else { return }
        volume.members[member].pace.note(
            volume.now.nanoseconds(since: io.operations[slot].times.issuedAt),
            isWrite: operation == .write && !io.operations[slot].compares)
    }

    private mutating func pageCompleted(_ tag: Tag, _ status: MemberStatus) {
        if let reason = volume.pageAnswered(tag.index, tag.member, status) { lose(tag.member, reason) }
        guard volume.pages.settle(tag.index, &volume.maps, volume.arena) else { return }
        volume.agenda.formUnion([.intents, .acknowledgements])
        for member in MemberSet.all { perform(attachment.checkJoined(member, &volume)) }
    }

    private mutating func recordCompleted(_ member: MemberIndex, _ status: MemberStatus) {
        switch volume.recordAnswered(member, status) {
        case .nothing: break
        case .lose(let reason): lose(member, reason)
        case .hasJoined: perform(attachment.checkJoined(member, &volume))
        case .confirmed:
            if volume.reviewRecord(), volume.life.mustDecide, volume.life.isDeciding, !attachment.restartsDecision {
                startServing()
            }
            volume.writeRecord(to: member)
        }
    }
}
