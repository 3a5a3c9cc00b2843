import Base
import Replication

/// How far a volume has come: what has been done since the attach, and what is left for its members to be equal.
struct VolumeProgress {
    private var done: UInt64
    private var left: Int

    init(_ status: VolumeStatusReport, _ counts: VolumeStatistics) {
        done =
            counts.reads + counts.writes + counts.flushes + counts.regionsCopied + counts.regionsRepaired
            + counts.regionsScrubbed
        left = status.members.map(\.behindRegions).reduce(0, +) + status.unreconciledRegions
    }

    func isFurther(than other: VolumeProgress) -> Bool { done > other.done || left < other.left }
}

/// Tells when something has not come any further for too long.
struct StallClock {
    /// How long nothing may happen.
    let patienceMilliseconds: UInt64
    private var best: VolumeProgress?
    private var since = MonotonicTime.now()

    init(_ patience: Patience) { patienceMilliseconds = patience.milliseconds }

    /// Notes how far the volume has come; returns whether that is too little for too long.
    mutating func isStalled(_ progress: VolumeProgress) -> Bool {
        let now = MonotonicTime.now()
        guard let best, !progress.isFurther(than: best) else {
            best = progress
            since = now
            return false
        }
        return now.nanoseconds(since: since) >= patienceMilliseconds * 1_000_000
    }

    /// Begins anew: what comes now has all the time.
    mutating func restart() { best = nil }

    /// For how long nothing has happened, in milliseconds.
    var idleMilliseconds: UInt64 { best == nil ? 0 : MonotonicTime.now().nanoseconds(since: since) / 1_000_000 }
}
