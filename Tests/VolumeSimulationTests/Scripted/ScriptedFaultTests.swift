import BlockInterface
import Replication
import Simulation
import TargetInterface
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Bugs that chance seldom shows, each with a sequence of events in which it has to show: and in which a volume without it is
/// sound. They show with some of the seeds, which decide when a disk ends what, and what a loss of power keeps.
@Suite struct ScriptedFaultTests {
    /// A bug, and what is wrong at the end of its sequence, by seed.
    struct Sequence: Sendable, CustomTestStringConvertible {
        let fault: DeliberateFault
        let run: @Sendable (UInt64, DeliberateFault) -> String?
        var testDescription: String { "\(fault)" }
    }

    static let sequences = [
        Sequence(fault: .readOfInFlightBlock, run: readWhileAWriteIsUnderWay),
        Sequence(fault: .unreconciledRead, run: readAfterACrash),
        Sequence(fault: .recordSentIsBelieved, run: loseWhatTheRecordExcused),
        Sequence(fault: .oldAssociationNotAwaited, run: overtakeAnOldWrite),
        Sequence(fault: .lostCacheInSync, run: losePowerAfterAFlush),
        Sequence(fault: .unconfirmedMemberTaken, run: loseTheHostBeforeARecord),
        Sequence(fault: .recordInOneSlot, run: loseARecordThatOneElseHas),
        Sequence(fault: .recordInOneSlot, run: loseTheRecordOfTheLastInSync),
    ]

    @Test(arguments: sequences)
    func isNoticed(sequence: Sequence) {
        let failures = (UInt64(1)...10).compactMap { sequence.run($0, sequence.fault) }
        #expect(!failures.isEmpty)
        print("\(sequence.fault): \(failures.count) of 10: \((failures.first ?? "").prefix(120))")
    }

