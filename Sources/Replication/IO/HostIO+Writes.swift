import Base
import BlockInterface

extension HostIO {
    // MARK: Sending

    /// Sends a write to every active member once the bits that it needs are durable, and asks for those that are not.
    @inline(__always)
    mutating func dispatchWrite(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        if operations[slot].compares { return dispatchRead(slot, &volume, &background) }
        let areMarked = volume.requestBits(operations[slot].regions) || !volume.rules.mustMarkBeforeSending
        if !areMarked || !mayLeave(slot, &volume) {
            operations[slot].become(.awaitingIntent)
            return operations.wait(slot, for: .intent)
        }
        sendWrite(slot, to: volume.writers, &volume)
    }

    /// Whether the contents of a volume may become what a write makes of them. Zeroes change nothing in a volume that is blank.
    @inline(__always)
    private func mayLeave(_ slot: OperationIndex, _ volume: inout VolumeState) -> Bool {
        operations[slot].kind != .write || volume.mayHoldData()
    }

    private mutating func sendWrite(_ slot: OperationIndex, to targets: MemberSet, _ volume: inout VolumeState) {
        invariant(
            volume.maps.areMarked(operations[slot].regions) || !volume.rules.mustMarkBeforeSending,
            "invariant 3: a region's in-flight bit is durable before data leaves")
        invariant(
            volume.record.durableContents != .blank || operations[slot].kind != .write,
            "a volume is marked as written before data leaves")
        operations.markIssued(slot, volume.now)
        volume.maps.noteWritten(operations[slot].regions)
        operations[slot].progress.pending.formUnion(targets)
        volume.outbox.statistics.memberWrites += UInt64(targets.count)
        let isWrite = operations[slot].kind == .write
        for member in targets {
            volume.send(
                operations.tag(slot, member), isWrite ? .write : .writeZeroes, start: operations[slot].start,
                count: operations[slot].count, buffer: isWrite ? .host(operations[slot].buffer) : .none,
                forceUnitAccess: operations[slot].forceUnitAccess)
        }
    }

    /// A host's flush speaks for all that was acknowledged before: it waits, or fails, where that may be on no media though the
    /// members say that they have nothing to flush.
    mutating func dispatchFlush(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        switch operations[slot].isInternal ? .flushable : background.copies.durability(volume) {
        case .flushable: sendFlush(slot, to: volume.writers, &volume, &background)
        case .isBeingRewritten:
            if operations[slot].state != .awaitingReconcile { operations[slot].become(.awaitingReconcile) }
            operations.wait(slot, for: .rewrite)
            volume.agenda.insert(.copies)
        case .cannotBeRewritten(let status): operations.finish(slot, status, &volume)
        }
    }

    /// A flush covers all writes acknowledged before, on every active member. Those have completed there already.
    mutating func sendFlush(
        _ slot: OperationIndex, to targets: MemberSet, _ volume: inout VolumeState, _ background: inout Background
    ) {
        let targets = volume.rules.flushed(targets)
        if targets == [] { return acknowledge(slot, &volume, &background) }
        operations.markIssued(slot, volume.now)
        operations[slot].progress.pending.formUnion(targets)
        for member in targets { volume.send(operations.tag(slot, member), .flush) }
    }

    /// Sends the writes whose bits have become durable.
    mutating func reviewIntents(_ volume: inout VolumeState, _ background: inout Background) {
        var list = operations.takeAll(.intent)
        while let slot = operations.popFirst(&list) {
            if !volume.life.isServing {
                dispatch(slot, &volume, &background)
            } else if volume.requestBits(operations[slot].regions), mayLeave(slot, &volume) {
                sendWrite(slot, to: volume.writers, &volume)
            } else {
                operations.wait(slot, for: .intent)
            }
        }
    }

    // MARK: Completions

