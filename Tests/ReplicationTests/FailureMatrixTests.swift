import BlockInterface
import Replication
import Testing

/// A run in which only what the test says goes wrong.
final class Scenario {
    let simulation: ModelSimulation
    init(seed: UInt64 = 1, fault: DeliberateFault = .none) {
        var profile = ModelProfile()
        profile.faults = []
        profile.operations = 0
        simulation = ModelSimulation(seed: seed, profile: profile, fault: fault)
    }

    deinit { simulation.queue.removeAll() }

    var initiator: ModelInitiator { simulation.initiators.last! }
    var targets: [ModelTarget] { simulation.targets }
    var status: VolumeStatusReport { initiator.engine.status }

    /// Lets time pass until the condition holds; false after `milliseconds`.
    func reaches(within milliseconds: UInt64 = 3000, _ condition: () -> Bool) -> Bool {
        let limit = simulation.queue.now + milliseconds * 1_000_000
        while simulation.failure == nil, simulation.queue.now < limit {
            if condition() { return true }
            guard simulation.queue.step() else { break }
        }
        return condition()
    }

    func attach() -> Bool {
        simulation.startInitiator()
        return reaches { initiator.isServing }
    }

    func submit(_ kind: BlockOperation, _ start: Int = 0, _ count: Int = 4, forceUnitAccess: Bool = false) {
        initiator.workload.submit(kind, start: start, count: count, forceUnitAccess: forceUnitAccess)
        initiator.process()
    }

    func isDone(within milliseconds: UInt64 = 3000) -> Bool {
        reaches(within: milliseconds) { initiator.workload.running.isEmpty }
    }

    /// Does one I/O to its end.
    func does(_ kind: BlockOperation, _ start: Int = 0, _ count: Int = 4) -> BlockStatus? {
        submit(kind, start, count)
        return isDone() ? initiator.workload.lastStatus : nil
    }

    func stop(_ member: MemberIndex, power: Bool = false) {
        targets[member].crash(power: power, now: simulation.queue.now, &simulation.random)
        simulation.oracle.cachesLost(targets.map(\.lastStop))
        simulation.targetDied(member)
    }

    func isInSync(_ member: MemberIndex) -> Bool {
        status.members[member].isInSync && status.members[member].phase == .active
    }

    func crashInitiator() {
        initiator.isAlive = false
        initiator.workload.hostDied()
        simulation.checkCoverage("initiator crashed")
    }

    /// Heals everything and returns what is wrong then.
    func ending() -> String? {
        if simulation.failure == nil { simulation.heal() }
        return simulation.failure
    }
}

