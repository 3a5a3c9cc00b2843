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
            // Whoever listens has to know which seed ended the process.
            fflush(nil)
            let result = VolumeWorld(seed: seed, profile: kind.profile(seed: seed)).run()
            print("counts", result.counts.encoded.map(String.init).joined(separator: " "))
            print("end \(seed) \(String(result.hash, radix: 16)) \(result.failure ?? "")")
            seed &+= step
        }
    }
}
