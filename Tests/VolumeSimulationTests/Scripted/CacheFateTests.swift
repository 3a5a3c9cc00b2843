import BlockInterface
import Replication
import Simulation
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Acknowledged data that was not flushed is on one member only, and no instance of a cache says plainly on which.
@Suite struct CacheFateTests {
    private func scenario(_ fault: DeliberateFault, untold: MemberSet = []) -> Scenario {
        let scenario = Scenario(fault: fault) { profile in
            for member in untold { profile.makes[member.number].tellsInstances = false }
        }
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        return scenario
    }

    private func losePower(_ members: MemberSet, _ scenario: Scenario) {
        for member in members { scenario.stop(member, power: true) }
        for member in members { scenario.start(member) }
    }

    /// Whether all that was written is read, by a volume that is attached anew.
    private func isAllRead(_ scenario: Scenario) -> Bool {
        guard scenario.attach() else { return false }
        for region in 0..<6 where scenario.does(.read, region * 8, 8) != .success { return false }
        return scenario.ending() == nil
    }

    /// One member is of another make and does not tell; the others say that their caches are gone.
    @Test(arguments: [0, 1, 2] as [MemberIndex]) func aMemberThatDoesNotTellIsBelieved(member: MemberIndex) {
        for fault in [DeliberateFault.none, .untoldCacheLost] {
            let scenario = scenario(fault, untold: [member])
            scenario.crashInitiator()
            losePower(MemberSet.all.without(member), scenario)
            // Without the rule the first member in sync is believed.
            if member != 0 || fault == .none { #expect(isAllRead(scenario) == (fault == .none), "\(fault)") }
        }
    }

    /// One member failed a flush, so that its cache may not get to the media; the caches of the others are gone.
    @Test(arguments: [0, 1, 2] as [MemberIndex]) func aMemberThatFailedAFlushIsBelieved(member: MemberIndex) {
        for fault in [DeliberateFault.none, .readableCacheLost] {
            let scenario = scenario(fault)
            scenario.crashInitiator()
            losePower(MemberSet.all.without(member), scenario)
            scenario.targets[member].disk.loseWriteback()
            if member != 0 || fault == .none { #expect(isAllRead(scenario) == (fault == .none), "\(fault)") }
        }
    }

    /// The member in sync loses its cache right after another was taken into sync beside it, by a record that it never confirmed.
    @Test func aMemberThatWasJustTakenIntoSyncIsBelieved() {
        for fault in [DeliberateFault.none, .lateMemberForgotten] {
            let scenario = scenario(fault)
            scenario.fallBehind(0)
            scenario.stop(1)
            #expect(scenario.reaches { scenario.initiator.engine.membersInSync == [2] })
            #expect(scenario.reaches { scenario.world.record(2)?.inSync == [2] })
            scenario.slowRecords(2, milliseconds: 400)
            scenario.initiator.engine.resumeResync()
            // Writes are acknowledged until the moment at which the record changes: no flush covers the last of them.
            for _ in 0..<2000 where scenario.world.record(0)?.inSync == [2] {
                scenario.submit(.write, 8, 8)
                scenario.wait(microseconds: 200)
            }
            #expect(scenario.reaches { scenario.world.record(0)?.inSync == [0, 2] })
            #expect(scenario.world.record(2)?.inSync == [2])
            scenario.crashInitiator()
            losePower([2], scenario)
            scenario.slowRecords(2, milliseconds: 0)
            #expect(isAllRead(scenario) == (fault == .none), "\(fault)")
        }
    }
}
