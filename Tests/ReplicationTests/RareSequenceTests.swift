import Base
import BlockInterface
import Glibc
import Replication
import Testing

/// Sequences of events that chance seldom makes, each of which once led astray.
@Suite struct RareSequenceTests {
    /// Makes a member fall behind by some writes; it comes back, and is not brought up to date.
    private func fallBehind(_ member: Int, _ scenario: Scenario) {
        scenario.initiator.deliver { scenario.initiator.engine.pauseResync() }
        scenario.simulation.cut[member] = true
        #expect(scenario.does(.write, 40 + 8 * member, 8) == .success)
        scenario.simulation.cut[member] = false
        #expect(scenario.reaches { scenario.status.members[member].phase == .active })
    }

    /// Changes a block of a member below all that the volume knows of.
    private func rot(_ block: Int, _ target: ModelTarget) {
        for memory in [target.view, target.durable] { memset(memory + block * 512, 0x99, 512) }
    }

    /// Member 2 fails a write, which members 0 and 1 hold; member 1, that lacks nothing any more, has not confirmed the record
    /// that says so when the host dies. If the next record names it all the same, member 2 has that one, member 1 an older
    /// one, and without member 0 the older one counts: in it member 2 is in sync.
    private func loseTheHostBeforeARecord(_ seed: UInt64, _ fault: DeliberateFault) -> String? {
        let scenario = Scenario(seed: seed, fault: fault)
        #expect(scenario.attach())
        fallBehind(1, scenario)
        scenario.targets[1].recordDelay = 80_000_000
        scenario.targets[2].failsWritesIn = 0..<8
        #expect(scenario.does(.write, 0, 8) == .success)
        scenario.initiator.deliver { scenario.initiator.engine.resumeResync() }
        let named: MemberSet = [0, 1]
        _ = scenario.reaches(within: 50) { scenario.simulation.superblock(scenario.targets[2])?.inSync == named }
        scenario.crashInitiator()
        scenario.targets[1].recordDelay = 0
        scenario.targets[2].failsWritesIn = 0..<0
        scenario.simulation.cut[0] = true
        scenario.simulation.startInitiator()
        _ = scenario.reaches(within: 1000) { scenario.initiator.isServing }
        scenario.simulation.cut[0] = false
        #expect(scenario.reaches { scenario.initiator.isServing })
        _ = scenario.does(.read, 0, 8)
        return scenario.ending()
    }

