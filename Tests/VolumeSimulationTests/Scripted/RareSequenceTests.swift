import Base
import BlockInterface
import Replication
import Simulation
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Sequences of events that chance seldom makes, each of which once led astray.
@Suite struct RareSequenceTests {
    /// The newest slot of a member's record cannot be read any more. The other tells the same: the member that was lost is not
    /// in sync, and what is dirty is not copied from it.
    @Test func theNewestSlotOfARecordRots() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.cut(0)
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        scenario.crashInitiator()
        let newest = scenario.world.record(1)?.sequence ?? 0
        scenario.rot(Int(scenario.world.layouts[1].slotBlock(Int(newest & 1))), 1)
        let kept: MemberSet = [1, 2]
        #expect(scenario.world.record(1)?.inSync == kept)
        scenario.reconnect(0)
        #expect(scenario.attach())
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The namespace that takes a member's place has been another volume's, whose record has a greater sequence number.
    @Test func aReplacementHasARecordOfAnotherVolume() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        initiator.engine.pauseResync()
        #expect(scenario.replace(1, isForeign: true))
        #expect(scenario.reaches { scenario.status.members[1].phase == .active })
        initiator.breakConnection(1)
        #expect(scenario.reaches { scenario.status.members[1].phase != .active })
        #expect(scenario.reaches { scenario.status.members[1].phase == .active }, "it is known again")
        initiator.engine.resumeResync()
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.ending() == nil)
    }

    // MARK: Writes that members fail

    /// One member is away, another fails the write: there are not enough copies, and the host hears of it.
    @Test(arguments: [true, false])
    func aWriteThatTooFewMembersTakeEnds(isAwayFirst: Bool) {
        let scenario = Scenario()
        #expect(scenario.attach())
        if isAwayFirst {
            scenario.stop(2)
            #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        } else {
            scenario.targets[2].disk.behaviour.failingWrites = 0..<8
        }
        scenario.targets[1].disk.behaviour.failingWrites = 0..<8
        #expect(scenario.does(.write, 0, 8) == .writeFault)
        scenario.targets[1].disk.behaviour.failingWrites = 0..<0
        scenario.targets[2].disk.behaviour.failingWrites = 0..<0
        if isAwayFirst { scenario.start(2) }
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The only member in sync is busy when one that is behind fails the write: that one's failure is not the host's.
    @Test func aMemberThatIsBehindFailsAWriteFirst() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.fallBehind(1)
        scenario.fallBehind(2)
        scenario.targets[1].disk.behaviour.failingWrites = 0..<8
        for _ in 0..<20 {
            // Not ready: the command is sent again a while later.
            scenario.targets[0].disk.behaviour.failure = .deviceGone
            scenario.submit(.write, 0, 8)
            scenario.wait(microseconds: 300)
            scenario.targets[0].disk.behaviour.failure = nil
            #expect(scenario.isDone())
            #expect(scenario.lastStatus == .success)
        }
        scenario.targets[1].disk.behaviour.failingWrites = 0..<0
        scenario.initiator.engine.resumeResync()
        #expect(scenario.ending() == nil)
    }

    // MARK: A region that is repaired from a member

    /// A volume with a region that a scrub found to differ on member 0.
    private func differing() -> Scenario {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 8, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        #expect(scenario.reaches { scenario.status.dirtyRegions == 0 })
        scenario.rot(9, 0)
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 1 })
        return scenario
    }

    private func repair(_ scenario: Scenario) {
        let initiator = scenario.initiator
        initiator.engine.repairRegion(1, from: 1, now: initiator.now)
    }

    /// A member is lost before the region is copied.
    private func repair(_ scenario: Scenario, losing member: MemberIndex) {
        for member in MemberSet.all { scenario.stall(member, milliseconds: 5) }
        repair(scenario)
        scenario.initiator.breakConnection(member)
        #expect(scenario.reaches { scenario.status.members[member].phase != .active })
    }

    /// A next attach does not serve what was found to differ either, from whichever member: two reads could differ.
    @Test(arguments: [false, true])
    func aNextAttachKnowsWhatDiffers(isCrash: Bool) {
        let scenario = differing()
        #expect(scenario.reaches { scenario.status.isRecordValid })
        if isCrash { scenario.crashInitiator() } else { #expect(scenario.detach()) }
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.status.isRecordValid && scenario.status.unreconciledRegions == 0 })
        #expect(scenario.status.quarantinedRegions == 1)
        for _ in 0..<9 { #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError) }
        // It is found again, and can be repaired.
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.notices.contains(.scrubFinished(mismatches: 1)) })
        repair(scenario)
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(
            scenario.reaches { MemberSet.all.allSatisfy { scenario.world.record($0)?.quarantine == [] } })
        #expect(scenario.detach())
        #expect(scenario.attach())
        #expect(scenario.status.quarantinedRegions == 0)
        #expect(scenario.ending() == nil)
    }

    /// The initiator dies while a region is being repaired: some members have been copied to, and others not.
    @Test func aRepairIsBrokenOff() {
        let scenario = differing()
        #expect(scenario.reaches { scenario.status.isRecordValid })
        for member in MemberSet.all { scenario.stall(member, milliseconds: 5) }
        repair(scenario)
        #expect(scenario.status.quarantinedRegions == 0)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError)
        repair(scenario)
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// All of a quarantined region has been written since: a scrub finds the members equal, and it is served again.
    @Test func aQuarantinedRegionIsWritten() {
        let scenario = differing()
        #expect(scenario.does(.write, 8, 8) == .success)
        #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError)
        #expect(scenario.reaches { scenario.notices.contains(.scrubFinished(mismatches: 1)) })
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The member that is wrong is lost before it was copied to.
    @Test func theMemberThatIsRepairedIsLost() {
        let scenario = differing()
        repair(scenario, losing: 0)
        #expect(scenario.reaches { scenario.isInSync(0) })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The member that is wrong is lost before it was copied to, the third one is away, and the initiator dies a moment
    /// later: between the record that names the region no more and the bit that stands for it then, if they go in that order.
    @Test(arguments: 0..<60) func theInitiatorDiesWhenTheMemberThatIsRepairedIsLost(tens: UInt64) {
        let scenario = differing()
        scenario.stop(2)
        #expect(scenario.reaches { !scenario.status.members[2].isInSync && scenario.status.isRecordValid })
        scenario.stall(0, milliseconds: 5)
        repair(scenario)
        scenario.initiator.breakConnection(0)
        #expect(scenario.reaches { scenario.status.members[0].phase != .active })
        scenario.wait(microseconds: 10 * tens)
        scenario.crashInitiator()
        scenario.start(2)
        #expect(scenario.attach())
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.areAllInSync })
        #expect(scenario.reaches { scenario.notices.contains { if case .scrubFinished = $0 { true } else { false } } })
        // Either it is served, from members that are equal, or it is not.
        let statuses = (0..<9).map { _ in scenario.does(.read, 8, 8) }
        #expect(Set(statuses).count == 1)
        if statuses[0] != .success { repair(scenario) }
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.ending() == nil)
    }

    /// Two members in sync are equal in a region that a scrub found to differ on a third, which is away now: it is served.
    @Test func theMemberThatDiffersIsAway() {
        let scenario = differing()
        #expect(scenario.reaches { scenario.notices.contains(.scrubFinished(mismatches: 1)) })
        scenario.stop(0)
        #expect(scenario.reaches { !scenario.status.members[0].isInSync && scenario.status.isRecordValid })
        #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError)
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.reaches { scenario.world.record(1)?.quarantine == [] })
        scenario.crashInitiator()
        scenario.start(0)
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.isInSync(0) })
        for _ in 0..<9 { #expect(scenario.does(.read, 8, 8) == .success) }
        #expect(scenario.ending() == nil)
    }

    /// The member that is right is lost before it was copied from: the others are not believed, nor copied to it.
    @Test func theMemberThatIsRightIsLost() {
        let scenario = differing()
        repair(scenario, losing: 1)
        #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError)
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.status.quarantinedRegions == 1)
        repair(scenario)
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.ending() == nil)
    }
}