/// The rows of the failure matrix of the replication research, in its order.
@Suite struct FailureMatrixTests {
    @Test func oneTargetReturnsAMediaErrorOnWrite() throws {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.targets[1].failsWritesIn = 0..<8
        #expect(scenario.does(.write) == .success)
        #expect(!scenario.isInSync(1))
        #expect(scenario.status.members[1].phase == .active, "it stays connected, and votes")
        for member in [0, 2] as MemberSet {
            #expect(scenario.simulation.superblock(scenario.targets[member])?.inSync == [0, 2])
            #expect(
                scenario.simulation.hasBit(member, 1, 0), "the write that member 1 lacks is noted on member \(member)")
        }
        scenario.targets[1].failsWritesIn = 0..<0
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.ending() == nil)
    }

    @Test func oneTargetTimesOutOrItsQueuePairBreaks() {
        for breaks in [true, false] {
            let scenario = Scenario()
            #expect(scenario.attach())
            if breaks { scenario.initiator.breakConnection(2, after: 0) } else { scenario.simulation.cut[2] = true }
            #expect(scenario.does(.write) == .success)
            #expect(scenario.simulation.superblock(scenario.targets[0])?.inSync == [0, 1])
            scenario.simulation.cut[2] = false
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
        scenario.targets[1].start()
        #expect(scenario.isDone())
        #expect(scenario.initiator.workload.lastStatus == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func recordWriteFailsOnOneSurvivor() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let slots = Int(scenario.simulation.format.layouts[1].slotBlock(0))
        scenario.targets[1].failsWritesIn = slots..<slots + 16
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.reaches { scenario.status.phase == .suspended })
        #expect(!scenario.isDone(within: 500), "one record is not two")
        #expect(scenario.initiator.notices.contains(.memberLost(1, .metadataFailed)))
        #expect(scenario.ending() == nil)
    }

    @Test func reservationConflictFromAnyTarget() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let old = scenario.initiator
        old.isPaused = true
        #expect(scenario.attach())
        // Its notification is lost; it finds out by writing.
        for member in MemberSet.all { scenario.simulation.targets[member].preemptedHosts = [] }
        old.isPaused = false
        old.workload.submit(.write, start: 0, count: 4)
        old.process()
        #expect(scenario.reaches { old.engine.phase == .deposed })
        #expect(scenario.reaches { old.workload.running.isEmpty })
        #expect(old.workload.lastStatus == .fenced)
        #expect(!old.notices.contains { if case .memberDemoted = $0 { true } else { false } })
        #expect(scenario.initiator.engine.membersInSync == .all, "no member was blamed")
        #expect(scenario.ending() == nil)
    }

    @Test func initiatorDiesBetweenSends() {
        for delay in stride(from: UInt64(1), to: 900, by: 50) {
            let scenario = Scenario(seed: delay)
            #expect(scenario.attach())
            #expect(scenario.does(.write, 0, 8) == .success)
            scenario.submit(.write, 2, 4)
            let instant = scenario.simulation.queue.now + delay * 1000
            _ = scenario.reaches { scenario.simulation.queue.now >= instant }
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
            scenario.initiator.breakConnection(MemberIndex(Int(delay) % 3), after: 0)
            scenario.submit(.write, 8, 4)
            let instant = scenario.simulation.queue.now + delay * 1000
            _ = scenario.reaches { scenario.simulation.queue.now >= instant }
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
        scenario.targets[1].start()
        // It missed nothing, and is dirty all the same where it had not flushed.
        #expect(scenario.reaches { scenario.initiator.notices.contains(.memberReturning(1)) })
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.initiator.engine.statistics.regionsCopied >= 6)
        #expect(scenario.ending() == nil)
    }

    @Test(arguments: MemberSet.all.map { $0 })
    func flushedDataOutlivesAPowerLossOfAllWhereOneMemberHadLostItsCacheBefore(first: MemberIndex) {
        for fault in [DeliberateFault.none, .lostCacheInSync] where fault == .none || first == 0 {
            let scenario = Scenario(fault: fault)
            #expect(scenario.attach())
            for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
            // One loses its cache, and the initiator dies before it has recorded that.
            scenario.crashInitiator()
            scenario.stop(first, power: true)
            scenario.targets[first].start()
            #expect(scenario.attach())
            #expect(scenario.does(.flush) == .success)
            scenario.crashInitiator()
            for member in MemberSet.all { scenario.stop(member, power: true) }
            for member in MemberSet.all { scenario.targets[member].start() }
            #expect(scenario.attach())
            #expect((scenario.ending() == nil) == (fault == .none), "\(fault)")
        }
    }

    @Test func targetRestartsQuicklyAtTheSameAddress() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.submit(.write, 2, 4)
        scenario.stop(0)
        scenario.targets[0].start()
        #expect(scenario.isDone())
        #expect(
            scenario.reaches { scenario.initiator.notices.contains(.memberReturning(0)) }, "not resumed: taken in anew")
        #expect(scenario.reaches { scenario.isInSync(0) })
        #expect(scenario.ending() == nil)
    }

    @Test func returningTargetHasAnOlderEpoch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let old = scenario.initiator
        scenario.simulation.cut[2] = true
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 8, 8) == .success)
        #expect(
            scenario.targets[2].registrants.contains { $0.host == old.host }, "the old initiator may still write there")
        scenario.simulation.cut[2] = false
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.targets[2].registrants.map(\.host) == [scenario.initiator.host], "it was fenced first")
        #expect(scenario.ending() == nil)
    }

    @Test func returningTargetHasANewerEpoch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let old = scenario.initiator
        // The old one sees member 0 alone, the new one the other two.
        old.isPaused = true
        scenario.simulation.cut[0] = true
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.simulation.cut[0] = false
        old.resume()
        #expect(scenario.reaches { old.engine.phase == .deposed })
        #expect(scenario.ending() == nil)
    }

    @Test func resyncSourceFailsInTheMiddle() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.simulation.cut[2] = true
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.simulation.cut[2] = false
        #expect(scenario.reaches { scenario.initiator.engine.statistics.regionsCopied >= 2 })
        scenario.stop(0)
        #expect(scenario.reaches { scenario.isInSync(2) }, "the other member in sync takes over")
        scenario.targets[0].start()
        #expect(scenario.ending() == nil)
    }

    @Test func readErrorOnOneReplica() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 0, 8) == .success)
        for member in [0, 1] as MemberSet { scenario.targets[member].unreadable = [3] }
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.does(.read, 0, 8) == .success)
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
            scenario.targets[member].loseWriteback()
            // An earlier initiator heard of it.
            scenario.targets[member].owesFailure = false
            #expect(!scenario.targets[member].isDurable(0..<48))
            scenario.crashInitiator()
            #expect(scenario.attach())
            #expect(scenario.reaches { scenario.status.dirtyRegions == 0 })
            #expect(scenario.targets[member].isDurable(0..<48) == (fault == .none), "\(fault)")
        }
    }

    /// A write with FUA tells, once, that what the member had cached before is lost.
    @Test func durableWriteTellsOfALostCache() {
        for fault in [DeliberateFault.none, .failedDurabilityTrusted] {
            let scenario = Scenario(fault: fault)
            #expect(scenario.attach())
            for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
            scenario.targets[1].loseWriteback()
            // Of a region that is marked: no write of metadata is the first to fail.
            scenario.submit(.write, 40, 8, forceUnitAccess: true)
            #expect(scenario.isDone() && scenario.initiator.workload.lastStatus == .success)
            #expect(scenario.reaches { scenario.isInSync(1) && scenario.status.dirtyRegions == 0 })
            #expect(scenario.targets[1].isDurable(0..<48) == (fault == .none), "\(fault)")
            if fault == .none { #expect(scenario.ending() == nil) }
        }
    }

    @Test func compareMismatch() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write, 16, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        // Rot on one member, below everything that the volume knows of.
        scenario.targets[1].view.storeBytes(of: 0xff, toByteOffset: 18 * 512 + 100, as: UInt8.self)
        scenario.simulation.expectsMismatch = true
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { scenario.initiator.notices.contains(.scrubFinished(mismatches: 1)) })
        #expect(scenario.initiator.notices.contains(.mismatch(region: 2)))
        #expect(scenario.does(.read, 16, 8) == .unrecoveredReadError, "nobody votes: the region is not served")
        #expect(scenario.does(.read, 8, 8) == .success)
        scenario.initiator.deliver { scenario.initiator.engine.repairRegion(2, from: 0, now: scenario.initiator.now) }
        #expect(scenario.does(.read, 16, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func detachClean() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<4 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let initiator = scenario.initiator
        initiator.deliver { _ = initiator.engine.detach(now: initiator.now) }
        scenario.simulation.isFinished = true
        #expect(scenario.reaches { initiator.engine.phase == .detached })
        for member in MemberSet.all {
            let superblock = scenario.simulation.superblock(scenario.targets[member])
            #expect(superblock?.isClean == true)
            for region in 0..<4 { #expect(!scenario.simulation.hasBit(member, BitmapPage.inFlightKind, region)) }
            #expect(scenario.targets[member].holder == nil)
            #expect(!scenario.targets[member].isDirty[0..<100].contains(true))
        }
        scenario.simulation.isFinished = false
        #expect(scenario.attach())
        #expect(scenario.status.unreconciledRegions == 0, "nothing is to be copied")
        #expect(scenario.ending() == nil)
    }
}
