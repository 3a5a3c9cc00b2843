import CLinux

/// A point of monotonic time, in nanoseconds since an arbitrary start.
///
/// The rooms never read a clock: whoever drives them (a reactor, the simulation) passes the time in.
public struct MonotonicTime: Comparable, Hashable, Sendable, BitwiseCopyable {
    public var nanoseconds: UInt64

    @inlinable public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// A time that never comes: what a timer that is not set is due at.
    @inlinable public static var distantFuture: MonotonicTime { MonotonicTime(nanoseconds: .max) }

    @inlinable public static func < (left: MonotonicTime, right: MonotonicTime) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The time `nanoseconds` later, saturating at `distantFuture`.
    @inlinable public func advanced(byNanoseconds nanoseconds: UInt64) -> MonotonicTime {
        let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
        return MonotonicTime(nanoseconds: overflow ? .max : sum)
    }

    /// The time `milliseconds` later, saturating at `distantFuture`.
    @inlinable public func advanced(byMilliseconds milliseconds: UInt64) -> MonotonicTime {
        let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .distantFuture : advanced(byNanoseconds: product)
    }

    /// The last multiple of a step that is not after this time: who is due at about the same time is due at the same moment.
    @inlinable public func aligned(toMilliseconds step: UInt64) -> MonotonicTime {
        self == .distantFuture ? self : MonotonicTime(nanoseconds: nanoseconds - nanoseconds % (step * 1_000_000))
    }

    /// Nanoseconds from `earlier` to this time; 0 if `earlier` is later.
    @inlinable public func nanoseconds(since earlier: MonotonicTime) -> UInt64 {
        nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
    }

    /// The present time of `CLOCK_MONOTONIC`. Only for those who drive real time: reactors and programs.
    public static func now() -> MonotonicTime {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicTime(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}
