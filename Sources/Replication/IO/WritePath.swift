import Base

extension VolumeEngine {
    /// Sends a write to every active member once the bits that it needs are durable, and asks for those that are not.
    mutating func dispatchWrite(_ slot: Int32) {
        let index = Int(slot)
        if slots[index].compares { return dispatchRead(slot) }
        if !requestBits(slots[index].regions), rules.mustMarkBeforeSending {
            become(slot, .awaitingIntent)
            return awaitingIntent.append(slot, slots)
        }
        sendWrite(slot, to: writers)
    }

    /// Members that a write goes to: all that are active, in sync or being brought up to date.
    var writers: MemberSet {
        rules.writers(active: active, inSync: inSync)
    }

    mutating func sendWrite(_ slot: Int32, to targets: MemberSet) {
        let index = Int(slot)
        invariant(
            maps.intentsDurable.hasAll(slots[index].regions) || !rules.mustMarkBeforeSending,
            "invariant 3: a region's in-flight bit is durable before data leaves")
        markIssued(slot)
        for region in slots[index].regions { maps.unflushed[region] = true }
        slots[index].pending.formUnion(targets)
        statistics.memberWrites += UInt64(targets.count)
        let isWrite = slots[index].kind == .write
        for member in targets {
            send(
                Tag(.operation, member: member, index: index, generation: slots[index].generation),
                isWrite ? .write : .writeZeroes, start: slots[index].start, count: slots[index].count,
                owner: isWrite ? .host : .none, buffer: slots[index].writtenBuffer,
                forceUnitAccess: slots[index].forceUnitAccess)
        }
    }

    mutating func writeCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let index = Int(slot)
        for region in slots[index].regions { maps.unflushed[region] = true }
        if isUsable(member) {
            switch status {
            case .success: slots[index].done.insert(member)
            case .mediaError, .noSpace:
                // Once more on the same association, then it counts.
                if slots[index].retried.contains(member) {
                    slots[index].failed.insert(member)
                    slots[index].failureStatus = status == .noSpace ? .noSpace : .mediaError
                } else {
                    slots[index].retried.insert(member)
                }
            case .busy, .notDone, .pathError: slots[index].wantsRetry = true
            case .unknown, .reservationConflict, .miscompare: break
            }
        }
        if slots[index].pending == [] {
            if slots[index].hasCompletedHost { return release(slot) }
            settle(slot)
        }
    }

    /// Decides what becomes of a write or flush none of whose commands is under way.
    mutating func settle(_ slot: Int32) {
        let index = Int(slot)
        invariant(slots[index].pending == [], "an operation is settled when all its commands have completed")
        switch phase {
        case .serving, .detaching: break
        case .suspended where configuration.suspendPolicy == .wait: break
        default: return dispatch(slot)
        }
        if slots[index].failed != [], slots[index].kind.isWrite, !settleFailures(slot) { return }
        if cannotBeCopied(index) {
            noteDifference(slots[index].regions)
            return finish(slot, slots[index].failureStatus)
        }
        if slots[index].wantsRetry { return backOff(slot) }
        let missing = writers.subtracting(slots[index].done).subtracting(slots[index].excused)
        if missing != [], phase != .suspended {
            if slots[index].kind == .flush { return sendFlush(slot, to: missing) }
            if maps.intentsDurable.hasAll(slots[index].regions) || !rules.mustMarkBeforeSending {
                return sendWrite(slot, to: missing)
            }
        }
        acknowledge(slot)
    }

    /// Whether a write that all members in sync hold has failed on so many others that there will not be enough copies: those
    /// lack the region, which is copied to them once this write lets it.
    private func cannotBeCopied(_ index: Int) -> Bool {
        slots[index].excused != [] && phase != .suspended
            && active.intersection(inSync).subtracting(slots[index].done) == []
            && writers.subtracting(slots[index].excused).count < record.minimumCopies
    }

    /// Handles members that failed a write. False when the write has ended.
    private mutating func settleFailures(_ slot: Int32) -> Bool {
        let index = Int(slot)
        let failed = slots[index].failed
        let holders = slots[index].done.intersection(inSync).intersection(active)
        let undecided = active.intersection(inSync).subtracting(slots[index].done).subtracting(failed)
        // One in sync that was busy may still take it.
        if holders == [], undecided != [] { return true }
        slots[index].failed = []
        if holders == [] {
            // No member in sync took it: that is the media's answer to the host, and no reason to drop a member.
            noteDifference(slots[index].regions)
            finish(slot, slots[index].failureStatus)
            return false
        }
        slots[index].excused.formUnion(failed)
        for member in failed {
            demote(member, regions: slots[index].regions)
        }
        return true
    }

    /// A write that some members may have taken, and others not, ends without being acknowledged: its regions are made equal,
    /// by way of the members in sync.
    mutating func noteDifference(_ regions: ClosedRange<Int>) {
        copied.invalidate(regions)
        for region in regions { markUnreconciled(region) }
        for member in MemberSet.all.subtracting(inSync) { _ = requestBehind(member, regions) }
    }

    /// Acknowledges a write or flush if all that the invariants ask for is there, or lets it wait for it.
    mutating func acknowledge(_ slot: Int32) {
        let index = Int(slot)
        guard mayAcknowledge(index) else {
            if slots[index].state != .awaitingRecord { become(slot, .awaitingRecord) }
            awaitingRecord.append(slot, slots)
            return
        }
        if slots[index].kind == .flush {
            flushEnded(slot)
        } else {
            statistics.writes += 1
            assertAcknowledgeable(index)
            finish(slot, .success)
        }
    }

    /// Invariants 1 and 2, as a question.
    private mutating func mayAcknowledge(_ index: Int) -> Bool {
        if slots[index].isInternal, slots[index].kind == .flush { return true }
        guard phase == .serving || phase == .detaching else { return false }
        let done = slots[index].done.intersection(active)
        guard inSync.subtracting(done) == [] || !rules.mustHaveAllInSync else {
            return false
        }
        if !rules.mustRecordBeforeAcknowledging { return true }
        // Also while it detaches, a member that voted with the record may be lost.
        guard record.isValid, active.count >= 2 else { return false }
        guard slots[index].kind.isWrite else { return true }
        guard rules.areEnough(copies: done.count, minimum: record.minimumCopies) else { return false }
        for member in MemberSet.all.subtracting(done) {
            if !requestBehind(member, slots[index].regions) { return false }
        }
        return true
    }

    /// Invariants 1 and 2, where they must hold.
    private func assertAcknowledgeable(_ index: Int) {
        guard rules.areSound else { return }
        let done = slots[index].done.intersection(active)
        invariant(
            inSync.subtracting(done) == [], "invariant 1: every member in sync has completed an acknowledged write")
        invariant(done.count >= record.minimumCopies, "invariant 1: enough copies hold an acknowledged write")
        for member in MemberSet.all.subtracting(done) {
            invariant(
                maps.behindDurable(member).hasAll(slots[index].regions),
                "invariant 1: what a member lacks is durable on the survivors before the write is acknowledged")
        }
        invariant(
            record.isValid && active.count >= 2,
            "invariant 2: the record is valid on two members before a write that relies on it is acknowledged")
        invariant(
            slots[index].pending == [], "invariant 6: all commands have completed before the buffer is given back")
    }

    /// Looks at the operations that wait to be acknowledged again.
    mutating func reviewAcknowledgements() {
        reviewsAcknowledgements = false
        var list = awaitingRecord.takeAll()
        while let slot = list.popFirst(slots) { settle(slot) }
    }
}
