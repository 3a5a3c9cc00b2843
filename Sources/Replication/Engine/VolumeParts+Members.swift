import Base

extension VolumeParts {
    // MARK: Effects

    /// Does what a part asks for that concerns the others too.
    mutating func perform(_ effect: Effect?) {
        switch effect {
        case nil: break
        case .lose(let member, let reason): lose(member, reason)
        case .refuse(let member, let error):
            if volume.phase == .attaching, volume.record.attachmentKey == 0 {
                return perform(.failAttach(.metadata(error)))
            }
            volume.notice(.memberRefused(member, error))
            volume.members[member].connection.isRefused = true
            lose(member, .joinFailed)
        case .failAttach(let error):
            volume.ask(.attachFailed(error))
            endAll(.detached)
        // Another initiator has taken over: the volume stops, and no member is blamed (rule R22).
        case .depose(let error):
            guard volume.phase != .deposed, volume.phase != .detached else { return }
            if volume.phase == .attaching { volume.ask(.attachFailed(error)) }
            endAll(.deposed)
        case .decided(let sources, let rewritesSource, let areCachesLost):
            background.copies.decide(sources: sources, rewritesSource: rewritesSource, areCachesLost: areCachesLost)
        case .isReady(let member):
            // A detach needs two members that hold its record: one that comes back is taken in while it is under way.
            if volume.life.takesIn, !volume.life.isEnding { admit(member) }
        case .mayHaveJoined(let member): perform(attachment.checkJoined(member, &volume))
        case .reviewService: reviewService()
        }
    }

    private mutating func admit(_ member: MemberIndex) {
        for effect in attachment.admit(member, &volume) { perform(effect) }
    }

    mutating func become(_ next: VolumePhase) {
        if volume.life.become(next) { volume.ask(.phaseChanged(next)) }
    }

    private mutating func endAll(_ next: VolumePhase) {
        become(next)
        for member in volume.members.connected { lose(member, .removed) }
        for waiting in [Waiting.service, .intent, .reconcile, .rewrite, .pause, .record] {
            io.dispatchAll(waiting, &volume, &background)
        }
    }

    // MARK: The loss of a member

    /// Gives a member up: its connection is torn down, and what it may lack is noted (rules R4 and R25 of the failure
    /// matrix). What was sent to it stays pending until the driver has flushed its queue pair.
    mutating func lose(_ member: MemberIndex, _ reason: MemberLossReason) {
        guard volume.members[member].phase.isConnected else { return }
        volume.members.mayStillLand(member)
        volume.become(member, .disconnecting)
        volume.ask(.disconnect(member))
        forget(member, reason)
    }

    /// The parts of a loss that are the same whether the driver or the engine ended the connection.
    private mutating func forget(_ member: MemberIndex, _ reason: MemberLossReason) {
        let wasUsed = volume.takeOut(member, reason)
        io.operations.forget(member, &volume)
        background.copies.forget(member)
        if wasUsed { volume.noteLacking(member) }
        volume.agenda.formUnion(.waiting)
        switch volume.phase {
        case .serving, .suspended, .detaching:
            if wasUsed, volume.life.detachStep != .releasing { excuse(member) }
            reviewService()
        case .attaching, .recovering:
            // The decision rested on this member: it is taken anew from what the others hold.
            if volume.life.isDeciding { attachment.restartDecision() }
        case .detached, .deposed: break
        }
    }

    /// Takes a lost member out of the members in sync, if others are left that are there.
    private mutating func excuse(_ member: MemberIndex) {
        guard volume.members.inSync.contains(member), volume.members.usedInSync != [] else { return }
        background.copies.takeOutOfSync(member, &volume)
        if volume.rules.mustRecordLosses { volume.changeRecord() }
    }

    /// Finds out whether the volume can be served with the members that are there (invariant 9).
    mutating func reviewService() {
        guard volume.life.takesIn, !volume.life.isEnding else { return }
        if volume.members.usedInSync == [] { return enterRecovery() }
        if volume.members.active.count < max(2, volume.record.minimumCopies) {
            volume.members.lookForThem(now: volume.now)
            guard volume.phase == .serving else { return }
            become(.suspended)
            volume.notice(.waitingFor(MemberSet.all.subtracting(volume.members.active), .tooFew))
            if volume.configuration.suspendPolicy == .fail { volume.agenda.insert(.acknowledgements) }
        } else if volume.phase == .suspended {
            become(.serving)
            io.releaseHeld(&volume, &background)
            volume.agenda.formUnion([.intents, .reconciled, .copies])
        }
    }

    /// No member in sync is left: everything starts again from what the members hold, with the host's I/O kept.
    mutating func enterRecovery() {
        volume.life.resetDetach(volume.now)
        become(.recovering)
        volume.members.lookForThem(now: volume.now)
        attachment.recover(&volume)
        background.copies.forgetAll()
        volume.agenda.formUnion(.waiting)
    }

