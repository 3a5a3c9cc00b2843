import Base
import BlockInterface
import Replication
import Simulation
import VolumeDriver

/// Events that volumes tell their users.
extension VolumeWorld {
    func observed(_ event: VolumeEvent, by initiator: InitiatorProcess) {
        guard initiator.isAlive else { return }
        trace { "h\(initiator.number) \(event)" }
        switch event {
        case .phase(let phase): entered(phase, initiator)
        case .notice(let notice): noticed(notice, initiator)
        case .attachFailed(let error):
            if case .metadata(let error) = error, isInformed(initiator), !isMisread, hadStrangers == [] {
                fail(.metadataRefused, "h\(initiator.number): the attach failed: \(error)")
            }
            if case .superseded = error { meet(.attachSuperseded) }
        case .memberUnreachable: break
        }
    }

    /// Metadata has been read that was not what is there: whoever refused it was right.
    var isMisread: Bool { happened.contains { $0.kind == .misreadRecords } }

    /// One that was not told of a replaced member, or of a growth, takes what it finds for a stranger's: its operator begins
    /// anew.
    func isInformed(_ initiator: InitiatorProcess) -> Bool {
        fresh.subtracting(initiator.knownFresh) == [] && initiator.knownBlocks == registeredBlocks
    }

    private func entered(_ phase: VolumePhase, _ initiator: InitiatorProcess) {
        guard let volume = initiator.volume else { return }
        let previous = initiator.phase
        initiator.phase = phase
        switch phase {
        case .serving:
            if initiator.servedAt == nil {
                setServing(initiator, volume.engine.geometry)
                if volume.engine.status.unreconciledRegions > 0, crashedWithWrites { meet(.initiatorDiesBetweenSends) }
                crashedWithWrites = false
                checkCoverage("after the attach")
                if history.sequence > 0, volume.engine.contents == .blank {
                    fail(.contents, "h\(initiator.number): a volume with acknowledged writes is marked as blank")
                }
                if profile.exports {
                    network.schedule(afterNanoseconds: 0) { [unowned initiator] in initiator.export() }
                }
            } else if previous == .suspended {
                meet(.serviceResumed)
            }
        case .suspended:
            if previous == .serving { meet(.twoTargetsLost) }
            if profile.onlyFaulty != nil, !isServed(after: initiator), !initiator.wasPaused {
                fail(.notAvailable, "h\(initiator.number) is suspended, with one member at fault")
            }
        case .recovering: meet(.noMemberInSync)
        case .deposed:
            meet(.deposed)
            if let best = bestRecord, best.stamp.attachmentKey > volume.engine.reservationKey {
                meet(.returnsWithNewerEpoch)
            }
            if initiator.wasPaused { meet(.deposedByCompetitor) }
            checkCoverage("h\(initiator.number) is deposed")
            ended(initiator)
        case .detached: if previous == .detaching || previous == .deposed || previous == .attaching { ended(initiator) }
        case .attaching, .detaching: break
        }
    }

    /// An initiator was deposed, or has detached: its program ends, and another one begins where there is none.
    private func ended(_ initiator: InitiatorProcess) {
        if initiator.phase == .detached, initiator.servedAt != nil, !initiator.isDeposed { meet(.detachedClean) }
        if initiator.phase == .deposed { initiator.isDeposed = true }
        initiator.workload?.isStopped = true
        guard !initiator.isEnding else { return }
        initiator.isEnding = true
        network.schedule(afterNanoseconds: 1_000_000) { [unowned self] in
            guard initiator.isAlive else { return }
            end(initiator, isSilent: false)
            if alive.isEmpty, !isFinished { startInitiator() }
        }
    }

