import Base

extension VolumeEngine {
    /// Members that a read may be served by: active and in sync.
    var readers: MemberSet { rules.readers(active: active, inSync: inSync) }

    /// Sends a read, or the comparison of a compare-and-write, to the member that is expected to answer first.
    mutating func dispatchRead(_ slot: Int32) {
        let index = Int(slot)
        let regions = slots[index].regions
        guard phase == .serving || phase == .detaching else { return dispatch(slot) }
        if maps.quarantine.hasAny(regions) { return finish(slot, .mediaError) }
        if maps.unreconciled.hasAny(regions) || copies.isReconciling(regions), rules.mustReconcileBeforeRead {
            // A copy waits for writes that overlap it: one that itself waits for the copy gives its place up.
            if slots[index].compares {
                overlaps.remove(slot, slots, ready: &ready)
                slots[index].isPlaced = false
            }
            if slots[index].state != .awaitingReconcile { become(slot, .awaitingReconcile) }
            awaitingReconcile.append(slot, slots)
            copies.mayStart = true
            return
        }
        guard let member = fastest(readers.subtracting(slots[index].failed).subtracting(slots[index].retried)) else {
            // `retried` holds those that were busy; when only they are left, wait.
            if slots[index].retried != [] || readers == [] {
                slots[index].retried = []
                return backOff(slot)
            }
            return finish(slot, .mediaError)
        }
        markIssued(slot)
        slots[index].pending = MemberSet(member)
        send(
            Tag(.operation, member: member, index: index, generation: slots[index].generation),
            slots[index].compares ? .compare : .read, start: slots[index].start, count: slots[index].count,
            owner: .host, buffer: slots[index].buffer)
    }

    /// The member of a set whose latency times its queue is least.
    func fastest(_ set: MemberSet) -> MemberIndex? {
        var best: MemberIndex?
        var bestCost = UInt64.max
        for member in set {
            let cost = max(1, members[member].latency) &* UInt64(members[member].outstanding + 1)
            if cost < bestCost {
                best = member
                bestCost = cost
            }
        }
        return best
    }

    mutating func readCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let index = Int(slot)
        guard slots[index].pending == [] else { return }
        switch status {
        case .success where isUsable(member) && rules.mayServeRead(of: member, inSync: inSync):
            let failed = slots[index].failed
            if failed != [] {
                statistics.readFailovers += 1
                requestRepair(failed, slots[index].regions)
            }
            statistics.reads += 1
            finish(slot, .success)
        case .mediaError, .noSpace:
            slots[index].failed.insert(member)
            dispatchRead(slot)
        case .busy, .notDone, .pathError:
            slots[index].retried.insert(member)
            dispatchRead(slot)
        case .success, .unknown, .reservationConflict, .miscompare:
            // The member has left the set of readers meanwhile, or its answer is not known: read elsewhere.
            slots[index].failed.remove(member)
            dispatch(slot)
        }
    }

    /// The comparison of a compare-and-write has ended. What it found stays true until the write has: both hold the range.
    mutating func compareCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let index = Int(slot)
        let counts = isUsable(member) && inSync.contains(member)
        switch status {
        case .miscompare where counts: finish(slot, .miscompare)
        case .success where counts:
            slots[index].compares = false
            slots[index].writtenOffset = slots[index].count * UInt64(configuration.blockSize)
            slots[index].failed = []
            slots[index].retried = []
            dispatch(slot)
        default: readCompleted(slot, member, status)
        }
    }

    /// Has regions that members in sync could not read written again from another (read repair).
    mutating func requestRepair(_ failed: MemberSet, _ regions: ClosedRange<Int>) {
        for member in failed where inSync.contains(member) && active.contains(member) {
            for region in regions { maps.repair[member][region] = true }
        }
        copies.mayStart = true
    }

    /// Dispatches reads whose regions have been reconciled.
    mutating func reviewReconcile() {
        reviewsReconcile = false
        var list = awaitingReconcile.takeAll()
        while let slot = list.popFirst(slots) { dispatch(slot) }
    }
}
