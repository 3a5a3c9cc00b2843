import Base

/// A machine's clock: it goes a little faster or slower than the world's time, and steps forward where the machine stood still
/// without knowing.
struct MachineClock {
    /// Parts per million by which it is faster.
    var drift: Int64 = 0
    /// Nanoseconds that it is ahead by, beside what it has drifted; below zero where it has stood still with its machine.
    var ahead: Int64 = 0

    /// The world begins a second after zero; all clocks agree then.
    private static let origin: UInt64 = 1_000_000_000

    /// The time that the clock shows at one of the world.
    func local(_ time: MonotonicTime) -> MonotonicTime {
        guard drift != 0 || ahead != 0, time != .distantFuture else { return time }
        let passed = Int64(time.nanoseconds &- Self.origin)
        return MonotonicTime(nanoseconds: UInt64(Int64(Self.origin) + ahead + passed + passed * drift / 1_000_000))
    }

    /// When the world's time is at least what the clock shows then.
    func world(_ time: MonotonicTime) -> MonotonicTime {
        guard drift != 0 || ahead != 0, time != .distantFuture else { return time }
        let shown = Int64(bitPattern: time.nanoseconds) - Int64(Self.origin) - ahead
        guard shown > 0 else { return MonotonicTime(nanoseconds: Self.origin) }
        // Some days: nobody waits for that.
        guard shown < 1 << 50 else { return .distantFuture }
        var passed = shown - shown * drift / 1_000_000
        if drift.magnitude > 10_000 {
            // That is no good guess for a clock that goes quite wrong.
            let (whole, rest) = shown.quotientAndRemainder(dividingBy: 1_000_000 + drift)
            passed = whole * 1_000_000 + rest * 1_000_000 / (1_000_000 + drift)
        }
        // Never too early, or the poller would be asked again and again.
        while passed + passed * drift / 1_000_000 < shown { passed += shown - passed - passed * drift / 1_000_000 }
        return MonotonicTime(nanoseconds: Self.origin + UInt64(passed))
    }
}