    @Test(arguments: sequences)
    func aSoundVolumePasses(sequence: Sequence) {
        for seed in UInt64(1)...10 { #expect(sequence.run(seed, .none) == nil, "seed \(seed)") }
    }

    @Test func everyFaultIsNoticedSomewhere() {
        var noticed = Set(Self.sequences.map(\.fault.rawValue))
        for variant in BrokenVariant.all {
            if case .engine(let fault) = variant.defect { noticed.insert(fault.rawValue) }
        }
        // FailureMatrixTests, FailedDurabilityTests, CacheFateTests, HandoverTests.
        let elsewhere = [
            DeliberateFault.sourceNotRewritten, .failedDurabilityTrusted, .unwrittenSourceTrusted, .everyWriterDetached,
            .flushBeforeRewritten, .untoldCacheLost, .readableCacheLost,
        ]
        noticed.formUnion(elsewhere.map(\.rawValue))
        #expect(DeliberateFault.allCases.filter { $0 != .none && !noticed.contains($0.rawValue) } == [])
    }

    // MARK: The sequences

    /// A write is on two members and not on the third, and is read again and again.
    private static func readWhileAWriteIsUnderWay(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        #expect(scenario.attach())
        for _ in 0..<4 { #expect(scenario.does(.write, 0, 4) == .success) }
        let late = MemberIndex(Int(seed % 3))
        scenario.slow(late, milliseconds: 8)
        scenario.submit(.write, 0, 4)
        scenario.wait(microseconds: 300)
        // Only the write that is at its disk takes its time.
        scenario.slow(late, milliseconds: 0)
        // So many at a time that the member which is busy with the write gets one too.
        for _ in 0..<20 {
            for _ in 0..<4 { scenario.submit(.read, 0, 4) }
            scenario.wait(microseconds: 200)
        }
        _ = scenario.isDone()
        return scenario.ending()
    }

    /// The host dies with a write under way, and the next one reads before all is copied.
    private static func readAfterACrash(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        #expect(scenario.attach())
        // All regions are dirty, and the one that matters is copied last.
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        // The write is on its way to one member, and never gets there.
        let late = MemberIndex(Int(seed % 3))
        scenario.world.links.delay[late] = 30_000_000
        scenario.submit(.write, 88, 8)
        scenario.wait(microseconds: 300)
        scenario.crashInitiator()
        scenario.world.links.delay[late] = 0
        #expect(scenario.attach())
        // A world ends as soon as an oracle speaks.
        for _ in 0..<8 where scenario.world.failure == nil { #expect(scenario.does(.read, 88, 8) != .aborted) }
        return scenario.ending()
    }

    /// A member misses a write. The record that says so reaches nobody, and the host dies; the next one meets that member and one
    /// of the two others.
    private static func loseWhatTheRecordExcused(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        for member in [1, 2] as MemberSet { scenario.slowRecords(member, milliseconds: 1000) }
        scenario.cut(0)
        scenario.submit(.write, 0, 8, forceUnitAccess: true)
        _ = scenario.isDone(within: 300)
        for member in [1, 2] as MemberSet { scenario.stop(member, power: true) }
        scenario.crashInitiator()
        for member in [1, 2] as MemberSet {
            scenario.targets[member].disk.behaviour.slowness = 0
            scenario.start(member)
        }
        scenario.reconnect(0)
        scenario.cut(2)
        scenario.startInitiator()
        _ = scenario.reaches(within: 1000) { scenario.initiator.isServing }
        scenario.reconnect(2)
        #expect(scenario.reaches { scenario.initiator.isServing })
        #expect(scenario.does(.read, 0, 8) == .success)
        return scenario.ending()
    }

    /// A member holds a write back, is lost for it and taken in again; a later write is done before the first one is. Its
    /// target makes no association wait for the commands of another one.
    private static func overtakeAnOldWrite(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault) { profile in
            profile.makes[2].quiesces = false
            profile.targetDefect = .formerCommandsNotAwaited
            profile.keepAliveMilliseconds = 100
        }
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.slow(2, milliseconds: 60)
        scenario.submit(.write, 0, 8)
        scenario.wait(microseconds: 300)
        scenario.slow(2, milliseconds: 0)
        scenario.initiator.breakConnection(2)
        #expect(scenario.isDone())
        _ = scenario.reaches(within: 50) { scenario.isInSync(2) }
        #expect(scenario.does(.write, 0, 8) == .success)
        return scenario.ending()
    }

    /// A member loses its cache, and the host dies before it has recorded that. The next one flushes, and all power goes.
    static func losePowerAfterAFlush(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        let first = MemberIndex(Int(seed % 3))
        #expect(scenario.attach())
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.crashInitiator()
        scenario.stop(first, power: true)
        scenario.start(first)
        #expect(scenario.attach())
        #expect(scenario.does(.flush) == .success)
        scenario.crashInitiator()
        for member in MemberSet.all { scenario.stop(member, power: true) }
        for member in MemberSet.all { scenario.start(member) }
        #expect(scenario.attach())
        return scenario.ending()
    }

    /// Member 2 fails a write, which members 0 and 1 hold; member 1, that lacks nothing any more, has not confirmed the record
    /// that says so when the host dies. If the next record names it all the same, member 2 has that one, member 1 an older
    /// one, and without member 0 the older one counts: in it member 2 is in sync.
    private static func loseTheHostBeforeARecord(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        #expect(scenario.attach())
        scenario.fallBehind(1)
        // Records reach it no more.
        scenario.slowRecords(1, milliseconds: 80)
        scenario.failRecords(1)
        scenario.targets[2].disk.behaviour.failingWrites = 0..<8
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.initiator.engine.resumeResync()
        let named: MemberSet = [0, 1]
        _ = scenario.reaches(within: 50) { scenario.world.record(2)?.inSync == named }
        scenario.crashInitiator()
        scenario.wait(microseconds: 100_000)
        scenario.slow(1, milliseconds: 0)
        scenario.targets[1].disk.behaviour.failingWrites = 0..<0
        scenario.targets[2].disk.behaviour.failingWrites = 0..<0
        scenario.cut(0)
        scenario.startInitiator()
        _ = scenario.reaches(within: 1000) { scenario.initiator.isServing }
        scenario.reconnect(0)
        #expect(scenario.reaches { scenario.initiator.isServing })
        _ = scenario.does(.read, 0, 8)
        return scenario.ending()
    }

    /// A member misses a write, and the record that says so is on the two others. A slot of one of them rots while the other is away;
    /// in the record before it the member that missed the write is in sync.
    private static func loseARecordThatOneElseHas(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        let behind = MemberIndex(Int(seed % 3))
        let rotten = MemberIndex((behind.number + 1) % 3)
        let away = MemberIndex((behind.number + 2) % 3)
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.cut(behind)
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.crashInitiator()
        scenario.slot(rotten, scenario.newestSlot(of: rotten))[200] ^= 1
        scenario.reconnect(behind)
        scenario.cut(away)
        scenario.startInitiator()
        #expect(scenario.reaches { scenario.initiator.isServing })
        #expect(scenario.notices.contains { if case .recordDamaged(rotten, _) = $0 { true } else { false } })
        _ = scenario.does(.read, 0, 8)
        scenario.reconnect(away)
        return scenario.ending()
    }

    /// One member alone has all writes. A slot of its record rots, and one that lacks a write was in sync by the record before.
    private static func loseTheRecordOfTheLastInSync(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        let last = MemberIndex(Int(seed % 3))
        let stale = MemberIndex((last.number + 2) % 3)
        leaveOneInSync(scenario, last: last, behind: MemberIndex((last.number + 1) % 3), stale: stale)
        scenario.slot(last, scenario.newestSlot(of: last))[200] ^= 1
        scenario.reconnect(stale)
        scenario.startInitiator()
        #expect(scenario.reaches { scenario.initiator.isServing })
        scenario.initiator.engine.pauseResync()
        scenario.cut(last)
        scenario.submit(.read, 0, 8)
        _ = scenario.isDone(within: 200)
        scenario.reconnect(last)
        #expect(scenario.isDone())
        return scenario.ending()
    }

    /// Three members of which `last` alone has all writes, flushed, with the record that says so there and on `behind`; nobody is
    /// attached, and `stale` is cut off.
    private static func leaveOneInSync(
        _ scenario: Scenario, last: MemberIndex, behind: MemberIndex, stale: MemberIndex
    ) {
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.fallBehind(behind)
        scenario.cut(stale)
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        let named: MemberSet = [last]
        #expect(scenario.world.record(last)?.inSync == named)
        #expect(scenario.world.record(behind)?.inSync == named)
        scenario.crashInitiator()
    }

    /// As above, and the last in sync has lost what it had cached: what it flushed is there alone, and is served, whichever of its
    /// slots is damaged.
    @Test(arguments: UInt64(1)...10, [0, 1])
    func aRecordIsKnownByEitherSlot(seed: UInt64, slot: Int) {
        let scenario = Scenario(seed: seed)
        let last = MemberIndex(Int(seed % 3))
        Self.leaveOneInSync(
            scenario, last: last, behind: MemberIndex((last.number + 1) % 3), stale: MemberIndex((last.number + 2) % 3))
        scenario.stop(last, power: true)
        scenario.slot(last, slot)[200] ^= 1
        scenario.start(last)
        for member in MemberSet.all { scenario.reconnect(member) }
        #expect(scenario.attach())
        #expect(scenario.notices.contains(.recordDamaged(last, slot: slot)))
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }
}
