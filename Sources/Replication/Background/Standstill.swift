import Base

extension VolumeEngine {
    /// Whoever stood still must not judge others by the time that went by: this process was stopped, or had no processor, and
    /// what members answered meanwhile may not have arrived yet. It does not count for anything that they are waited for.
    mutating func noteStandstill() {
        defer { tickedAt = now }
        guard tickedAt < now else { return }
        let gap = now.nanoseconds(since: tickedAt)
        guard gap > configuration.standstill else { return }
        statistics.standstills += 1
        func later(_ time: MonotonicTime) -> MonotonicTime { min(now, time.advanced(byNanoseconds: gap)) }
        for index in 0..<pool.capacity where slots[index].state != .free {
            slots[index].issuedAt = later(slots[index].issuedAt)
            // 0: it has not been sent.
            guard slots[index].firstIssuedAt.nanoseconds != 0 else { continue }
            slots[index].firstIssuedAt = later(slots[index].firstIssuedAt)
        }
        for index in 0..<staging.pool.capacity where staging.pool.slots[index].pending != [] {
            staging.pool.slots[index].issuedAt = later(staging.pool.slots[index].issuedAt)
        }
        for member in MemberSet.all {
            members[member].superblockIssuedAt = later(members[member].superblockIssuedAt)
            members[member].stepStartedAt = later(members[member].stepStartedAt)
            members[member].slowSince = .distantFuture
        }
    }
}
