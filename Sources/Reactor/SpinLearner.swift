/// How a thread waits for work that a peer makes.
public enum Waiting: String, CaseIterable, Sendable {
    /// Polls without end: it never offers its processor, and never sleeps.
    case always
    /// Spins as long as its own waits let it expect work, then offers its processor, then sleeps.
    case adaptive
    /// Sleeps as soon as there is nothing to do.
    case never
}

/// How long a thread that waits is to poll before it offers its processor to others, learned from its own waits.
///
/// Beside another load each offer may cost a time slice of the scheduler, some milliseconds: a wait of microseconds is better
/// spun through. Where the peer needs this very processor to make the work, as Soft-RoCE does, spinning is in vain.
public struct SpinLearner: Sendable {
    /// The longest spin, in nanoseconds: longer than a device's usual answer, and short beside a time slice.
    public static let longestNanoseconds: UInt64 = 100_000
    /// Spins in vain, one after the other, after which there is none any more.
    static let patience = 8
    /// Waits after which it is tried again.
    static let pause = 256

    /// The longest of the recent waits, in nanoseconds: the slow answers among them are worth as much as the others.
    private var tailNanoseconds: UInt64 = 20_000
    private var inVain = 0
    private var left = 0

    public init() {}

    /// How long the wait that begins now is to be spun, in nanoseconds.
    public var spinNanoseconds: UInt64 {
        left > 0 ? 0 : min(tailNanoseconds + tailNanoseconds / 4, SpinLearner.longestNanoseconds)
    }

    /// A wait is over.
    ///
    /// - Parameters:
    ///   - nanoseconds: from the last work to the next.
    ///   - hasOffered: the processor was offered meanwhile, and the work was there afterwards.
    public mutating func waited(_ nanoseconds: UInt64, hasOffered: Bool) {
        if left > 0 {
            left -= 1
            return
        }
        if hasOffered {
            inVain += 1
            if inVain >= SpinLearner.patience {
                inVain = 0
                left = SpinLearner.pause
                return
            }
        } else {
            inVain = 0
        }
        // A pause of the load is no answer of the peer, and teaches nothing.
        guard nanoseconds <= SpinLearner.longestNanoseconds else { return }
        tailNanoseconds = max(nanoseconds, tailNanoseconds - tailNanoseconds / 256)
    }
}
