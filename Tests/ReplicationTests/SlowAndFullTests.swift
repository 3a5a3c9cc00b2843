import BlockInterface
import Replication
import Testing

/// Writes that one member has no room for, or fails, while another is away for having been slow.
@Suite struct SlowAndFullTests {
    /// A volume whose member 1 has just been given up for being slow, and is fast again.
    private func slow() -> Scenario {
        let scenario = Scenario()
        scenario.simulation.slowCooldown = 2_500_000_000
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.targets[1].slowness = 5000
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        #expect(scenario.status.members[1].phase != .active)
        scenario.targets[1].slowness = 1
        return scenario
    }

    /// Invariant 1: two members can hold the write, so it is acknowledged when they do.
    @Test(arguments: [0, 2] as [MemberIndex], [BlockStatus.capacityExceeded, .writeFault])
    func aWriteWaitsForTheMemberThatWasSlow(failing: MemberIndex, reason: BlockStatus) {
        let scenario = slow()
        let target = scenario.targets[failing]
        if reason == .capacityExceeded { target.hasNoRoomFor = 40..<48 } else { target.failsWritesIn = 40..<48 }
        #expect(scenario.does(.write, 40, 8) == .success)
        #expect(scenario.does(.writeZeroes, 44, 2) == .success)
        #expect(scenario.does(.flush) == .success)
        #expect(scenario.does(.read, 40, 8) == .success)
        target.hasNoRoomFor = 0..<0
        target.failsWritesIn = 0..<0
        #expect(scenario.ending() == nil)
    }

    /// One that does not come back is not waited for without end.
    @Test func aWriteDoesNotWaitForAMemberThatStaysAway() {
        let scenario = slow()
        scenario.simulation.cut[1] = true
        scenario.targets[2].hasNoRoomFor = 40..<48
        scenario.submit(.write, 40, 8)
        #expect(scenario.isDone(within: 30_000))
        #expect(scenario.initiator.workload.lastStatus == .capacityExceeded)
        scenario.targets[2].hasNoRoomFor = 0..<0
        scenario.simulation.cut[1] = false
        #expect(scenario.does(.write, 40, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// Nobody waits for a member that is away for another reason: two members are left, and one of them has no room.
    @Test func aWriteDoesNotWaitForAMemberThatIsGone() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.stop(1)
        #expect(scenario.reaches { scenario.status.members[1].phase != .active })
        scenario.targets[2].hasNoRoomFor = 40..<48
        #expect(scenario.does(.write, 40, 8) == .capacityExceeded)
        scenario.targets[2].hasNoRoomFor = 0..<0
        scenario.targets[1].start()
        #expect(scenario.ending() == nil)
    }
}