    /// The record by which the volume is served is valid.
    mutating func startServing() {
        attachment.isServed(&volume)
        let active = volume.members.active
        invariant(
            active.count >= 2 && volume.members.usedInSync != [], "invariant 5: two members hold the new record")
        become(active.count < max(2, volume.record.minimumCopies) ? .suspended : .serving)
        for member in active { volume.members[member].connection.reconnectDelay = 0 }
        attachment.endGrowth(&volume)
        volume.agenda.insert(.copies)
        background.copies.review(&volume)
        if volume.phase == .serving {
            io.releaseHeld(&volume, &background)
        } else {
            volume.notice(.waitingFor(MemberSet.all.subtracting(active), .tooFew))
        }
        for member in MemberSet.all where volume.members[member].phase == .ready { admit(member) }
    }

    // MARK: Connections

    mutating func memberConnected(
        _ member: MemberIndex, association: UInt64, cache: CacheInstance, blocks: UInt64
    ) {
        guard volume.members[member].phase == .connecting else { return }
        volume.members.connected(
            member, association: association, cache: cache, blocks: blocks, now: volume.now)
        // A volume that has ended, or is about to, keeps no connection that was being made.
        if volume.phase == .deposed || volume.phase == .detached || volume.life.isEnding {
            return lose(member, .removed)
        }
        surveyIfDrained(member)
    }

    /// Invariant 6: nothing is sent to a member while commands of its earlier association may land.
    mutating func surveyIfDrained(_ member: MemberIndex) {
        guard volume.members[member].connection.undeadAssociation == 0 || !volume.rules.mustAwaitOldAssociations else {
            return
        }
        volume.members[member].connection.undeadAssociation = 0
        perform(attachment.startSurvey(member, &volume))
    }

    mutating func memberDisconnected(_ member: MemberIndex) {
        let was = volume.members[member].phase
        guard was != .disconnected, was != .refused else { return }
        invariant(
            volume.members[member].outstanding == 0,
            "a member's completions are delivered before its disconnection")
        if was.isConnected {
            volume.members.mayStillLand(member)
            forget(member, .disconnected)
        }
        let wasSlow =
            volume.members[member].connection.lossReason == .slow && volume.phase == .serving && was != .connecting
        volume.members.disconnected(
            member, cooldown: wasSlow ? volume.members[member].pace.cooldown : 0, volume.configuration,
            now: volume.now)
    }

    /// A namespace has another size now.
    mutating func memberResized(_ member: MemberIndex, blocks: UInt64) {
        guard volume.members[member].phase.isConnected else { return }
        volume.members[member].connection.blocks = blocks
        if let layout = volume.members[member].joining.layout, blocks < layout.memberBlocks {
            perform(.refuse(member, .shrunk(member: member, found: blocks, expected: layout.memberBlocks)))
        } else {
            volume.memberGrew(member)
        }
    }

    // MARK: Time

    /// Connects members that are to be connected, and gives up those that take too long for something.
    mutating func tickMembers() {
        for member in MemberSet.all { perform(volume.tick(member)) }
        for place in volume.pages.places {
            let late = volume.pages.late(place, now: volume.now, timeout: volume.configuration.commandTimeout)
            for member in late { lose(member, .timedOut) }
        }
    }

    /// Looks for pauses that are over, and for commands that take too long.
    mutating func tickOperations() {
        io.tick(&volume, &background)
        for slot in io.operations.places where io.operations[slot].state != .free {
            for member in io.late(slot, volume) { lose(member, .timedOut) }
            for member in io.refusing(slot, volume) { lose(member, .timedOut) }
        }
    }

    /// Gives members up that are slower than the others: one slow target costs that long once, not its latency on every write.
    /// None stands out where all stall now and then, as on processors that are overloaded. Judged by writes, which all
    /// members get: a read has nothing beside it to be measured by, and goes to the fastest anyway. Never below what the
    /// volume needs.
    mutating func tickSlowMembers() {
        guard volume.configuration.slowFactor > 0, volume.phase == .serving else { return }
        let oldest = io.operations.oldestWrites(volume.now)
        for member in MemberSet.all { volume.members[member].pace.decay(oldest: oldest[member]) }
        for member in volume.members.active where volume.isSlowForLong(member, oldest: oldest[member]) {
            volume.outbox.statistics.slowDemotions += 1
            lose(member, .slow)
        }
    }

    /// A process that stood still must not judge others by the time that went by: it was stopped, or had no processor, and
    /// what members answered meanwhile may not have arrived yet. It does not count for anything that they are waited for.
    mutating func forgiveStandstill(since last: MonotonicTime) {
        let now = volume.now
        guard last < now else { return }
        let gap = now.nanoseconds(since: last)
        guard gap > volume.configuration.standstill else { return }
        volume.outbox.statistics.standstills += 1
        func later(_ time: MonotonicTime) -> MonotonicTime { min(now, time.advanced(byNanoseconds: gap)) }
        io.operations.forgive(later)
        volume.pages.forgive(later)
        volume.members.forgive(later)
    }
}
