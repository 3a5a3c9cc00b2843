import Base

extension VolumeEngine {
    /// Keeps all other writers out of a member: registers our key, and preempts and aborts all others.
    mutating func startFence(_ member: MemberIndex) {
        become(member, .fencing)
        guard record.fencing == .reservations else { return startReading(member) }
        if members[member].keysSeen.contains(where: { $0 > attachmentKey }) { return superseded(member) }
        command(member, .register, .register(key: attachmentKey))
    }

    private mutating func command(_ member: MemberIndex, _ step: JoinStep, _ command: ReservationCommand) {
        members[member].step = step
        actions.append(.reservation(member, command))
    }

    /// A greater key is there: its owner attached later, or at the same time with the greater nonce.
    private mutating func superseded(_ member: MemberIndex) {
        depose(.superseded(member: member))
    }

    mutating func reservationDone(_ member: MemberIndex, _ status: MemberStatus) {
        switch (members[member].phase, members[member].step) {
        case (.fencing, .register) where status == .busy || status == .notDone,
            // Where our key is not there because it was never taken, nobody has preempted it.
            (.fencing, .fenceReport):
            loseMember(member, .joinFailed)
        case (.fencing, .register), (.fencing, .preempt), (.fencing, .acquire):
            // A conflict may mean that what was to be preempted has just gone; the report tells.
            guard status == .success || status == .reservationConflict || status == .busy || status == .notDone else {
                return loseMember(member, .joinFailed)
            }
            if members[member].step == .preempt, status == .success { statistics.preemptions += 1 }
            command(member, .fenceReport, .report)
        case (.active, .unregister): unregistered(member)
        case (.surveying, .surveyReport):
            // The target knows no reservations, or cannot tell.
            loseMember(member, .joinFailed)
        default: return
        }
    }

    mutating func reservationReported(_ member: MemberIndex, _ report: ReservationReport) {
        switch (members[member].phase, members[member].step) {
        case (.surveying, .surveyReport):
            members[member].keysSeen = report.keys
            surveyed(member)
        case (.fencing, .fenceReport): fenceReported(member, report)
        default: return
        }
    }

    private mutating func fenceReported(_ member: MemberIndex, _ report: ReservationReport) {
        let others = report.keys.filter { $0 != attachmentKey }
        if others.contains(where: { $0 > attachmentKey }) { return superseded(member) }
        guard report.ownKey == attachmentKey else {
            // Registered a moment ago and gone: preempted by someone who was quicker, or never stored.
            return superseded(member)
        }
        if let victim = others.contains(report.holderKey) ? report.holderKey : others.first {
            preemptedAt = now
            return command(member, .preempt, rules.preemption(of: victim, key: attachmentKey))
        }
        if report.holderKey == 0 { return command(member, .acquire, .acquire(key: attachmentKey)) }
        guard report.holderKey == attachmentKey else { return loseMember(member, .joinFailed) }
        members[member].keysSeen = report.keys
        startReading(member)
    }
}
