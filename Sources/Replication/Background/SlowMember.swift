import Base

extension VolumeEngine {
    /// Notes how long a member took for a read or write.
    @inline(__always)
    mutating func noteLatency(_ index: Int, _ member: MemberIndex) {
        guard slots[index].kind == .read || slots[index].kind == .write else { return }
        let sample = now.nanoseconds(since: slots[index].issuedAt)
        members[member].latency = average(members[member].latency, sample)
        guard slots[index].kind == .write, !slots[index].compares else { return }
        members[member].writeLatency = average(members[member].writeLatency, sample)
        members[member].slowest = max(members[member].slowest, sample)
    }

    @inline(__always)
    private func average(_ before: UInt64, _ sample: UInt64) -> UInt64 {
        before == 0 ? sample : before - before / 8 + sample / 8
    }

    /// Demotes a member that is slower than the slowest that the others have lately been, by a factor and a margin for a
    /// while: one slow target costs that long once, not its latency on every write. Where all stall now and then, as on
    /// processors that are overloaded, none stands out. Judged by writes, which all members get: a read has nothing beside it
    /// to be measured by, and goes to the fastest anyway. Never below what the volume needs.
    mutating func tickSlowMembers() {
        tickScrub()
        guard configuration.slowFactor > 0, phase == .serving else { return }
        var oldest = PerMember<UInt64>(repeating: 0)
        for index in 0..<pool.capacity where slots[index].pending != [] && slots[index].kind.isWrite {
            let age = now.nanoseconds(since: slots[index].issuedAt)
            for member in slots[index].pending {
                oldest[member] = max(oldest[member], age)
            }
        }
        for member in MemberSet.all {
            // What was slow is forgotten by half within about a second of ticks.
            members[member].slowest -= members[member].slowest / 256
            members[member].slowest = max(members[member].slowest, oldest[member])
        }
        for member in active {
            // An average of long ago counts no more than the slowest of long ago.
            let own = max(min(members[member].writeLatency, members[member].slowest), oldest[member])
            var others: UInt64 = 0
            for other in MemberSet.all where other != member && active.contains(other) && inSync.contains(other) {
                others = max(others, members[other].slowest)
            }
            let limit = others.multipliedReportingOverflow(by: configuration.slowFactor)
            let isSlow = !limit.overflow && own > max(limit.partialValue, others + configuration.slowMargin)
            guard isSlow, mayDemote(member) else {
                members[member].slowSince = .distantFuture
                continue
            }
            if members[member].slowSince == .distantFuture { members[member].slowSince = now }
            guard now.nanoseconds(since: members[member].slowSince) >= configuration.slowDuration else { continue }
            statistics.slowDemotions += 1
            // Longer each time, but anew for one that has been fast enough for long.
            let wasLongAgo =
                now.nanoseconds(since: members[member].slowLossAt) > 2 * configuration.slowCooldownMaximum
            members[member].slowCooldown =
                wasLongAgo
                ? configuration.slowCooldown
                : min(
                    max(configuration.slowCooldown, members[member].slowCooldown * 2),
                    configuration.slowCooldownMaximum)
            members[member].slowLossAt = now
            loseMember(member, .slow)
        }
    }

    /// Whether the volume can do without the member.
    private func mayDemote(_ member: MemberIndex) -> Bool {
        let rest = active.without(member)
        return rest.intersection(inSync) != [] && rest.count >= max(2, record.minimumCopies) && record.isValid
    }
}
