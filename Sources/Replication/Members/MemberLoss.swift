import Base

extension VolumeEngine {
    /// Gives a member up: its connection is torn down, and what it may lack is noted (rules R4 and R25 of the failure
    /// matrix). What was sent to it stays pending until the driver has flushed its queue pair.
    mutating func loseMember(_ member: MemberIndex, _ reason: MemberLossReason) {
        guard members[member].phase.isConnected else { return }
        members[member].undeadAssociation = max(members[member].undeadAssociation, members[member].association)
        become(member, .disconnecting)
        actions.append(.disconnect(member))
        forget(member, reason)
    }

    /// The parts of a loss that are the same whoever ended the connection.
    private mutating func forget(_ member: MemberIndex, _ reason: MemberLossReason) {
        let wasUsed = active.contains(member)
        members[member].lossReason = reason
        members[member].step = .idle
        members[member].slowSince = .distantFuture
        statistics.memberLosses += 1
        notice(.memberLost(member, reason))
        active.remove(member)
        dropPageNeeds(of: member)
        for index in 0..<pool.capacity where slots[index].state != .free {
            slots[index].done.remove(member)
            slots[index].excused.remove(member)
            slots[index].failed.remove(member)
            if !rules.mustKeepBuffers, slots[index].pending.contains(member), slots[index].kind.isWrite {
                tellHost(index, .success)
            }
        }
        copies.forget(member)
        copied.forget(member)
        if wasUsed { noteLacking(member) }
        reviewsAcknowledgements = true
        reviewsReconcile = true
        reviewsIntents = true
        switch phase {
        case .serving, .suspended, .detaching:
            if wasUsed, detachStep != .releasing { excuse(member) }
            reviewService()
        case .attaching, .recovering:
            // The decision rested on this member: it is taken anew from what the others hold.
            if isDeciding { restartsDecision = true }
        case .detached, .deposed: break
        }
    }

    /// Invariant 3: what a lost member had not flushed, it may lack, even if it missed nothing.
    private mutating func noteLacking(_ member: MemberIndex) {
        guard rules.mustMarkLosses else { return }
        addAll(maps.intents, kind: member.number)
        if inSync.contains(member) { quarantineWithout(member) }
        // What was to be written anew on it still is.
        addAll(maps.repair[member], kind: member.number)
        addAll(maps.unreconciled, kind: member.number)
        maps.repair[member].clear()
    }

    /// The lost member alone was right in regions that a scrub had found to differ (`repairRegion`): none of the others is
    /// to be believed there, nor copied to it.
    private mutating func quarantineWithout(_ member: MemberIndex) {
        let others = active.intersection(inSync)
        guard others != [] else { return }
        for word in 0..<maps.unreconciled.wordCount where maps.unreconciled.words[word] != 0 {
            var orphaned = maps.unreconciled.words[word]
            for other in others { orphaned &= maps.repair[other].words[word] }
            orphaned &= namedByScrub(word)
            maps.quarantine.words[word] |= orphaned
            maps.unreconciled.words[word] &= ~orphaned
            for other in others { maps.repair[other].words[word] &= ~orphaned }
        }
    }

    /// Regions of a word that a scrub found to differ and that are not repaired yet: others are repaired because they could
    /// not be read, and hold nothing wrong. Where there are more than the record names, any may be one.
    private func namedByScrub(_ word: Int) -> UInt64 {
        if quarantined.count >= maps.geometry.quarantineCapacity { return ~0 }
        var bits: UInt64 = 0
        for region in quarantined where region / 64 == word { bits |= 1 << UInt64(region % 64) }
        return bits
    }

    /// Takes a lost member out of the members in sync, if others are left that are there.
    private mutating func excuse(_ member: MemberIndex) {
        guard inSync.contains(member), inSync.intersection(active) != [] else { return }
        inSync.remove(member)
        if reconcileSource == member { reconcileSource = fastest(active.intersection(inSync)) }
        endReconcileIfSingle()
        if rules.mustRecordLosses { changeRecord() }
    }

    /// With one member in sync left there is nothing to differ from.
    mutating func endReconcileIfSingle() {
        guard inSync.count == 1, !maps.unreconciled.isEmpty else { return }
        maps.unreconciled.clear()
        reviewsReconcile = true
    }

    /// A member in sync failed writes to `regions` and is connected still: it falls behind by these regions alone.
    mutating func demote(_ member: MemberIndex, regions: ClosedRange<Int>) {
        guard active.contains(member) else { return }
        copied.invalidate(regions)
        _ = requestBehind(member, regions)
        delayCopies(to: member)
        guard inSync.contains(member), active.intersection(inSync).count > 1 else { return }
        statistics.demotions += 1
        notice(.memberDemoted(member))
        for region in 0..<maps.regionCount where maps.repair[member][region] || maps.unreconciled[region] {
            _ = requestBehind(member, region...region)
        }
        maps.repair[member].clear()
        copies.forget(member)
        copied.forget(member)
        inSync.remove(member)
        if reconcileSource == member { reconcileSource = fastest(active.intersection(inSync)) }
        endReconcileIfSingle()
        changeRecord()
    }

