import BlockInterface
import Replication
import Simulation
import TargetInterface
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Bugs of targets and their machines that the engine's own care hides in random worlds, each with a sequence of events in which it has
/// to show: and in which a target without it is sound.
@Suite struct ScriptedTargetTests {
    /// A bug, and what is wrong at the end of its sequence, by seed.
    struct Sequence: Sendable, CustomTestStringConvertible {
        let variant: String
        let run: @Sendable (UInt64, (inout Profile) -> Void) -> String?
        var testDescription: String { variant }

        /// Gives a world the bug.
        func spoil(_ profile: inout Profile) {
            switch BrokenVariant(variant)?.defect {
            case .target(let defect): profile.targetDefect = defect
            case .machine(let defect): profile.machineDefect = defect
            default: Issue.record("\(variant) is no bug of a target")
            }
        }
    }

    static let sequences = [
        Sequence(variant: "judgedOnce", run: preemptWhileDataIsFetched),
        Sequence(variant: "failedFlushNotTold", run: loseTheAnswerOfAFailedFlush),
        Sequence(variant: "reservationStoreAnswersEarly", run: restartBeforeAReservationIsStored),
        Sequence(variant: "reservationBelievedBeforeStored", run: restartBeforeAReservationIsStored),
        Sequence(variant: "reservationsForgotten", run: restartBeforeAReservationIsStored),
    ]

    @Test(arguments: sequences)
    func isNoticed(sequence: Sequence) {
        let failures = (UInt64(1)...10).compactMap { sequence.run($0, sequence.spoil) }
        #expect(!failures.isEmpty)
        print("\(sequence.variant): \(failures.count) of 10: \((failures.first ?? "").prefix(120))")
    }

    @Test(arguments: sequences)
    func aSoundTargetPasses(sequence: Sequence) {
        for seed in UInt64(1)...10 { #expect(sequence.run(seed) { _ in } == nil, "seed \(seed)") }
    }

    // MARK: The sequences

    /// A host stands still with a write under way, whose data one member still fetches. The next host takes its registration there, and
    /// has nothing aborted: that member alone keeps the write out.
    private static func preemptWhileDataIsFetched(_ seed: UInt64, _ change: (inout Profile) -> Void) -> String? {
        let scenario = Scenario(seed: seed, fault: .preemptWithoutAbort) { profile in
            profile.inCapsuleDataSize = 0
            change(&profile)
        }
        let late = MemberIndex(Int(seed % 3))
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        let former = InitiatorProcess.node(1)
        scenario.world.network.fate = {
            $0.kind == .rdmaRead && $0.destinationNode == former && $0.sourceNode == late.number
                ? .delayed(nanoseconds: 80_000_000) : .delivered
        }
        scenario.submit(.write, 0, 8)
        scenario.wait(microseconds: 300)
        scenario.initiator.isPaused = true
        scenario.initiator.wasPaused = true
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.status.unreconciledRegions == 0 })
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        scenario.wait(microseconds: 150_000)
        scenario.world.network.fate = nil
        return scenario.ending()
    }

    /// A member fails a flush, and what that should have covered is on no media. The host dies before it hears of it, and the next one does
    /// not write again what it finds: all that it knows is what the target tells.
    private static func loseTheAnswerOfAFailedFlush(_ seed: UInt64, _ change: (inout Profile) -> Void) -> String? {
        let scenario = Scenario(seed: seed, fault: .sourceNotRewritten, change)
        let member = MemberIndex(Int(seed % 3))
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.targets[member].disk.behaviour.failedFlush = .forgotten
        scenario.world.links.cut(member, isToMember: false)
        scenario.submit(.flush)
        scenario.wait(microseconds: 1000)
        scenario.crashInitiator()
        scenario.targets[member].disk.behaviour.failedFlush = nil
        scenario.reconnect(member)
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.areAllInSync && scenario.status.dirtyRegions == 0 })
        // On the members too.
        scenario.wait(microseconds: 50_000)
        scenario.stop(member, power: true)
        scenario.start(member)
        scenario.world.checkCoverage("the member has lost its power")
        return scenario.ending()
    }

    /// A host is told that it is registered, and that the one before it is not any more; the members' daemons are started again.
    private static func restartBeforeAReservationIsStored(
        _ seed: UInt64, _ change: (inout Profile) -> Void
    ) -> String? {
        let scenario = Scenario(seed: seed, change)
        #expect(scenario.attach())
        scenario.initiator.isPaused = true
        scenario.initiator.wasPaused = true
        for target in scenario.targets { target.store.slowness = 30_000_000 }
        #expect(scenario.attach())
        for member in MemberSet.all { scenario.stop(member) }
        for member in MemberSet.all { scenario.start(member) }
        let forgetful = MemberSet.all.first { scenario.registrants($0) != [2] }
        if let forgetful {
            return "member \(forgetful) answered host 2, and knows the hosts \(scenario.registrants(forgetful))"
        }
        for target in scenario.targets { target.store.slowness = 0 }
        return scenario.ending()
    }
}
