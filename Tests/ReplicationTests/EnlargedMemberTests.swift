import Base
import BlockInterface
import Replication
import Testing

/// Namespaces that become larger under a volume whose host then dies. Nobody has written down what size they had.
@Suite struct EnlargedMemberTests {
    private func enlarge(_ scenario: Scenario, _ members: [MemberIndex], to blocks: Int, isTold: Bool = true) {
        let initiator = scenario.initiator
        for member in members {
            scenario.targets[member].resize(blocks)
            guard isTold else { continue }
            initiator.deliver {
                initiator.engine.handle(.resized(member, blocks: UInt64(blocks)), now: initiator.now)
            }
        }
    }

    /// Lets the volume settle, kills its host, and attaches it anew.
    private func crash(_ scenario: Scenario) -> Bool {
        #expect(scenario.reaches { scenario.status.isRecordValid })
        _ = scenario.reaches(within: 50) { false }
        scenario.crashInitiator()
        return scenario.attach()
    }

    @Test(arguments: [[0, 1, 2], [0], [1, 2]] as [[MemberIndex]])
    func aVolumeIsFound(enlarged: [MemberIndex]) {
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
            #expect(scenario.reaches { MemberSet.all.allSatisfy { scenario.isInSync($0) } })
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
        enlarge(scenario, [2], to: 420, isTold: false)
        scenario.targets[2].start()
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
                MemberSet.all.allSatisfy { scenario.isInSync($0) } && scenario.status.unreconciledRegions == 0
            })
        let initiator = scenario.initiator
        let isAccepted = initiator.engine.grow(dataBlocks: 300, now: initiator.now)
        #expect(isAccepted)
        initiator.process()
        #expect(scenario.reaches { initiator.notices.contains(.grown(dataBlocks: 300)) })
        scenario.simulation.layouts = MemberSet.all.compactMap {
            try? MemberLayout(member: $0, memberBlocks: 420, geometry: initiator.engine.geometry)
        }
        scenario.simulation.comparedBlocks = 300
        #expect(crash(scenario))
        #expect(scenario.initiator.engine.geometry.dataBlocks == 300)
        for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
        #expect(scenario.ending() == nil)
    }
}