    private func noticed(_ notice: VolumeNotice, _ initiator: InitiatorProcess) {
        guard let volume = initiator.volume else { return }
        let isCurrent = serving === initiator && !isServed(after: initiator)
        switch notice {
        case .memberLost(let member, let reason): lost(member, reason, initiator)
        case .memberReturning(let member):
            initiator.returnedAt[member.number] = network.now.nanoseconds
            if returnsBehind[member] { meet(.returnsWithOlderEpoch) }
            returnsBehind[member] = false
        case .memberInSync(let member):
            guard isCurrent else { return }
            fresh.remove(member)
            if let own = record(member) {
                registeredBlocks[member] = own.members[member].blocks
                initiator.knownBlocks[member] = registeredBlocks[member]
            }
            meet(.memberReturned)
            checkCoverage("member \(member) is in sync")
        case .memberDemoted: meet(.targetFailsWrite)
        case .mismatch(let region):
            meet(.mismatchReported)
            // One that has been deposed without knowing looks at members that are not its own any more.
            if isCurrent, rottenRegion != region {
                fail(.differingMembers, "a scrub found that the members differ in region \(region)")
            }
        case .scrubFinished: meet(.scrubFinished)
        case .grown:
            isGrowing = false
            meet(.volumeGrown)
            if isCurrent {
                // One that is not there is where it was.
                if let best = bestRecord { registeredBlocks = best.members.map(\.blocks) }
                initiator.knownBlocks = registeredBlocks
                learn(volume.engine.geometry)
            }
        case .growFailed: isGrowing = false
        case .memberRefused(let member, let error):
            if isCurrent, isInformed(initiator), !isMisread, !hadStrangers.contains(member) {
                fail(.metadataRefused, "h\(initiator.number): member \(member) is refused: \(error)")
            }
        case .recordDamaged, .waitingFor, .regionUnreadable, .newerEpoch, .contentsMarked: break
        }
    }

    private func lost(_ member: MemberIndex, _ reason: MemberLossReason, _ initiator: InitiatorProcess) {
        // One that stood still itself is given up by its members.
        if let faulty = profile.onlyFaulty, member != faulty, initiator.phase == .serving, reason != .removed,
            !isServed(after: initiator), !initiator.wasPaused
        {
            fail(
                .notAvailable,
                "h\(initiator.number) gives up member \(member) (\(reason)), and only member \(faulty) is at fault")
        }
        if member == crashesAtLossOf {
            crashesAtLossOf = nil
            crashesAtAcknowledgement = member
        }
        switch reason {
        case .timedOut: meet(.targetTimesOut)
        case .disconnected, .outcomeUnknown: meet(.queuePairBreaks)
        case .metadataFailed: meet(.recordWriteFails)
        case .slow: meet(.slowMemberDemoted)
        case .removed, .joinFailed: break
        }
        guard let volume = initiator.volume, volume.holders.contains(member) else { return }
        let status = volume.engine.status
        let isCopying = status.members.contains { $0.phase == .active && !$0.isInSync && $0.behindRegions > 0 }
        if isCopying { meet(.resyncSourceFails) }
    }

    /// Whether something has happened by which an I/O may end so.
    func isExplained(_ status: BlockStatus) -> Bool {
        let reasons: Set<FaultKind>
        switch status {
        case .unrecoveredReadError, .writeFault:
            reasons = [.writeErrors, .latentError, .driveReseat, .lastingErrors, .flushErrors]
        case .capacityExceeded: reasons = [.fullDisk]
        default: return true
        }
        return rottenRegion != nil || happened.contains { reasons.contains($0.kind) }
    }

    /// Counts of an engine that is about to go.
    func collect(_ initiator: InitiatorProcess) {
        guard let statistics = initiator.volume?.engine.statistics else { return }
        if statistics.readFailovers > 0, statistics.regionsRepaired > 0 { meet(.readErrorRepaired) }
        if statistics.overlapsHeld > 0 { meet(.overlapHeld) }
        if statistics.preemptions > 0 { meet(.preempted) }
        if statistics.retries > 0 { meet(.commandRetried) }
    }
}
