import ArgumentParser
import VolumeSimulation

@main
struct Simulate: ParsableCommand {
    @Option var seed: UInt64 = 1
    @Option var seeds: UInt64 = 1
    @Flag var trace = false

    func run() throws {
        for number in seed..<seed + seeds {
            let world = VolumeWorld(seed: number, trace: trace ? { print($0) } : nil)
            let result = world.run()
            print(
                "seed \(number): \(result.failure ?? "sound"), hash \(result.hash), \(result.counts.acknowledged) I/Os, \(result.counts.simulated / 1_000_000) ms"
            )
        }
    }
}
