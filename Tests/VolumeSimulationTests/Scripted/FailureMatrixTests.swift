import BlockInterface
import Replication
import Testing
import VolumeDriver

@testable import Simulation
@testable import VolumeSimulation

/// The rows of the failure matrix of the replication research, in its order.
@Suite struct FailureMatrixTests {
    @Test func oneTargetReturnsAMediaErrorOnWrite() throws {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.targets[1].disk.behaviour.failingWrites = 0..<8
        #expect(scenario.does(.write) == .success)
        #expect(!scenario.isInSync(1))
        #expect(scenario.status.members[1].phase == .active, "it stays connected, and votes")
        for member in [0, 2] as MemberSet {
            #expect(scenario.world.record(member)?.inSync == [0, 2])
            #expect(
                scenario.hasBit(member, 1, 0), "the write that member 1 lacks is noted on member \(member)")
        }
        scenario.targets[1].disk.behaviour.failingWrites = 0..<0
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.ending() == nil)
    }

    @Test func oneTargetTimesOutOrItsQueuePairBreaks() {
        for breaks in [true, false] {
            let scenario = Scenario()
            #expect(scenario.attach())
            if breaks { scenario.initiator.breakConnection(2) } else { scenario.cut(2) }
            #expect(scenario.does(.write) == .success)
            #expect(scenario.world.record(0)?.inSync == [0, 1])
            scenario.reconnect(2)
            #expect(scenario.reaches { scenario.isInSync(2) })
            #expect(scenario.initiator.engine.statistics.bytesCopied <= 2 * 4096, "only dirty regions are copied")
            #expect(scenario.ending() == nil)
        }
    }

    @Test func twoTargetsLost() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.stop(1)
        scenario.stop(2)
        scenario.submit(.write)
        #expect(!scenario.isDone(within: 1000), "nothing is acknowledged")
        #expect(scenario.status.phase == .suspended)
        scenario.start(1)
        #expect(scenario.isDone())
        #expect(scenario.lastStatus == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func recordWriteFailsOnOneSurvivor() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let slots = scenario.world.format.layouts[1].slotBlock(0)
        scenario.targets[1].disk.behaviour.failingWrites = slots..<slots + 16
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.reaches { scenario.status.phase == .suspended })
        #expect(!scenario.isDone(within: 500), "one record is not two")
        #expect(scenario.notices.contains(.memberLost(1, .metadataFailed)))
        #expect(scenario.ending() == nil)
    }

    @Test func reservationConflictFromAnyTarget() throws {
        // Its notification is lost; it finds out by writing.
        let scenario = Scenario { $0.driverDefect = .preemptionNotTold }
        #expect(scenario.attach())
        let old = scenario.initiator
        let workload = try #require(old.workload)
        old.isPaused = true
        #expect(scenario.attach())
        old.goOn()
        workload.submit(.write, start: 0, count: 4)
        #expect(scenario.reaches { old.phase == .deposed })
        #expect(scenario.reaches { workload.running.isEmpty })
        #expect(workload.lastStatus == .fenced)
        #expect(!scenario.notices(of: old).contains { if case .memberDemoted = $0 { true } else { false } })
        #expect(scenario.initiator.engine.membersInSync == .all, "no member was blamed")
        #expect(scenario.ending() == nil)
    }

    @Test func initiatorDiesBetweenSends() {
        for delay in stride(from: UInt64(1), to: 900, by: 50) {
            let scenario = Scenario(seed: delay)
            #expect(scenario.attach())
            #expect(scenario.does(.write, 0, 8) == .success)
            scenario.submit(.write, 2, 4)
            scenario.wait(microseconds: delay)
            scenario.crashInitiator()
            #expect(scenario.attach())
            // Two reads, by whichever members, agree: the oracle checks.
            #expect(scenario.does(.read, 0, 8) == .success)
            #expect(scenario.does(.read, 0, 8) == .success)
            #expect(scenario.ending() == nil)
        }
    }

    @Test func initiatorDiesInsideARecordUpdate() {
        for delay in stride(from: UInt64(0), to: 1000, by: 50) {
            let scenario = Scenario(seed: delay + 1)
            #expect(scenario.attach())
            #expect(scenario.does(.write) == .success)
            scenario.initiator.breakConnection(MemberIndex(Int(delay) % 3))
            scenario.submit(.write, 8, 4)
            scenario.wait(microseconds: delay)
            scenario.crashInitiator()
            #expect(scenario.attach())
            #expect(scenario.does(.read, 0, 8) == .success)
            #expect(scenario.does(.read, 8, 4) == .success)
            #expect(scenario.ending() == nil)
        }
    }

    @Test func targetPowerLossWithVolatileCache() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.stop(1, power: true)
        scenario.start(1)
        // It missed nothing, and is dirty all the same where it had not flushed.
        #expect(scenario.reaches { scenario.notices.contains(.memberReturning(1)) })
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.initiator.engine.statistics.regionsCopied >= 6)
        #expect(scenario.ending() == nil)
    }

    @Test func flushedDataOutlivesAPowerLossOfAllWhereOneMemberHadLostItsCacheBefore() {
        for seed in UInt64(1)...3 { #expect(ScriptedFaultTests.losePowerAfterAFlush(seed, .none) == nil) }
    }

    @Test func targetRestartsQuicklyAtTheSameAddress() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.submit(.write, 2, 4)
        scenario.stop(0)
        scenario.start(0)
        #expect(scenario.isDone())
        #expect(
            scenario.reaches { scenario.notices.contains(.memberReturning(0)) }, "not resumed: taken in anew")
        #expect(scenario.reaches { scenario.isInSync(0) })
        #expect(scenario.ending() == nil)
    }

    @Test func returningTargetHasAnOlderEpoch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let old = scenario.initiator
        scenario.cut(2)
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 8, 8) == .success)
        #expect(
            scenario.registrants(2).contains(UInt64(old.number)), "the old initiator may still write there")
        scenario.reconnect(2)
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.registrants(2) == [UInt64(scenario.initiator.number)], "it was fenced first")
        #expect(scenario.ending() == nil)
    }

    @Test func returningTargetHasANewerEpoch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let old = scenario.initiator
        // The old one sees member 0 alone, the new one the other two.
        old.isPaused = true
        scenario.cut(0)
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.reconnect(0)
        old.goOn()
        #expect(scenario.reaches { old.phase == .deposed })
        #expect(scenario.ending() == nil)
    }

    @Test func resyncSourceFailsInTheMiddle() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.cut(2)
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.reconnect(2)
        #expect(scenario.reaches { scenario.initiator.engine.statistics.regionsCopied >= 2 })
        scenario.stop(0)
        #expect(scenario.reaches { scenario.isInSync(2) }, "the other member in sync takes over")
        scenario.start(0)
        #expect(scenario.ending() == nil)
    }

    @Test func readErrorOnOneReplica() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        for member in [0, 1] as MemberSet { scenario.targets[member].disk.makeUnreadable(3) }
        // As many as it takes until one of them has been asked.
        for _ in 0..<8 { #expect(scenario.does(.read, 0, 8) == .success) }
        #expect(scenario.reaches { scenario.initiator.engine.statistics.regionsRepaired > 0 })
        #expect(scenario.initiator.engine.membersInSync == .all)
        #expect(scenario.ending() == nil)
    }

    /// The initiator dies with the answer of a flush that failed, and the next one succeeds: what the source of the next attach holds
    /// is on no media until it is written again.
    @Test(arguments: MemberSet.all.map { $0 }) func flushFailsAndTheInitiatorDies(member: MemberIndex) {
        for fault in [DeliberateFault.none, .sourceNotRewritten] where fault == .none || member == 0 {
            let scenario = Scenario(fault: fault)
            #expect(scenario.attach())
            for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
            let disk = scenario.targets[member].disk
            disk.loseWriteback()
            // An earlier initiator heard of it.
            #expect(disk.perform(BlockRequest(tag: 0, operation: .flush), mark: 0) == .writeFault)
            #expect(!scenario.isDurable(member, 0..<48))
            scenario.crashInitiator()
            #expect(scenario.attach())
            #expect(scenario.reaches { scenario.status.dirtyRegions == 0 })
            #expect(scenario.isDurable(member, 0..<48) == (fault == .none), "\(fault)")
        }
    }

    /// A write with FUA tells, once, that what the member had cached before is lost.
    @Test func durableWriteTellsOfALostCache() {
        for fault in [DeliberateFault.none, .failedDurabilityTrusted] {
            // The target of member 1 does not tell it in another way.
            let scenario = Scenario(fault: fault) { $0.makes[1].tellsInstances = false }
            #expect(scenario.attach())
            for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
            scenario.targets[1].disk.loseWriteback()
            // Of a region that is marked: no write of metadata is the first to fail.
            scenario.submit(.write, 40, 8, forceUnitAccess: true)
            #expect(scenario.isDone() && scenario.lastStatus == .success)
            #expect(scenario.reaches { scenario.isInSync(1) && scenario.status.dirtyRegions == 0 })
            #expect(scenario.isDurable(1, 0..<48) == (fault == .none), "\(fault)")
            if fault == .none { #expect(scenario.ending() == nil) }
        }
    }

    @Test func compareMismatch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 16, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        // Rot on one member, below everything that the volume knows of.
        scenario.rot(18, 1)
        scenario.initiator.engine.startScrub()
        #expect(scenario.reaches { scenario.notices.contains(.scrubFinished(mismatches: 1)) })
        #expect(scenario.notices.contains(.mismatch(region: 2)))
        #expect(scenario.does(.read, 16, 8) == .unrecoveredReadError, "nobody votes: the region is not served")
        #expect(scenario.does(.read, 8, 8) == .success)
        scenario.initiator.engine.repairRegion(2, from: 0, now: scenario.initiator.now)
        #expect(scenario.does(.read, 16, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func detachClean() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<4 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        #expect(scenario.detach())
        for member in MemberSet.all {
            #expect(scenario.world.record(member)?.isClean == true)
            for region in 0..<4 as Range<RegionIndex> {
                #expect(!scenario.hasBit(member, BitmapPage.inFlightKind, region))
            }
            #expect(!scenario.isReserved(member))
            #expect(!(0..<100).contains { scenario.targets[member].disk.isUnflushed($0) })
        }
        #expect(scenario.attach())
        #expect(scenario.status.unreconciledRegions == 0, "nothing is to be copied")
        #expect(scenario.ending() == nil)
    }
}
