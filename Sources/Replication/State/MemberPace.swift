import Base

/// How fast a member answers, in nanoseconds.
struct MemberPace: BitwiseCopyable {
    /// Average latency of reads and writes.
    private(set) var latency: UInt64 = 0
    /// Average latency of writes.
    private var writeLatency: UInt64 = 0
    /// The slowest write of late; decays.
    private(set) var slowest: UInt64 = 0
    private var slowSince = MonotonicTime.distantFuture
    /// When it was found to be slow last, and whether a write has completed since.
    private var lookedAt = MonotonicTime(nanoseconds: 0)
    private var hasWritten = false
    /// How long a member stays out that was given up for being slow.
    private(set) var cooldown: UInt64 = 0
    private var lossAt = MonotonicTime(nanoseconds: 0)

    /// A new association begins.
    mutating func reset() { (latency, writeLatency, slowest) = (0, 0, 0) }

    mutating func notSlow() { slowSince = .distantFuture }

    /// Notes how long a read or write took.
    @inline(__always)
    mutating func note(_ sample: UInt64, isWrite: Bool) {
        latency = average(latency, sample)
        guard isWrite else { return }
        hasWritten = true
        writeLatency = average(writeLatency, sample)
        slowest = max(slowest, sample)
    }

    @inline(__always)
    private func average(_ before: UInt64, _ sample: UInt64) -> UInt64 {
        before == 0 ? sample : before - before / 8 + sample / 8
    }

    /// Halves the slowest write of late within about a second of ticks. `oldest` is how long the oldest write has taken by now.
    mutating func decay(oldest: UInt64) {
        slowest -= slowest / 256
        slowest = max(slowest, oldest)
    }

    /// Whether a member is slower than the slowest that the `others` have lately been, by a factor and a margin.
    func isSlow(oldest: UInt64, others: UInt64, _ configuration: VolumeConfiguration) -> Bool {
        // An average of long ago counts no more than the slowest of long ago.
        let own = max(min(writeLatency, slowest), oldest)
        let limit = others.multipliedReportingOverflow(by: configuration.slowFactor)
        return !limit.overflow && own > max(limit.partialValue, others + configuration.slowMargin)
    }

    /// Whether the member was given up for being slow no longer ago than `limit` nanoseconds.
    func wasLost(within limit: UInt64, now: MonotonicTime) -> Bool { now.nanoseconds(since: lossAt) < limit }

    /// The member is slow. True where it has been for so long that it is given up. Time in which it was asked for nothing does not
    /// count: one slow write says little of the next.
    mutating func slowGoesOn(_ now: MonotonicTime, oldest: UInt64, _ configuration: VolumeConfiguration) -> Bool {
        if slowSince == .distantFuture {
            slowSince = now
        } else if oldest == 0, !hasWritten {
            slowSince = slowSince.advanced(byNanoseconds: now.nanoseconds(since: lookedAt))
        }
        (lookedAt, hasWritten) = (now, false)
        guard now.nanoseconds(since: slowSince) >= configuration.slowDuration else { return false }
        // Longer each time, but anew for one that has been fast enough for long.
        let wasLongAgo = now.nanoseconds(since: lossAt) > 2 * configuration.slowCooldownMaximum
        cooldown =
            wasLongAgo
            ? configuration.slowCooldown
            : min(max(configuration.slowCooldown, cooldown * 2), configuration.slowCooldownMaximum)
        lossAt = now
        return true
    }
}