    @inline(__always)
    mutating func writeCompleted(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState,
        _ background: inout Background
    ) {
        volume.maps.noteWritten(operations[slot].regions)
        if volume.members.active.contains(member) {
            switch status {
            case .success: operations[slot].progress.done.insert(member)
            case .mediaError, .noSpace:
                // Once more on the same association, then it counts; at once where it had to be durable: it may have told what
                // was lost before it, and will not again.
                let isDoubtful =
                    operations[slot].forceUnitAccess && status == .mediaError && volume.rules.mustDoubtFailedDurability
                if isDoubtful { operations[slot].progress.doubted.insert(member) }
                if isDoubtful || operations[slot].progress.retried.contains(member) {
                    operations[slot].progress.failed.insert(member)
                    operations[slot].progress.failureStatus = status == .noSpace ? .capacityExceeded : .writeFault
                } else {
                    operations[slot].progress.retried.insert(member)
                }
            case .busy, .notDone, .pathError: operations[slot].progress.wantsRetry = true
            case .unknown, .reservationConflict, .miscompare: break
            }
        }
        allCompleted(slot, &volume, &background)
    }

    /// A member that failed a flush has been lost by now: what it has cached since its last good flush is not known.
    mutating func flushCompleted(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState,
        _ background: inout Background
    ) {
        if volume.members.active.contains(member) {
            if status == .success { operations[slot].progress.done.insert(member) }
            if status.mayBeSentAgain { operations[slot].progress.wantsRetry = true }
        }
        allCompleted(slot, &volume, &background)
    }

    @inline(__always)
    private mutating func allCompleted(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        guard operations[slot].progress.pending == [] else { return }
        if operations[slot].hasCompletedHost { return operations.release(slot) }
        settle(slot, &volume, &background)
    }

    // MARK: Deciding

    /// Decides what becomes of a write or flush none of whose commands is under way.
    mutating func settle(_ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background) {
        invariant(
            operations[slot].progress.pending == [], "an operation is settled when all its commands have completed")
        switch volume.phase {
        case .serving, .detaching: break
        case .suspended where volume.configuration.suspendPolicy == .wait: break
        default: return dispatch(slot, &volume, &background)
        }
        if operations[slot].progress.failed != [], operations[slot].kind.isWrite,
            !settleFailures(slot, &volume, &background)
        {
            return
        }
        if cannotBeCopied(slot, volume) {
            if volume.members.isOneOnlySlow(now: volume.now, limit: volume.configuration.joinTimeout) {
                return awaitMember(slot, &volume)
            }
            background.copies.noteDifference(operations[slot].regions, &volume)
            return operations.finish(slot, operations[slot].progress.failureStatus, &volume)
        }
        if operations[slot].progress.wantsRetry { return backOff(slot, &volume) }
        let progress = operations[slot].progress
        let missing = volume.writers.subtracting(progress.done).subtracting(progress.excused)
        if missing != [], volume.phase != .suspended {
            if operations[slot].kind == .flush { return sendFlush(slot, to: missing, &volume, &background) }
            if volume.maps.areMarked(operations[slot].regions) || !volume.rules.mustMarkBeforeSending {
                return sendWrite(slot, to: missing, &volume)
            }
        }
        acknowledge(slot, &volume, &background)
    }

    /// Whether a write that all members in sync hold has failed on so many others that there will not be enough copies: those
    /// lack the region, which is copied to them once this write lets it.
    private func cannotBeCopied(_ slot: OperationIndex, _ volume: borrowing VolumeState) -> Bool {
        let progress = operations[slot].progress
        return progress.excused != [] && volume.phase != .suspended
            && volume.members.usedInSync.subtracting(progress.done) == []
            && volume.writers.subtracting(progress.excused).count < volume.record.minimumCopies
    }

    /// Lets a write wait for a member that was given up for being slow, and is taken back at once: with its copy there may be
    /// enough (invariant 1).
    private mutating func awaitMember(_ slot: OperationIndex, _ volume: inout VolumeState) {
        volume.members.lookForThem(now: volume.now)
        guard operations[slot].state == .backingOff else { return backOff(slot, &volume) }
        operations[slot].times.resumeAt = volume.now.advanced(byNanoseconds: volume.configuration.retryDelay)
        operations.wait(slot, for: .pause)
    }

