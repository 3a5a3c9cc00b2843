import Testing
import VolumeSimulation

/// Worlds in which the process that attaches the volume serves it to a host, and the workload runs there.
@Suite struct ExportingWorldTests {
    @Test(arguments: [UInt64](1...10))
    func aServedVolumeIsSound(seed: UInt64) {
        let result = VolumeWorld(seed: seed, profile: Profile(seed: seed, family: .exported)).run()
        #expect(result.failure == nil, "seed \(seed)")
    }
}
