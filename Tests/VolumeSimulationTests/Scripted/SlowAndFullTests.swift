import BlockInterface
import Replication
import Simulation
import Testing

@testable import VolumeSimulation

/// Writes that one member has no room for, or fails, while another is away for having been slow.
@Suite struct SlowAndFullTests {
    /// A volume whose member 1 has just been given up for being slow, and is fast again.
    private func slow() -> Scenario {
        let scenario = Scenario { $0.slowCooldown = 2_500_000_000 }
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.slow(1, milliseconds: 150)
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        #expect(scenario.status.members[1].phase != .active)
        scenario.slow(1, milliseconds: 0)
        return scenario
    }

    /// Nothing is known of how fast a member would be that is asked for nothing more.
    @Test func oneSlowWriteIsNoReason() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.slow(1, milliseconds: 6)
        #expect(scenario.does(.write) == .success)
        scenario.slow(1, milliseconds: 0)
        #expect(!scenario.reaches(within: 200) { scenario.initiator.engine.statistics.slowDemotions > 0 })
        for _ in 0..<100 { #expect(scenario.does(.write) == .success) }
        #expect(scenario.initiator.engine.statistics.slowDemotions == 0)
        #expect(scenario.areAllInSync)
        #expect(scenario.ending() == nil)
    }

    /// Invariant 1: two members can hold the write, so it is acknowledged when they do.
    @Test(arguments: [0, 2] as [MemberIndex], [BlockStatus.capacityExceeded, .writeFault])
    func aWriteWaitsForTheMemberThatWasSlow(failing: MemberIndex, reason: BlockStatus) {
        let scenario = slow()
        let target = scenario.targets[failing]
        if reason == .capacityExceeded {
            target.disk.behaviour.fullBlocks = 40..<48
        } else {
            target.disk.behaviour.failingWrites = 40..<48
        }
        #expect(scenario.does(.write, 40, 8) == .success)
        #expect(scenario.does(.writeZeroes, 44, 2) == .success)
        #expect(scenario.does(.flush) == .success)
        #expect(scenario.does(.read, 40, 8) == .success)
        target.disk.behaviour.fullBlocks = 0..<0
        target.disk.behaviour.failingWrites = 0..<0
        #expect(scenario.ending() == nil)
    }

    /// One that does not come back is not waited for without end.
    @Test func aWriteDoesNotWaitForAMemberThatStaysAway() {
        let scenario = slow()
        scenario.cut(1)
        scenario.targets[2].disk.behaviour.fullBlocks = 40..<48
        scenario.submit(.write, 40, 8)
        #expect(scenario.isDone(within: 30_000))
        #expect(scenario.lastStatus == .capacityExceeded)
        scenario.targets[2].disk.behaviour.fullBlocks = 0..<0
        scenario.reconnect(1)
        #expect(scenario.does(.write, 40, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// Nobody waits for a member that is away for another reason: two members are left, and one of them has no room.
    @Test func aWriteDoesNotWaitForAMemberThatIsGone() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.stop(1)
        #expect(scenario.reaches { scenario.status.members[1].phase != .active })
        scenario.targets[2].disk.behaviour.fullBlocks = 40..<48
        #expect(scenario.does(.write, 40, 8) == .capacityExceeded)
        scenario.targets[2].disk.behaviour.fullBlocks = 0..<0
        scenario.start(1)
        #expect(scenario.ending() == nil)
    }
}
