import Base
import BlockInterface
import Replication
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Namespaces that become larger under a volume whose host then dies. Nobody has written down what size they had.
@Suite struct EnlargedMemberTests {
    private func enlarge(_ scenario: Scenario, _ members: MemberSet, to blocks: UInt64) {
        for member in members { scenario.resize(member, toBlocks: blocks) }
    }

    /// Lets the volume settle, kills its host, and attaches it anew.
    private func crash(_ scenario: Scenario) -> Bool {
        #expect(scenario.reaches { scenario.status.isRecordValid })
        _ = scenario.reaches(within: 50) { false }
        scenario.crashInitiator()
        return scenario.attach()
    }

    @Test(arguments: [[0, 1, 2], [0], [1, 2]] as [MemberSet])
    func aVolumeIsFound(enlarged: MemberSet) {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        enlarge(scenario, enlarged, to: 420)
        #expect(scenario.does(.write, 16, 8) == .success)
        // Each attach goes by what the one before has left.
        for _ in 0..<3 {
            #expect(crash(scenario))
            for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
            #expect(scenario.does(.write, 24, 8) == .success)
            #expect(scenario.reaches { scenario.areAllInSync })
        }
        #expect(scenario.ending() == nil)
    }

    @Test func aVolumeIsFoundThatWasEnlargedTwice() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        enlarge(scenario, [0, 1, 2], to: 300)
        #expect(crash(scenario))
        enlarge(scenario, [0, 1, 2], to: 420)
        #expect(crash(scenario))
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The members have grown while nobody had them; one was found, by what another's record tells of its size.
    @Test func aMemberThatWasAwayWhenItGrewIsFound() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.stop(2)
        #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        enlarge(scenario, [2], to: 420)
        scenario.start(2)
        #expect(scenario.reaches { scenario.isInSync(2) })
        enlarge(scenario, [0, 1], to: 420)
        #expect(crash(scenario))
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// A volume that was found so grows like any other, and is found at its new end.
    @Test func aVolumeThatWasFoundGrows() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        enlarge(scenario, [0, 1, 2], to: 420)
        #expect(crash(scenario))
        #expect(
            scenario.reaches {
                scenario.areAllInSync && scenario.status.unreconciledRegions == 0
            })
        #expect(scenario.grow(toBlocks: 300))
        #expect(scenario.reaches { scenario.notices.contains(.grown(dataBlocks: 300)) })
        #expect(crash(scenario))
        #expect(scenario.initiator.engine.geometry.dataBlocks == 300)
        for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
        #expect(scenario.ending() == nil)
    }
}