    @Test func aMemberIsTakenIntoSyncWithTheRecordThatItHolds() {
        // Writes on their way to member 1 when the host died may land or not.
        for seed in UInt64(1)...10 { #expect(loseTheHostBeforeARecord(seed, .none) == nil) }
        let failures = (UInt64(1)...10).compactMap { loseTheHostBeforeARecord($0, .unconfirmedMemberTaken) }
        #expect(!failures.isEmpty, "the fault is noticed")
    }

    /// The newest slot of a member's record cannot be read any more. The one before it names a member in sync that was lost
    /// since: what is dirty is not copied from that one.
    @Test func theNewestSlotOfARecordRots() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.simulation.cut[0] = true
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.does(.flush) == .success)
        scenario.crashInitiator()
        let (target, layout) = (scenario.targets[1], scenario.simulation.layouts[1])
        let newest = scenario.simulation.superblock(target)?.sequence ?? 0
        rot(Int(layout.slotBlock(Int(newest & 1))), target)
        #expect(scenario.simulation.superblock(target)?.inSync == .all)
        scenario.simulation.cut[0] = false
        #expect(scenario.attach())
        #expect(scenario.does(.read, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The namespace that takes a member's place has been another volume's, whose record has a greater sequence number.
    @Test func aReplacementHasARecordOfAnotherVolume() throws {
        let scenario = Scenario()
        #expect(scenario.attach())
        let target = scenario.targets[1]
        scenario.stop(1)
        var foreign = try #require(scenario.simulation.superblock(target))
        foreign.volume = UUIDBytes(high: 66, low: 6)
        foreign.sequence = 40
        target.erase()
        let page = TestPage()
        foreign.encode(into: page.bytes)
        let slot = Int(scenario.simulation.layouts[1].slotBlock(0)) * 512
        for memory in [target.view, target.durable] {
            (memory + slot).copyMemory(from: page.bytes.baseAddress!, byteCount: 4096)
        }
        target.start()
        let initiator = scenario.initiator
        initiator.deliver { initiator.engine.pauseResync() }
        let isAccepted = initiator.engine.replaceMember(1, uuid: UUIDBytes(high: 7, low: 9), now: initiator.now)
        #expect(isAccepted)
        initiator.process()
        #expect(scenario.reaches { scenario.status.members[1].phase == .active })
        initiator.breakConnection(1, after: 0)
        #expect(scenario.reaches { scenario.status.members[1].phase != .active })
        #expect(scenario.reaches { scenario.status.members[1].phase == .active }, "it is known again")
        initiator.deliver { initiator.engine.resumeResync() }
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
            scenario.targets[2].failsWritesIn = 0..<8
        }
        scenario.targets[1].failsWritesIn = 0..<8
        #expect(scenario.does(.write, 0, 8) == .writeFault)
        scenario.targets[1].failsWritesIn = 0..<0
        scenario.targets[2].failsWritesIn = 0..<0
        if isAwayFirst { scenario.targets[2].start() }
        #expect(scenario.does(.write, 0, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    /// The only member in sync is busy when one that is behind fails the write: that one's failure is not the host's.
    @Test func aMemberThatIsBehindFailsAWriteFirst() {
        let scenario = Scenario()
        #expect(scenario.attach())
        fallBehind(1, scenario)
        fallBehind(2, scenario)
        scenario.targets[0].isBusy = true
        scenario.targets[1].failsWritesIn = 0..<8
        for _ in 0..<20 { #expect(scenario.does(.write, 0, 8) == .success) }
        scenario.targets[0].isBusy = false
        scenario.targets[1].failsWritesIn = 0..<0
        scenario.initiator.deliver { scenario.initiator.engine.resumeResync() }
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
        rot(9, scenario.targets[0])
        scenario.simulation.expectsMismatch = true
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 1 })
        return scenario
    }

    private func repair(_ scenario: Scenario) {
        let initiator = scenario.initiator
        initiator.deliver { initiator.engine.repairRegion(1, from: 1, now: initiator.now) }
    }

    /// A member is lost before the region is copied.
    private func repair(_ scenario: Scenario, losing member: MemberIndex) {
        for target in scenario.targets { target.stallUntil = scenario.simulation.queue.now + 5_000_000 }
        repair(scenario)
        scenario.initiator.breakConnection(member, after: 0)
        #expect(scenario.reaches { scenario.status.members[member].phase != .active })
    }

    /// A next attach does not serve what was found to differ either, from whichever member: two reads could differ.
    @Test(arguments: [false, true])
    func aNextAttachKnowsWhatDiffers(isCrash: Bool) {
        let scenario = differing()
        #expect(scenario.reaches { scenario.status.isRecordValid })
        if isCrash { scenario.crashInitiator() } else { detach(scenario) }
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.status.isRecordValid && scenario.status.unreconciledRegions == 0 })
        #expect(scenario.status.quarantinedRegions == 1)
        for _ in 0..<9 { #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError) }
        // It is found again, and can be repaired.
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { scenario.initiator.notices.contains(.scrubFinished(mismatches: 1)) })
        repair(scenario)
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(
            scenario.reaches {
                scenario.targets.allSatisfy { scenario.simulation.superblock($0)?.quarantine == [] }
            })
        detach(scenario)
        #expect(scenario.attach())
        #expect(scenario.status.quarantinedRegions == 0)
        #expect(scenario.ending() == nil)
    }

    /// The initiator dies while a region is being repaired: some members have been copied to, and others not.
    @Test func aRepairIsBrokenOff() {
        let scenario = differing()
        #expect(scenario.reaches { scenario.status.isRecordValid })
        for target in scenario.targets { target.stallUntil = scenario.simulation.queue.now + 5_000_000 }
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
        #expect(scenario.reaches { scenario.initiator.notices.contains(.scrubFinished(mismatches: 1)) })
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.ending() == nil)
    }

    private func detach(_ scenario: Scenario) {
        let initiator = scenario.initiator
        scenario.simulation.isFinished = true
        initiator.deliver { _ = initiator.engine.detach(now: initiator.now) }
        #expect(scenario.reaches { initiator.engine.phase == .detached && !initiator.isAlive })
        scenario.simulation.isFinished = false
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
    @Test(arguments: 0..<60) func theInitiatorDiesWhenTheMemberThatIsRepairedIsLost(steps: Int) {
        let scenario = differing()
        scenario.stop(2)
        #expect(scenario.reaches { !scenario.status.members[2].isInSync && scenario.status.isRecordValid })
        scenario.targets[0].stallUntil = scenario.simulation.queue.now + 5_000_000
        repair(scenario)
        scenario.initiator.breakConnection(0, after: 0)
        #expect(scenario.reaches { scenario.status.members[0].phase != .active })
        var left = steps
        #expect(
            scenario.reaches {
                left -= 1
                return left < 0
            })
        scenario.crashInitiator()
        scenario.targets[2].start()
        #expect(scenario.attach())
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { MemberSet.all.allSatisfy { scenario.isInSync($0) } })
        // Either it is served, from members that are equal, or it is not.
        let statuses = (0..<9).map { _ in scenario.does(.read, 8, 8) }
        #expect(Set(statuses).count == 1)
        if statuses[0] != .success { repair(scenario) }
        #expect(scenario.ending() == nil)
    }

    /// Two members in sync are equal in a region that a scrub found to differ on a third, which is away now: it is served.
    @Test func theMemberThatDiffersIsAway() {
        let scenario = differing()
        #expect(scenario.reaches { scenario.initiator.notices.contains(.scrubFinished(mismatches: 1)) })
        scenario.stop(0)
        #expect(scenario.reaches { !scenario.status.members[0].isInSync && scenario.status.isRecordValid })
        #expect(scenario.does(.read, 8, 8) == .unrecoveredReadError)
        scenario.initiator.deliver { scenario.initiator.engine.startScrub() }
        #expect(scenario.reaches { scenario.status.quarantinedRegions == 0 })
        #expect(scenario.does(.read, 8, 8) == .success)
        #expect(scenario.reaches { scenario.simulation.superblock(scenario.targets[1])?.quarantine == [] })
        scenario.crashInitiator()
        scenario.targets[0].start()
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
