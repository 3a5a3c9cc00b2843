import Base
import BlockInterface
import Replication
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// An operator's actions on a volume that is served.
@Suite struct OperationsTests {
    @Test(arguments: [false, true])
    func replaceMember(isInterrupted: Bool) {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let initiator = scenario.initiator
        let uuid = scenario.targets[1].nextUUID
        #expect(scenario.replace(1))
        #expect(scenario.does(.write, 40, 8) == .success, "the volume is served meanwhile")
        if isInterrupted {
            #expect(scenario.reaches { scenario.world.record(1) != nil })
            initiator.breakConnection(1)
        }
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(initiator.engine.statistics.regionsCopied >= 13)
        for member in MemberSet.all {
            #expect(scenario.world.record(member)?.members[1].uuid == uuid)
        }
        #expect(scenario.ending() == nil)
    }

    @Test func aMemberThatWasReplacedIsNotTakenForTheOneInItsPlace() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.world.silenced.insert(.metadataRefused)
        let target = scenario.targets[0]
        #expect(scenario.replace(0))
        #expect(scenario.reaches { scenario.isInSync(0) })
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        for wasServing in [true, false] {
            // The old one is there again, at the address of the new one.
            if !wasServing { scenario.crashInitiator() }
            scenario.stop(0)
            target.restoreFormer()
            scenario.start(0)
            if !wasServing { #expect(scenario.attach()) }
            #expect(scenario.reaches { scenario.notices.contains(.memberRefused(0, .replaced(member: 0))) })
            for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
            scenario.stop(0)
            target.restoreFormer()
            scenario.start(0)
            scenario.crashInitiator()
            #expect(scenario.attach())
            #expect(scenario.reaches { scenario.isInSync(0) })
        }
        #expect(scenario.ending() == nil)
    }

    private func replace(_ initiator: InitiatorProcess, _ member: MemberIndex, _ uuid: UUIDBytes) -> Bool {
        initiator.engine.replaceMember(member, uuid: uuid, now: initiator.now)
    }

