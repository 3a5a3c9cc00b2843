import Base
import Histogram
import Reactor

/// A worker that keeps a queue or a volume at its depth until its time is over, and then lets what is under way end.
///
/// Lives on the reactor of what it loads; nothing is allocated once it has begun.
public class LoadWorker: Poller {
    public enum Phase: Sendable { case idle, running, readingBack, ending }

    final let depth: Int
    public private(set) final var phase = Phase.idle
    /// When `running` is over.
    final var end = MonotonicTime.distantFuture
    private var finished: CheckedContinuation<Void, Never>?
    /// Slots in which nothing is under way; the last one is the next.
    private let free: UnsafeMutablePointer<Int32>
    private var freeCount: Int

    init(depth: Int) {
        self.depth = depth
        free = .allocate(capacity: depth)
        for index in 0..<depth { free[index] = Int32(index) }
        freeCount = depth
    }

    deinit { free.deallocate() }

    /// The phase at `now`, which may be the present one.
    func nextPhase(_ now: MonotonicTime) -> Phase { invariantViolated("a worker says what comes next") }

    /// Submits what there is room for; returns how much that was.
    func submit() -> Int { invariantViolated("a worker has something to submit") }

    /// Begins; `finished` is resumed when the worker has come to its end and nothing is under way. On the reactor's thread.
    final func begin(_ phase: Phase, _ finished: CheckedContinuation<Void, Never>) {
        self.phase = phase
        self.finished = finished
    }

    public final override func poll(now: MonotonicTime) -> Int {
        guard phase != .idle else { return 0 }
        phase = nextPhase(now)
        guard phase == .ending else { return submit() }
        if isQuiet {
            phase = .idle
            finished?.resume()
            finished = nil
        }
        return 0
    }

    /// Submits more right after completions: it leaves in the same round.
    final func goOn(_ now: MonotonicTime) {
        if phase == .running || phase == .readingBack { _ = poll(now: now) }
    }

    public final override var nextDeadline: MonotonicTime { phase == .running ? end : .distantFuture }

    // MARK: Slots

    /// Nothing is under way.
    final var isQuiet: Bool { freeCount == depth }

    /// The slot that the next `take` takes; `nil` where all are in use.
    final var freeSlot: Int? { freeCount > 0 ? Int(free[freeCount - 1]) : nil }

    final func take() { freeCount -= 1 }

    final func give(_ slot: Int) {
        free[freeCount] = Int32(slot)
        freeCount += 1
    }

    /// Of latencies in nanoseconds, from 100 ns to ten minutes.
    static func histogram() -> Histogram<UInt64> {
        Histogram<UInt64>(
            lowestDiscernibleValue: 100, highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .three)
    }
}
