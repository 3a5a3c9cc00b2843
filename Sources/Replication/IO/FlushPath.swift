import Base

extension VolumeEngine {
    /// A flush covers all writes acknowledged before, on every active member. Those have completed there already.
    mutating func dispatchFlush(_ slot: Int32) {
        sendFlush(slot, to: writers)
    }

    mutating func sendFlush(_ slot: Int32, to targets: MemberSet) {
        let index = Int(slot)
        let targets = rules.flushed(targets)
        if targets == [] { return acknowledge(slot) }
        markIssued(slot)
        slots[index].pending.formUnion(targets)
        for member in targets {
            send(Tag(.operation, member: member, index: index, generation: slots[index].generation), .flush)
        }
    }

    mutating func flushCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let index = Int(slot)
        if isUsable(member) {
            switch status {
            case .success: slots[index].done.insert(member)
            case .busy, .notDone, .pathError: slots[index].wantsRetry = true
            case .mediaError, .noSpace:
                // What it has cached since its last good flush is not known any more.
                loseMember(member, .metadataFailed)
            case .unknown, .reservationConflict, .miscompare: break
            }
        }
        if slots[index].pending == [] {
            if slots[index].hasCompletedHost { return release(slot) }
            settle(slot)
        }
    }

    /// Ends a flush that every member in sync has done.
    mutating func flushEnded(_ slot: Int32) {
        let index = Int(slot)
        if slots[index].isInternal {
            let done = slots[index].done.intersection(active)
            release(slot)
            housekeepingFlushed(done)
            return
        }
        invariant(
            inSync.subtracting(slots[index].done) == [] || !rules.areSound,
            "invariant 1: every member in sync has done an acknowledged flush")
        statistics.flushes += 1
        finish(slot, .success)
    }
}
