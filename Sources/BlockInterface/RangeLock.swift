import Synchronization

/// Keeps operations on overlapping ranges of a device apart, if several reactors use the device at once.
///
/// A range is held by many that share it or by one alone. It is tried for and never waited for: who does not get it tries
/// again in a later round. Who wants it alone keeps others from sharing it meanwhile, so that it comes free in the end.
///
/// The lock knows stripes of 64 KiB, and places that are far apart may share one: it may keep apart what does not overlap.
/// No method allocates or waits.
public final class RangeLock: Sendable {
    /// How an operation holds its range.
    public enum Mode: Sendable, BitwiseCopyable {
        case shared
        case exclusive
    }

    /// Bytes of a stripe, as a power of two.
    private static let stripeShift: UInt64 = 16
    private static let stripeCount = 4096
    /// Somebody holds the stripe alone.
    private static let held: UInt32 = 1 << 31
    /// Somebody wants to: nobody begins to share it.
    private static let wanted: UInt32 = 1 << 30
    /// The bits below count who shares it.
    private static let sharers: UInt32 = wanted - 1

    private nonisolated(unsafe) let stripes: UnsafeMutablePointer<Atomic<UInt32>>

    public init() {
        stripes = .allocate(capacity: Self.stripeCount)
        for stripe in 0..<Self.stripeCount { (stripes + stripe).initialize(to: Atomic(0)) }
    }

    deinit {
        stripes.deinitialize(count: Self.stripeCount)
        stripes.deallocate()
    }

    /// Takes a range; `false` if it cannot be had now. The range is within the device and not empty.
    ///
    /// Who has tried for a range alone and does not try again says so with `withdraw`.
    public func tryLock(_ mode: Mode, offset: UInt64, length: UInt64) -> Bool {
        let range = Stripes(offset, length)
        for place in 0..<range.count where !take(range[place], mode) {
            for earlier in 0..<place { leave(range[earlier], mode) }
            return false
        }
        return true
    }

    /// Gives back a range that `tryLock` took in the same mode.
    public func unlock(_ mode: Mode, offset: UInt64, length: UInt64) {
        let range = Stripes(offset, length)
        for place in 0..<range.count { give(range[place], mode) }
    }

    /// Nobody tries for a range alone any more, as far as the caller knows: others may share it at once.
    public func withdraw(offset: UInt64, length: UInt64) {
        let range = Stripes(offset, length)
        for place in 0..<range.count { stripes[range[place]].bitwiseAnd(~Self.wanted, ordering: .relaxed) }
    }

    /// Somebody wants a part of a range alone.
    public func isWanted(offset: UInt64, length: UInt64) -> Bool {
        let range = Stripes(offset, length)
        for place in 0..<range.count where stripes[range[place]].load(ordering: .relaxed) & Self.wanted != 0 {
            return true
        }
        return false
    }

    private func take(_ stripe: Int, _ mode: Mode) -> Bool {
        let word = stripes + stripe
        var value = word.pointee.load(ordering: .relaxed)
        // A request for the stripe alone passes others that want the same.
        let obstacles = mode == .shared ? Self.held | Self.wanted : Self.held | Self.sharers
        while value & obstacles == 0 {
            let (exchanged, original) = word.pointee.weakCompareExchange(
                expected: value, desired: mode == .shared ? value + 1 : Self.held, successOrdering: .acquiring,
                failureOrdering: .relaxed)
            if exchanged { return true }
            value = original
        }
        if mode == .exclusive { word.pointee.bitwiseOr(Self.wanted, ordering: .relaxed) }
        return false
    }

    /// Gives back a stripe of a range that could not be had whole.
    private func leave(_ stripe: Int, _ mode: Mode) {
        if mode == .exclusive { stripes[stripe].bitwiseOr(Self.wanted, ordering: .relaxed) }
        give(stripe, mode)
    }

    private func give(_ stripe: Int, _ mode: Mode) {
        switch mode {
        case .shared: stripes[stripe].subtract(1, ordering: .releasing)
        case .exclusive: stripes[stripe].bitwiseAnd(~Self.held, ordering: .releasing)
        }
    }

    /// The stripes of a range, in ascending order: of several who want overlapping ranges one always gets on.
    private struct Stripes {
        /// Of a range that goes past the last stripe, those at the beginning.
        private let wrapped: Int
        private let first: Int
        let count: Int

        init(_ offset: UInt64, _ length: UInt64) {
            let start = offset >> RangeLock.stripeShift
            let span = (offset + (length - 1)) >> RangeLock.stripeShift - start + 1
            guard span < UInt64(RangeLock.stripeCount) else {
                (wrapped, first, count) = (0, 0, RangeLock.stripeCount)
                return
            }
            first = Int(start) & (RangeLock.stripeCount - 1)
            count = Int(span)
            wrapped = max(0, first + count - RangeLock.stripeCount)
        }

        subscript(place: Int) -> Int { place < wrapped ? place : first + place - wrapped }
    }
}