    @Test(arguments: [0, 17])
    func moreCopiesAtOnceThanThereIsRoomForAreAMistakeOfTheCaller(count: Int) async {
        await #expect(processExitsWith: .failure) { [count] in
            var configuration = VolumeConfiguration(volume: UUIDBytes(high: 1, low: 2), blockSize: 512)
            configuration.copyConcurrency = count
        }
        var configuration = VolumeConfiguration(volume: UUIDBytes(high: 1, low: 2), blockSize: 512)
        configuration.copyConcurrency = VolumeConfiguration.maximumCopyConcurrency
        #expect(configuration.copyConcurrency == 16)
    }

    @Test func replaceIsRefusedWithoutASource() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        #expect(!replace(initiator, 0, UUIDBytes(high: 7, low: 2)))
        scenario.stop(0)
        scenario.stop(1)
        #expect(scenario.reaches { scenario.status.phase == .suspended })
        #expect(!replace(initiator, 2, UUIDBytes(high: 7, low: 8)))
        for member in [0, 1] as MemberSet { scenario.start(member) }
        #expect(scenario.ending() == nil)
    }

    /// Grows under load, undisturbed, or with a member or the initiator lost in the middle.
    @Test(arguments: [-1, 0, 100, 200, 300, 400, 600, 800, 1000, 1500], ["member", "initiator"])
    func grow(disturbedAfter microseconds: Int, who: String) {
        let scenario = Scenario(seed: UInt64(microseconds + 2))
        #expect(scenario.attach())
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let initiator = scenario.initiator
        let isTooEarly = initiator.engine.grow(dataBlocks: 300, now: initiator.now)
        #expect(!isTooEarly, "the namespaces are too small")
        for member in MemberSet.all { scenario.resize(member, toBlocks: 420) }
        scenario.submit(.write, 3, 7)
        #expect(scenario.grow(toBlocks: 300))
        if microseconds >= 0 {
            scenario.wait(microseconds: UInt64(microseconds))
            if who == "member" {
                initiator.breakConnection(MemberIndex(microseconds % 3))
            } else {
                scenario.crashInitiator()
                #expect(scenario.attach())
            }
        }
        #expect(scenario.reaches { scenario.initiator.isServing && !scenario.hasUnfinished })
        #expect(scenario.reaches { scenario.areAllInSync && scenario.status.unreconciledRegions == 0 })
        let blocks = scenario.initiator.engine.geometry.dataBlocks
        if microseconds < 0 { #expect(blocks == 300) }
        #expect(blocks == 300 || blocks == 100)
        #expect(scenario.ending() == nil)
    }

    @Test func resyncPausesAndGoesOn() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        initiator.engine.pauseResync()
        scenario.cut(2)
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.reconnect(2)
        #expect(scenario.reaches { scenario.status.members[2].phase == .active })
        #expect(!scenario.reaches(within: 300) { scenario.isInSync(2) })
        #expect(scenario.status.members[2].behindRegions >= 6)
        initiator.engine.resumeResync()
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.ending() == nil)
    }

    @Test func resyncKeepsToItsRate() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        // A region of 4 KiB in 20 ms.
        initiator.engine.setResyncRate(50 * 4096)
        scenario.cut(2)
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.reconnect(2)
        #expect(scenario.reaches { scenario.status.members[2].phase == .active })
        let began = scenario.now
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.now - began >= 11 * 20_000_000)
        #expect(scenario.ending() == nil)
    }

    @Test func slowMemberIsDemotedAndComesBack() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.slow(1, milliseconds: 500)
        let before = scenario.now
        #expect(scenario.does(.write) == .success)
        #expect(scenario.now - before < 100_000_000, "one wait, until it is demoted")
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        let after = scenario.now
        #expect(scenario.does(.write) == .success)
        #expect(scenario.now - after < 2_000_000, "and none after that")
        scenario.slow(1, milliseconds: 0)
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.ending() == nil)
    }

    /// A member that was slow stays out for a while, but not while the volume waits for members.
    @Test func aMemberThatWasSlowIsTakenBackWhenItIsNeeded() {
        let scenario = Scenario { $0.slowCooldown = 2_500_000_000 }
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.slow(1, milliseconds: 500)
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        scenario.slow(1, milliseconds: 0)
        #expect(!scenario.reaches(within: 500) { scenario.isInSync(1) }, "it stays out")
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.isDone(within: 500))
        #expect(scenario.lastStatus == .success)
        scenario.start(2)
        #expect(scenario.ending() == nil)
    }

    /// A process that was stopped finds its commands older than any limit, and their answers perhaps not there yet.
    @Test func whoStoodStillBlamesNobody() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        for member in MemberSet.all { scenario.stall(member, milliseconds: 420) }
        scenario.submit(.write)
        scenario.initiator.isPaused = true
        #expect(!scenario.reaches(within: 400) { false })
        scenario.initiator.goOn()
        #expect(scenario.isDone())
        #expect(scenario.lastStatus == .success)
        #expect(scenario.initiator.engine.statistics.standstills == 1)
        #expect(scenario.initiator.engine.statistics.memberLosses == 0)
        #expect(scenario.ending() == nil)
    }

    /// On overloaded processors each target stalls now and then: nobody is slower than the others.
    @Test func membersThatStallInTurnAreNotDemoted() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        for round in 0..<9 {
            let milliseconds: UInt64 = round == 0 ? 60 : 90
            let end = scenario.now + milliseconds * 1_000_000
            scenario.stall(MemberIndex(round % 3), milliseconds: milliseconds)
            for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
            #expect(scenario.now >= end, "the stall was waited for")
        }
        #expect(scenario.initiator.engine.statistics.slowDemotions == 0)
        #expect(scenario.initiator.engine.statistics.memberLosses == 0)
        #expect(scenario.ending() == nil)
    }

    /// How long writes took when there were any says nothing of a member that has nothing to do: not even when what the
    /// others took is forgotten.
    @Test func idleMembersAreNotDemoted() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for member in MemberSet.all { scenario.slow(member, milliseconds: 30) }
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        for member in MemberSet.all { scenario.slow(member, milliseconds: 0) }
        #expect(!scenario.reaches(within: 180_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        #expect(scenario.ending() == nil)
    }

    /// A read has nothing to be measured by: others may have had none for long.
    @Test func oneSlowReadDemotesNobody() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        #expect(!scenario.reaches(within: 60_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        for member in MemberSet.all { scenario.stall(member, milliseconds: 90) }
        #expect(scenario.does(.read) == .success)
        #expect(!scenario.reaches(within: 10_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        #expect(scenario.ending() == nil)
    }

    @Test func aVolumeSetToFailDoesNotWait() {
        let scenario = Scenario { $0.suspendPolicy = .fail }
        #expect(scenario.attach())
        scenario.stop(1)
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.isDone())
        #expect(scenario.lastStatus == .unavailable)
        #expect(scenario.does(.read) == .unavailable)
        for member in [1, 2] as MemberSet { scenario.start(member) }
        #expect(scenario.reaches { scenario.initiator.isServing })
        #expect(scenario.does(.write) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func membersOfTwoVolumesAreNotWritten() {
        let scenario = Scenario()
        // Another volume's superblock is there.
        var other = scenario.world.record(2)!
        other.volume = UUIDBytes(high: 66, low: 6)
        other.sequence = 9
        other.encode(into: scenario.slot(2, 1))
        scenario.world.silenced.insert(.metadataRefused)
        scenario.world.isFinished = true
        scenario.startInitiator()
        #expect(scenario.reaches { scenario.attachError != nil })
        let expected = MetadataError.wrongVolume(member: 2, found: other.volume, expected: VolumeWorld.volume)
        #expect(scenario.attachError == .metadata(expected))
        for member in MemberSet.all {
            #expect(!scenario.hasUnflushed(member), "nothing was written")
            #expect(scenario.registrants(member).isEmpty)
        }
    }
}
