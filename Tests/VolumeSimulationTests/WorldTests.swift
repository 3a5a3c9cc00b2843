import Testing
import VolumeSimulation

@Suite(.serialized) struct WorldTests {
    @Test func aWorldWithoutFaultsIsSound() {
        var profile = Profile(seed: 1)
        profile.faults = []
        #expect(VolumeWorld(seed: 1, profile: profile).run().failure == nil)
    }
}
