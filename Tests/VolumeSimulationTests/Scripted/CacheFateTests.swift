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
}