    /// Lets copies to a member wait, longer each time.
    mutating func delayCopies(to member: MemberIndex) {
        guard now >= members[member].copyRetryAt else { return }
        members[member].copyRetryDelay = min(
            max(configuration.retryDelay, members[member].copyRetryDelay * 2), configuration.reconnectDelayMaximum)
        members[member].copyRetryAt = now.advanced(byNanoseconds: members[member].copyRetryDelay)
    }

    /// Finds out whether the volume can be served with the members that are there (invariant 9).
    mutating func reviewService() {
        switch phase {
        case .serving, .suspended: break
        case .detaching where detachStep != .releasing: break
        default: return
        }
        if active.intersection(inSync) == [] { return enterRecovery() }
        let enough = max(2, record.minimumCopies)
        if active.count < enough {
            lookForMembers()
            guard phase == .serving else { return }
            become(.suspended)
            notice(.waitingFor(MemberSet.all.subtracting(active)))
            if configuration.suspendPolicy == .fail { reviewsAcknowledgements = true }
        } else if phase == .suspended {
            become(.serving)
            releaseHeld()
            reviewsIntents = true
            reviewsReconcile = true
            copies.mayStart = true
        }
    }

    /// The volume waits for members: those that are away are connected at once, also one that is kept out for having been
    /// slow.
    private mutating func lookForMembers() {
        for member in MemberSet.all where members[member].phase == .disconnected {
            members[member].connectAt = min(members[member].connectAt, now)
        }
    }

    /// No member in sync is left: everything starts again from what the members hold, with the host's I/O kept.
    mutating func enterRecovery() {
        detachStep = .idle
        become(.recovering)
        lookForMembers()
        isDeciding = false
        isWaitingNoticed = false
        record.isValid = false
        copied = CopiedRegions()
        reviewsAcknowledgements = true
        reviewsIntents = true
        reviewsReconcile = true
    }

    // MARK: Events of the connection

    mutating func memberConnected(
        _ member: MemberIndex, association: UInt64, bootInstance: UInt64, blocks: UInt64
    ) {
        guard members[member].phase == .connecting else { return }
        become(member, .draining)
        members[member].association = association
        members[member].bootInstance = bootInstance
        members[member].blocks = blocks
        members[member].latency = 0
        members[member].writeLatency = 0
        members[member].slowest = 0
        members[member].keysSeen = []
        members[member].joinFailed = false
        // A volume that has ended, or is about to, keeps no connection that was being made.
        if phase == .deposed || phase == .detached || isEnding { return loseMember(member, .removed) }
        startSurveyIfDrained(member)
    }

    mutating func associationDied(_ member: MemberIndex, _ association: UInt64) {
        if members[member].undeadAssociation <= association { members[member].undeadAssociation = 0 }
        if members[member].phase == .draining { startSurveyIfDrained(member) }
    }

    /// Invariant 6: nothing is sent to a member while commands of its earlier association may land.
    private mutating func startSurveyIfDrained(_ member: MemberIndex) {
        guard members[member].undeadAssociation == 0 || !rules.mustAwaitOldAssociations else { return }
        members[member].undeadAssociation = 0
        startSurvey(member)
    }

    mutating func memberDisconnected(_ member: MemberIndex) {
        let was = members[member].phase
        guard was != .disconnected, was != .refused else { return }
        invariant(members[member].outstanding == 0, "a member's completions are delivered before its disconnection")
        if was.isConnected {
            members[member].undeadAssociation = max(members[member].undeadAssociation, members[member].association)
            forget(member, .disconnected)
        }
        if members[member].isRefused {
            members[member].isRefused = false
            become(member, .refused)
        } else {
            become(member, .disconnected)
        }
        members[member].reconnectDelay = min(
            max(configuration.reconnectDelay, members[member].reconnectDelay * 2), configuration.reconnectDelayMaximum)
        var delay = members[member].reconnectDelay
        if members[member].lossReason == .slow, phase == .serving, was != .connecting {
            delay = max(delay, members[member].slowCooldown)
        }
        members[member].connectAt = now.advanced(byNanoseconds: delay)
    }

    /// Connects members that are to be connected, and gives up steps that take too long.
    mutating func tickMembers() {
        for member in MemberSet.all {
            switch members[member].phase {
            case .disconnected:
                guard now >= members[member].connectAt, phase != .deposed, !isEnding else { continue }
                guard !configuration.excluded.contains(member) || replacementUUIDs[member] != nil else { continue }
                become(member, .connecting)
                actions.append(.connect(member))
            case .surveying, .fencing, .reading, .joining:
                if now.nanoseconds(since: members[member].stepStartedAt) > configuration.joinTimeout {
                    loseMember(member, .joinFailed)
                }
            case .active:
                if members[member].superblockVersionInFlight != 0,
                    now.nanoseconds(since: members[member].superblockIssuedAt) > configuration.commandTimeout
                {
                    loseMember(member, .timedOut)
                }
            case .connecting, .draining, .surveyed, .ready, .disconnecting, .refused: continue
            }
        }
        for index in 0..<staging.pool.capacity where staging.pool.slots[index].pending != [] {
            guard now.nanoseconds(since: staging.pool.slots[index].issuedAt) > configuration.commandTimeout else {
                continue
            }
            let late = staging.pool.slots[index].pending
            for member in late { loseMember(member, .timedOut) }
        }
    }

    /// The volume is being released: members that are lost now stay away.
    private var isEnding: Bool { phase == .detaching && detachStep == .releasing }
}
