import Foundation
import VolumeSimulation

extension Simulate {
    /// Runs every `step`th seed until nobody listens any more, and says what became of each, a line a seed. In a process
    /// of its own: an invariant that does not hold ends it, and no other world.
    func runWorker(first: UInt64, step: UInt64, _ kind: WorldKind) {
        signal(SIGPIPE, SIG_DFL)
        var seed = first
        var left = seeds ?? UInt64.max
        while left > 0 {
            left -= 1
            print("begin \(seed)")
            // The parent has to know which seed ended the process.
            fflush(nil)
            let profile = kind.profile(seed: seed)
            let all = profile.faults(seed: seed)
            let schedule = kept.map { numbers in numbers.map { all[$0] } } ?? all
            let result = profile.run(seed: seed, schedule: schedule, trace: trace ? { tell($0) } : nil)
            let failure = WorldFailure(result)
            print("counts", result.counts.encoded.map(String.init).joined(separator: " "))
            print(
                "end \(seed) \(String(result.hash, radix: 16)) \(failure?.kind ?? "") \(failure?.reason ?? "")")
            seed &+= step
        }
    }

    /// At once: it may be the last thing before an invariant traps.
    private func tell(_ line: String) {
        print("trace \(line)")
        fflush(nil)
    }
}
