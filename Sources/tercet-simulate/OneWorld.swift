import Foundation
import VolumeSimulation

/// One seed's world, in a process of its own: an invariant that traps and a world that does not end are failures of the
/// world, as others are.
struct OneWorld {
    let seed: UInt64
    let kind: WorldKind
    /// Seconds of real time that it may take.
    let timeLimit: TimeInterval

    struct Outcome {
        /// Empty where the world did not come to its end.
        var hash = ""
        var counts = SimulationCounts()
        var failure: WorldFailure?
    }

    /// - Parameters:
    ///   - keep: the numbers of the faults that happen; all of them where it is `nil`.
    ///   - trace: called with each line of the world's history.
    func run(keep: [Int]?, trace: ((String) -> Void)? = nil) throws -> Outcome {
        let worker = try WorkerProcess(
            first: seed, step: 1, seeds: 1, kind: kind, keep: keep, isTraced: trace != nil)
        var outcome = Outcome()
        while !worker.isEnded {
            var polled = pollfd(fd: worker.descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&polled, 1, 1000) > 0 {
                for event in worker.read() {
                    switch event {
                    case .traced(let line): trace?(line)
                    case .counts(let counts): outcome.counts = counts
                    case .ended(_, let hash, let failure):
                        outcome.hash = hash
                        outcome.failure = failure
                    case .died(let failure): outcome.failure = outcome.failure ?? failure
                    }
                }
            }
            if let failure = worker.endIfOverdue(timeLimit) { outcome.failure = outcome.failure ?? failure }
        }
        return outcome
    }
}
