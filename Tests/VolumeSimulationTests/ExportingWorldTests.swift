import Testing
import VolumeSimulation

/// Worlds in which the process that attaches the volume serves it to a host, and the workload runs there.
@Suite struct ExportingWorldTests {
    @Test(arguments: [UInt64](1...5))
    func aServedVolumeIsSound(seed: UInt64) {
        var profile = Profile(seed: seed)
        profile.exports = true
        let result = VolumeWorld(seed: seed, profile: profile).run()
        #expect(result.failure == nil, "seed \(seed)")
    }
}
