import Base
import BlockInterface

extension HostIO {
    /// Sends a read, or the comparison of a compare-and-write, to the member that is expected to answer first.
    mutating func dispatchRead(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        let regions = operations[slot].regions
        guard volume.life.isServing else { return dispatch(slot, &volume, &background) }
        if volume.maps.quarantine.hasAny(regions) { return operations.finish(slot, .unrecoveredReadError, &volume) }
        if volume.maps.unreconciled.hasAny(regions) || background.copies.isReconciling(regions),
            volume.rules.mustReconcileBeforeRead
        {
            // A copy waits for writes that overlap it: one that itself waits for the copy gives its place up.
            if operations[slot].compares { operations.displace(slot) }
            if operations[slot].state != .awaitingReconcile { operations[slot].become(.awaitingReconcile) }
            operations.wait(slot, for: .reconcile)
            volume.agenda.insert(.copies)
            return
        }
        let progress = operations[slot].progress
        let readers = volume.readers
        guard let member = volume.members.fastest(readers.subtracting(progress.failed).subtracting(progress.retried))
        else {
            // `retried` holds those that were busy; when only they are left, wait.
            if progress.retried != [] || readers == [] {
                operations[slot].progress.retried = []
                return backOff(slot, &volume)
            }
            return operations.finish(slot, .unrecoveredReadError, &volume)
        }
        operations.markIssued(slot, volume.now)
        operations[slot].progress.pending = MemberSet(member)
        volume.send(
            operations.tag(slot, member), operations[slot].compares ? .compare : .read,
            start: operations[slot].start, count: operations[slot].count, buffer: .host(operations[slot].buffer))
    }

    mutating func readCompleted(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState,
        _ background: inout Background
    ) {
        guard operations[slot].progress.pending == [] else { return }
        let counts =
            volume.members.active.contains(member)
            && volume.rules.mayServeRead(of: member, inSync: volume.members.inSync)
        switch status {
        case .success where counts:
            let failed = operations[slot].progress.failed
            if failed != [] {
                volume.outbox.statistics.readFailovers += 1
                volume.requestRepair(failed, operations[slot].regions)
            }
            volume.outbox.statistics.reads += 1
            operations.finish(slot, .success, &volume)
        case .mediaError, .noSpace:
            operations[slot].progress.failed.insert(member)
            dispatchRead(slot, &volume, &background)
        case .busy, .notDone, .pathError:
            operations[slot].progress.retried.insert(member)
            dispatchRead(slot, &volume, &background)
        case .success, .unknown, .reservationConflict, .miscompare:
            // The member has left the set of readers meanwhile, or its answer is not known: read elsewhere.
            operations[slot].progress.failed.remove(member)
            dispatch(slot, &volume, &background)
        }
    }

    /// The comparison of a compare-and-write has ended. What it found stays true until the write has: both hold the range.
    mutating func compareCompleted(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState,
        _ background: inout Background
    ) {
        let counts = volume.members.usedInSync.contains(member)
        switch status {
        case .miscompare where counts: operations.finish(slot, .compareFailure, &volume)
        case .success where counts && operations[slot].kind == .read:
            volume.outbox.statistics.reads += 1
            operations.finish(slot, .success, &volume)
        case .success where counts:
            operations[slot].compares = false
            operations[slot].buffer = operations[slot].replacement
            operations[slot].progress.failed = []
            operations[slot].progress.retried = []
            dispatch(slot, &volume, &background)
        default: readCompleted(slot, member, status, &volume, &background)
        }
    }
}
