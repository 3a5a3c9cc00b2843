import Base

extension Attachment {
    /// Keeps all other writers out of a member: registers our key, and preempts and aborts all others.
    mutating func startFence(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.become(member, .fencing)
        guard volume.record.fencing == .reservations else { return startReading(member, &volume) }
        let key = volume.record.attachmentKey
        if volume.members[member].joining.keysSeen.contains(where: { $0 > key }) { return superseded(member) }
        return command(member, .register, .register(key: key), &volume)
    }

    private func command(
        _ member: MemberIndex, _ step: JoinStep, _ command: ReservationCommand, _ volume: inout VolumeState
    ) -> Effect? {
        volume.members[member].joining.step = step
        volume.ask(.reservation(member, command))
        return nil
    }

    /// A greater key is there: its owner attached later, or at the same time with the greater nonce.
    private func superseded(_ member: MemberIndex) -> Effect { .depose(.superseded(member: member)) }

    /// A member has done a reservation command, or has not.
    mutating func reservationDone(
        _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState
    ) -> Effect? {
        let step = volume.members[member].joining.step
        switch (volume.members[member].phase, step) {
        case (.fencing, .register) where status == .busy || status == .notDone,
            // A key that is missing because it was never taken was preempted by nobody.
            (.fencing, .fenceReport):
            return .lose(member, .joinFailed)
        case (.fencing, .register), (.fencing, .preempt), (.fencing, .acquire):
            // A conflict may mean that what was to be preempted has just gone; the report tells.
            guard status == .success || status == .reservationConflict || status == .busy || status == .notDone else {
                return .lose(member, .joinFailed)
            }
            if step == .preempt, status == .success { volume.outbox.statistics.preemptions += 1 }
            return command(member, .fenceReport, .report, &volume)
        case (.active, .unregister): return .lose(member, .removed)
        // The target knows no reservations, or cannot tell.
        case (.surveying, .surveyReport): return .lose(member, .joinFailed)
        default: return nil
        }
    }

    mutating func reservationReported(
        _ member: MemberIndex, _ report: ReservationReport, _ volume: inout VolumeState
    ) -> Effect? {
        switch (volume.members[member].phase, volume.members[member].joining.step) {
        case (.surveying, .surveyReport):
            volume.members[member].joining.keysSeen = report.keys
            return surveyed(member, &volume)
        case (.fencing, .fenceReport): return fenceReported(member, report, &volume)
        default: return nil
        }
    }

    private mutating func fenceReported(
        _ member: MemberIndex, _ report: ReservationReport, _ volume: inout VolumeState
    ) -> Effect? {
        let key = volume.record.attachmentKey
        let others = report.keys.filter { $0 != key }
        // Our own was registered a moment ago: if it is gone, somebody quicker has preempted it, or it was never stored.
        if others.contains(where: { $0 > key }) || report.ownKey != key { return superseded(member) }
        if !volume.rules.mustPreempt { return startReading(member, &volume) }
        if let victim = others.contains(report.holderKey) ? report.holderKey : others.first {
            graceEnd = max(graceEnd, endOfGrace(after: victim, volume))
            return command(member, .preempt, volume.rules.preemption(of: victim, key: key), &volume)
        }
        if report.holderKey == 0 { return command(member, .acquire, .acquire(key: key), &volume) }
        guard report.holderKey == key else { return .lose(member, .joinFailed) }
        volume.members[member].joining.keysSeen = report.keys
        return startReading(member, &volume)
    }

    /// Until when the owner of a registration that is taken away may still write. One that has detached does not, and its last
    /// record says how long those may that it had fenced itself.
    private func endOfGrace(after victim: UInt64, _ volume: borrowing VolumeState) -> MonotonicTime {
        var last: Superblock?
        for member in MemberSet.all {
            guard let found = volume.members[member].joining.found, found.stamp.attachmentKey == victim,
                last.map({ $0.stamp < found.stamp }) ?? true
            else { continue }
            last = found
        }
        guard let grace = volume.rules.grace(after: last) else {
            return volume.now.advanced(byNanoseconds: volume.configuration.releaseDelay)
        }
        let end = volume.now.advanced(byMilliseconds: UInt64(grace.milliseconds))
        guard grace.clock != 0, grace.clock == volume.configuration.clock else { return end }
        // By the clock of then the time in between counts too.
        return min(end, MonotonicTime(nanoseconds: 0).advanced(byMilliseconds: UInt64(grace.endSeconds) * 1000))
    }
}