    /// Handles members that failed a write. False when the write has ended.
    private mutating func settleFailures(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) -> Bool {
        let progress = operations[slot].progress
        let holders = progress.done.intersection(volume.members.usedInSync)
        let undecided = volume.members.usedInSync.subtracting(progress.done).subtracting(progress.failed)
        // One in sync that was busy may still take it.
        if holders == [], undecided != [] { return true }
        operations[slot].progress.failed = []
        if holders == [] {
            // No member in sync took it: that is the media's answer to the host, and no reason to drop a member. Those that could
            // not make it durable are dropped as after a flush that failed: none has what the others may have lost.
            for member in progress.failed.intersection(progress.doubted) {
                if volume.members.inSync.contains(member) {
                    volume.members.doubt(member)
                    volume.agenda.insert(.doubts)
                } else {
                    background.copies.doubt(member, &volume)
                }
            }
            background.copies.noteDifference(operations[slot].regions, &volume)
            operations.finish(slot, operations[slot].progress.failureStatus, &volume)
            return false
        }
        operations[slot].progress.excused.formUnion(progress.failed)
        for member in progress.failed {
            background.copies.demote(member, regions: operations[slot].regions, &volume)
            if progress.doubted.contains(member) { background.copies.doubt(member, &volume) }
        }
        return true
    }

    // MARK: Acknowledging

    /// Acknowledges a write or flush if all that the invariants ask for is there, or lets it wait for it.
    @inline(__always)
    private mutating func acknowledge(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        guard mayAcknowledge(slot, &volume) else {
            if operations[slot].state != .awaitingRecord { operations[slot].become(.awaitingRecord) }
            return operations.wait(slot, for: .record)
        }
        if operations[slot].kind == .flush {
            flushEnded(slot, &volume, &background)
        } else {
            volume.outbox.statistics.writes += 1
            assertAcknowledgeable(slot, volume)
            operations.finish(slot, .success, &volume)
        }
    }

    /// Invariants 1 and 2, as a question.
    @inline(__always)
    private func mayAcknowledge(_ slot: OperationIndex, _ volume: inout VolumeState) -> Bool {
        if operations[slot].isInternal, operations[slot].kind == .flush { return true }
        guard volume.life.isServing else { return false }
        let done = operations[slot].progress.done.intersection(volume.members.active)
        guard volume.members.inSync.subtracting(done) == [] || !volume.rules.mustHaveAllInSync else { return false }
        if !volume.rules.mustRecordBeforeAcknowledging { return true }
        // Also while it detaches, a member that voted with the record may be lost.
        guard volume.record.isValid, volume.members.active.count >= 2 else { return false }
        guard operations[slot].kind.isWrite else { return true }
        guard volume.rules.areEnough(copies: done.count, minimum: volume.record.minimumCopies) else { return false }
        for member in MemberSet.all.subtracting(done) {
            if !volume.requestBehind(member, operations[slot].regions) { return false }
        }
        return true
    }

    /// Invariants 1 and 2, where they must hold.
    @inline(__always)
    private func assertAcknowledgeable(_ slot: OperationIndex, _ volume: borrowing VolumeState) {
        guard volume.rules.areSound else { return }
        let done = operations[slot].progress.done.intersection(volume.members.active)
        invariant(
            volume.members.inSync.subtracting(done) == [],
            "invariant 1: every member in sync has completed an acknowledged write")
        invariant(
            done.count >= volume.record.minimumCopies, "invariant 1: enough copies hold an acknowledged write")
        for member in MemberSet.all.subtracting(done) {
            invariant(
                volume.maps.behindDurable(member).hasAll(operations[slot].regions),
                "invariant 1: what a member lacks is durable on the survivors before the write is acknowledged")
        }
        invariant(
            volume.record.isValid && volume.members.active.count >= 2,
            "invariant 2: the record is valid on two members before a write that relies on it is acknowledged")
        invariant(
            operations[slot].progress.pending == [],
            "invariant 6: all commands have completed before the buffer is given back")
    }

    /// Ends a flush that every member in sync has done.
    private mutating func flushEnded(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        if operations[slot].isInternal {
            let done = operations[slot].progress.done.intersection(volume.members.active)
            operations.release(slot)
            return background.flushed(done, &volume)
        }
        invariant(
            volume.members.inSync.subtracting(operations[slot].progress.done) == [] || !volume.rules.areSound,
            "invariant 1: every member in sync has done an acknowledged flush")
        volume.outbox.statistics.flushes += 1
        operations.finish(slot, .success, &volume)
    }

    /// Looks at the operations that wait to be acknowledged again.
    mutating func reviewAcknowledgements(_ volume: inout VolumeState, _ background: inout Background) {
        var list = operations.takeAll(.record)
        while let slot = operations.popFirst(&list) { settle(slot, &volume, &background) }
    }
}
