import BlockInterface
import Replication
import Simulation
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Members that say, once, that what they had cached is lost, and members that cannot be written again.
@Suite struct FailedDurabilityTests {
    private func dirty(fault: DeliberateFault, tellsInstances: Bool = true) -> Scenario {
        let scenario = Scenario(fault: fault) { profile in
            for place in profile.makes.indices { profile.makes[place].tellsInstances = tellsInstances }
        }
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        return scenario
    }

    /// A write with FUA that fails on all members in sync tells what a failed flush tells: all that is dirty is written again. Targets of other makes do not tell it by the namespace's instance.
    @Test(arguments: [true, false]) func aDurableWriteFailsOnAll(tellsInstance: Bool) {
        // The bug does not show if the instance tells.
        for fault in [DeliberateFault.none, .failedDurabilityTrusted] where fault == .none || !tellsInstance {
            let scenario = dirty(fault: fault, tellsInstances: tellsInstance)
            for target in scenario.targets { target.disk.loseWriteback() }
            // Of a region that is marked: no write of metadata is the first to fail.
            scenario.submit(.write, 40, 8, forceUnitAccess: true)
            #expect(scenario.isDone())
            #expect(scenario.lastStatus == (fault == .none ? .writeFault : .success))
            #expect(scenario.reaches { scenario.areAllInSync && scenario.status.dirtyRegions == 0 })
            for member in MemberSet.all {
                #expect(scenario.isDurable(member, 0..<48) == (fault == .none), "\(fault), member \(member)")
            }
            if fault == .none { #expect(scenario.ending() == nil) }
        }
    }

    /// A flush that failed on all is not acknowledged by the next flush, which succeeds everywhere: what was dirty has been written
    /// again by then.
    @Test(arguments: [true, false]) func aFlushThatFailedOnAllWaits(tellsInstance: Bool) {
        for fault in [DeliberateFault.none, .flushBeforeRewritten] {
            let scenario = dirty(fault: fault, tellsInstances: tellsInstance)
            for target in scenario.targets { target.disk.loseWriteback() }
            #expect(scenario.does(.flush, 0, 0) == .success)
            let isDurable = MemberSet.all.filter { scenario.isInSync($0) }.allSatisfy { scenario.isDurable($0, 0..<48) }
            #expect(isDurable == (fault == .none), "\(fault)")
            if fault == .none { #expect(scenario.ending() == nil) }
        }
    }

    /// Nor where a region cannot be read any more: the host hears that it may be lost, until the block has been written anew.
    @Test func aFlushAfterLostCachesFailsWhereARegionIsUnreadable() {
        let scenario = dirty(fault: .none)
        for target in scenario.targets {
            target.disk.loseWriteback()
            target.disk.makeUnreadable(44)
        }
        #expect(scenario.does(.flush, 0, 0) == .writeFault)
        #expect(scenario.does(.flush, 0, 0) == .writeFault)
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.does(.write, 44, 1) == .success)
        #expect(scenario.reaches { scenario.does(.flush, 0, 0) == .success })
        for member in MemberSet.all where scenario.isInSync(member) { #expect(scenario.isDurable(member, 0..<48)) }
        #expect(scenario.ending() == nil)
    }

    /// Nor where the one member in sync cannot write a region again that no other has.
    @Test func aFlushAfterLostCachesFailsWhereARegionCannotBeWrittenAgain() {
        let scenario = dirty(fault: .none)
        for member in [1, 2] as MemberSet { scenario.targets[member].disk.behaviour.failingWrites = 0..<8 }
        #expect(scenario.does(.write, 0, 8) != .success)
        #expect(scenario.reaches { MemberSet.all.allSatisfy { scenario.world.record($0)?.inSync == [0] } })
        for target in scenario.targets { target.disk.loseWriteback() }
        scenario.targets[0].disk.behaviour.failingWrites = 40..<48
        for member in [1, 2] as MemberSet { scenario.targets[member].disk.behaviour.failingWrites = 40..<48 }
        #expect(scenario.does(.flush, 0, 0) == .writeFault)
        #expect(scenario.does(.read, 40, 8) == .success)
        for target in scenario.targets { target.disk.behaviour.failingWrites = 0..<0 }
        #expect(scenario.reaches { scenario.areAllInSync && scenario.status.dirtyRegions == 0 })
        #expect(scenario.does(.flush, 0, 0) == .success)
        #expect(scenario.ending() == nil)
    }

    /// After a crash a region is copied from a member that cannot write it again: once the others have it, it is behind.
    @Test func aSourceThatCannotBeWrittenAgainFallsBehind() {
        for fault in [DeliberateFault.none, .unwrittenSourceTrusted] {
            let scenario = dirty(fault: fault)
            scenario.crashInitiator()
            scenario.targets[0].disk.behaviour.failingWrites = 40..<48
            #expect(scenario.attach())
            #expect(
                scenario.reaches {
                    scenario.status.unreconciledRegions == 0 && scenario.isInSync(1) && scenario.isInSync(2)
                        && scenario.isInSync(0) == (fault != .none)
                }, "\(fault)")
            #expect(scenario.does(.read, 40, 8) == .success)
            for member in [1, 2] as MemberSet { #expect(scenario.isDurable(member, 40..<48)) }
            scenario.targets[0].disk.behaviour.failingWrites = 0..<0
            guard fault == .none else { continue }
            #expect(scenario.reaches { scenario.isInSync(0) && scenario.status.dirtyRegions == 0 })
            #expect(scenario.isDurable(0, 40..<48))
            #expect(scenario.ending() == nil)
        }
    }

    /// The only member in sync is read all the same, also where the others cannot take a region from it; the region stays marked, so
    /// that a loss of its cache is seen.
    @Test func theOnlyMemberInSyncCannotBeWrittenAgain() {
        for fault in [DeliberateFault.none, .unwrittenSourceTrusted] {
            let scenario = dirty(fault: fault)
            for member in [1, 2] as MemberSet { scenario.targets[member].disk.behaviour.failingWrites = 0..<8 }
            #expect(scenario.does(.write, 0, 8) != .success)
            #expect(
                scenario.reaches {
                    MemberSet.all.allSatisfy { scenario.world.record($0)?.inSync == [0] }
                })
            scenario.crashInitiator()
            scenario.targets[0].disk.behaviour.failingWrites = 40..<48
            #expect(scenario.attach())
            #expect(scenario.initiator.engine.membersInSync == [0])
            for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
            // Several rounds of housekeeping, with flushes that succeed.
            #expect(!scenario.reaches(within: 500) { false })
            #expect(scenario.hasBit(0, BitmapPage.inFlightKind, 5) == (fault == .none), "\(fault)")
            guard fault == .none else { continue }
            scenario.targets[1].disk.behaviour.failingWrites = 0..<0
            #expect(scenario.reaches { scenario.isInSync(1) && !scenario.isInSync(0) })
            scenario.targets[0].disk.behaviour.failingWrites = 0..<0
            scenario.targets[2].disk.behaviour.failingWrites = 0..<0
            #expect(scenario.reaches { scenario.areAllInSync })
            #expect(scenario.ending() == nil)
        }
    }
}
