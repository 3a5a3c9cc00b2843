import Base

/// When a volume goes back to a daemon that prefers it.
public enum FailBack: String, CaseIterable, Sendable {
    case never
    /// Once nobody has used it for a while.
    case quiet
    case always
}

/// A daemon that would rather have a volume than leave it to the present owner, as it says.
public struct Preference: Equatable, Sendable {
    public var daemon: String
    public var failBack: FailBack
    /// It reaches enough of the members, and each host of the owner is connected to it.
    public var hasLivingPath: Bool

    public init(daemon: String, failBack: FailBack, hasLivingPath: Bool) {
        self.daemon = daemon
        self.failBack = failBack
        self.hasLivingPath = hasLivingPath
    }
}

/// The times of a fail-back, in milliseconds.
public struct FailBackTimes: Equatable, Sendable {
    /// A daemon has to have a living path for so long.
    public var settle: UInt64 = 10_000
    /// A volume that nobody has used for so long is quiet.
    public var quiet: UInt64 = 2_000
    /// An owner keeps a volume for so long at the least. Twice as long after each fail-back that does not last.
    public var stay: UInt64 = 30_000
    public var longestStay: UInt64 = 3_600_000

    public init() {}
}

/// Judges when an owner gives a volume back to the daemon that prefers it, so that the two do not hand it to and fro.
struct FailBackJudge: Equatable {
    let times: FailBackTimes
    /// A daemon is believed to have a living path. A broken variant.
    let ignoresPaths: Bool
    /// This daemon prefers the volume itself, and keeps it.
    let isPreferredHere: Bool
    private var servedAt = MonotonicTime(nanoseconds: 0)
    private var usedAt = MonotonicTime(nanoseconds: 0)
    private var candidate: Candidate?
    private var failedBackAt: MonotonicTime?
    private var stay: UInt64

    private struct Candidate: Equatable {
        var daemon: String
        var since: MonotonicTime
    }

    init(_ times: FailBackTimes, isPreferredHere: Bool, ignoresPaths: Bool) {
        self.times = times
        self.isPreferredHere = isPreferredHere
        self.ignoresPaths = ignoresPaths
        stay = times.stay
    }

    /// The volume is served from now on.
    mutating func served(_ now: MonotonicTime) {
        (servedAt, usedAt, candidate) = (now, now, nil)
        if let failedBackAt, now < failedBackAt.advanced(byMilliseconds: times.longestStay) { return }
        stay = times.stay
    }

    /// Hosts have used the volume.
    mutating func used(_ now: MonotonicTime) { usedAt = now }

    /// The daemon to which the volume goes back now; `nil` if it stays.
    mutating func successor(_ preferences: [Preference], _ now: MonotonicTime) -> String? {
        let wanted = preferences.first { $0.failBack != .never && ($0.hasLivingPath || ignoresPaths) }
        guard let wanted, !isPreferredHere else {
            candidate = nil
            return nil
        }
        guard let candidate, candidate.daemon == wanted.daemon else {
            self.candidate = Candidate(daemon: wanted.daemon, since: now)
            return nil
        }
        guard now >= candidate.since.advanced(byMilliseconds: times.settle),
            now >= servedAt.advanced(byMilliseconds: stay),
            wanted.failBack == .always || now >= usedAt.advanced(byMilliseconds: times.quiet)
        else { return nil }
        // It stays for longer, should it come back.
        failedBackAt = now
        stay = min(stay * 2, times.longestStay)
        self.candidate = nil
        return wanted.daemon
    }
}
