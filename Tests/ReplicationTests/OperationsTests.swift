import Base
import BlockInterface
import Replication
import Testing

/// An operator's actions on a volume that is served.
@Suite struct OperationsTests {
    @Test(arguments: [false, true])
    func replaceMember(isInterrupted: Bool) {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let initiator = scenario.initiator
        let uuid = UUIDBytes(high: 7, low: 9)
        // The new namespace is empty.
        scenario.targets[1].crash(power: false, now: scenario.simulation.queue.now, &scenario.simulation.random)
        scenario.simulation.targetDied(1)
        scenario.targets[1].erase()
        scenario.targets[1].start()
        #expect(replace(initiator, 1, uuid))
        #expect(scenario.does(.write, 40, 8) == .success, "the volume is served meanwhile")
        if isInterrupted {
            #expect(scenario.reaches { scenario.simulation.superblock(scenario.targets[1]) != nil })
            initiator.breakConnection(1, after: 0)
        }
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(initiator.engine.statistics.regionsCopied >= 13)
        for member in MemberSet.all {
            #expect(scenario.simulation.superblock(scenario.targets[member])?.members[1].uuid == uuid)
        }
        #expect(scenario.ending() == nil)
    }

    @Test func aMemberThatWasReplacedIsNotTakenForTheOneInItsPlace() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let target = scenario.targets[0]
        scenario.stop(0)
        let old = [UInt8](UnsafeRawBufferPointer(start: target.view, count: target.blocks * 512))
        target.erase()
        target.start()
        #expect(replace(scenario.initiator, 0, UUIDBytes(high: 7, low: 9)))
        #expect(scenario.reaches { scenario.isInSync(0) })
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        for wasServing in [true, false] {
            // The old one is there again, at the address of the new one.
            if !wasServing { scenario.crashInitiator() }
            scenario.stop(0)
            let new = [UInt8](UnsafeRawBufferPointer(start: target.view, count: target.blocks * 512))
            for memory in [target.view, target.durable] {
                old.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            }
            target.start()
            if !wasServing { #expect(scenario.attach()) }
            #expect(scenario.reaches { scenario.initiator.notices.contains(.memberRefused(0, .replaced(member: 0))) })
            for region in 0..<6 { #expect(scenario.does(.read, region * 8, 8) == .success) }
            scenario.stop(0)
            for memory in [target.view, target.durable] {
                new.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            }
            target.start()
            scenario.crashInitiator()
            #expect(scenario.attach())
            #expect(scenario.reaches { scenario.isInSync(0) })
        }
        #expect(scenario.ending() == nil)
    }

    private func replace(_ initiator: ModelInitiator, _ member: MemberIndex, _ uuid: UUIDBytes) -> Bool {
        let isAccepted = initiator.engine.replaceMember(member, uuid: uuid, now: initiator.now)
        initiator.process()
        return isAccepted
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
        for member in [0, 1] as MemberSet { scenario.targets[member].start() }
        #expect(scenario.ending() == nil)
    }

    /// Grows under load, undisturbed, or with a member or the initiator lost in the middle.
    @Test(arguments: [-1, 0, 100, 200, 300, 400, 600, 800, 1000, 1500], ["member", "initiator"])
    func grow(disturbedAfter microseconds: Int, who: String) {
        let scenario = Scenario(seed: UInt64(microseconds + 2))
        let simulation = scenario.simulation
        #expect(scenario.attach())
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        let initiator = scenario.initiator
        let isTooEarly = initiator.engine.grow(dataBlocks: 300, now: initiator.now)
        #expect(!isTooEarly, "the namespaces are too small")
        for target in scenario.targets {
            target.resize(420)
            initiator.deliver {
                initiator.engine.handle(.resized(target.index, blocks: 420), now: initiator.now)
            }
        }
        scenario.submit(.write, 3, 7)
        simulation.formattedBlocks = [200, 200, 200]
        let accepted = initiator.engine.grow(dataBlocks: 300, now: initiator.now)
        #expect(accepted)
        initiator.process()
        if microseconds >= 0 {
            let instant = simulation.queue.now + UInt64(microseconds) * 1000
            _ = scenario.reaches { simulation.queue.now >= instant }
            if who == "member" {
                initiator.breakConnection(MemberIndex(microseconds % 3), after: 0)
            } else {
                initiator.isAlive = false
                initiator.workload.hostDied()
                #expect(scenario.attach())
            }
        }
        #expect(scenario.reaches { scenario.initiator.isServing && scenario.initiator.workload.running.isEmpty })
        #expect(
            scenario.reaches {
                MemberSet.all.allSatisfy { scenario.isInSync($0) } && scenario.status.unreconciledRegions == 0
            })
        let blocks = scenario.initiator.engine.geometry.dataBlocks
        if microseconds < 0 { #expect(blocks == 300) }
        #expect(blocks == 300 || blocks == 100)
        if blocks == 300 {
            let layouts = MemberSet.all.compactMap {
                try? MemberLayout(member: $0, memberBlocks: 420, geometry: scenario.initiator.engine.geometry)
            }
            simulation.layouts = layouts
            simulation.comparedBlocks = 300
        } else if let superblock = MemberSet.all.compactMap({ simulation.superblock(scenario.targets[$0]) }).first {
            simulation.layouts = MemberSet.all.compactMap {
                try? MemberLayout(
                    member: $0, memberBlocks: superblock.members[$0].blocks,
                    geometry: scenario.initiator.engine.geometry)
            }
        }
        #expect(scenario.ending() == nil)
    }

    @Test func resyncPausesAndGoesOn() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        initiator.deliver { initiator.engine.pauseResync() }
        scenario.simulation.cut[2] = true
        for region in 0..<6 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.simulation.cut[2] = false
        #expect(scenario.reaches { scenario.status.members[2].phase == .active })
        #expect(!scenario.reaches(within: 300) { scenario.isInSync(2) })
        #expect(scenario.status.members[2].behindRegions >= 6)
        initiator.deliver { initiator.engine.resumeResync() }
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.ending() == nil)
    }

    @Test func resyncKeepsToItsRate() {
        let scenario = Scenario()
        #expect(scenario.attach())
        let initiator = scenario.initiator
        // A region of 4 KiB in 20 ms.
        initiator.deliver { initiator.engine.setResyncRate(50 * 4096) }
        scenario.simulation.cut[2] = true
        for region in 0..<12 { #expect(scenario.does(.write, region * 8, 8) == .success) }
        scenario.simulation.cut[2] = false
        #expect(scenario.reaches { scenario.status.members[2].phase == .active })
        let began = scenario.simulation.queue.now
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.simulation.queue.now - began >= 11 * 20_000_000)
        #expect(scenario.ending() == nil)
    }

    @Test func slowMemberIsDemotedAndComesBack() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.targets[1].slowness = 5000
        let before = scenario.simulation.queue.now
        #expect(scenario.does(.write) == .success)
        #expect(scenario.simulation.queue.now - before < 100_000_000, "one wait, until it is demoted")
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        let after = scenario.simulation.queue.now
        #expect(scenario.does(.write) == .success)
        #expect(scenario.simulation.queue.now - after < 2_000_000, "and none after that")
        scenario.targets[1].slowness = 1
        #expect(scenario.reaches { scenario.isInSync(1) })
        #expect(scenario.ending() == nil)
    }

    /// A member that was slow stays out for a while, but not while the volume waits for members.
    @Test func aMemberThatWasSlowIsTakenBackWhenItIsNeeded() {
        let scenario = Scenario()
        scenario.simulation.slowCooldown = 2_500_000_000
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        scenario.targets[1].slowness = 5000
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.statistics.slowDemotions == 1)
        scenario.targets[1].slowness = 1
        #expect(!scenario.reaches(within: 500) { scenario.isInSync(1) }, "it stays out")
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.isDone(within: 500))
        #expect(scenario.initiator.workload.lastStatus == .success)
        scenario.targets[2].start()
        #expect(scenario.ending() == nil)
    }

    /// A process that was stopped finds its commands older than any limit, and their answers perhaps not there yet.
    @Test func whoStoodStillBlamesNobody() {
        let scenario = Scenario()
        #expect(scenario.attach())
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        for target in scenario.targets { target.stallUntil = scenario.simulation.queue.now + 420_000_000 }
        scenario.submit(.write)
        scenario.initiator.isPaused = true
        #expect(!scenario.reaches(within: 400) { false })
        scenario.initiator.resume()
        #expect(scenario.isDone())
        #expect(scenario.initiator.workload.lastStatus == .success)
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
            let target = scenario.targets[round % 3]
            target.stallUntil = scenario.simulation.queue.now + (round == 0 ? 60 : 90) * 1_000_000
            for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
            #expect(scenario.simulation.queue.now >= target.stallUntil, "the stall was waited for")
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
        for target in scenario.targets { target.slowness = 200 }
        for _ in 0..<10 { #expect(scenario.does(.write) == .success) }
        for target in scenario.targets { target.slowness = 1 }
        #expect(!scenario.reaches(within: 180_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        #expect(scenario.ending() == nil)
    }

    /// A read has nothing to be measured by: others may have had none for long.
    @Test func oneSlowReadDemotesNobody() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        #expect(!scenario.reaches(within: 60_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        for target in scenario.targets { target.stallUntil = scenario.simulation.queue.now + 90 * 1_000_000 }
        #expect(scenario.does(.read) == .success)
        #expect(!scenario.reaches(within: 10_000) { scenario.initiator.engine.statistics.memberLosses > 0 })
        #expect(scenario.ending() == nil)
    }

    @Test func aVolumeSetToFailDoesNotWait() {
        let scenario = Scenario()
        scenario.simulation.suspendPolicy = .fail
        #expect(scenario.attach())
        scenario.stop(1)
        scenario.stop(2)
        scenario.submit(.write)
        #expect(scenario.isDone())
        #expect(scenario.initiator.workload.lastStatus == .unavailable)
        #expect(scenario.does(.read) == .unavailable)
        for member in 1...2 { scenario.targets[member].start() }
        #expect(scenario.reaches { scenario.initiator.isServing })
        #expect(scenario.does(.write) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func membersOfTwoVolumesAreNotWritten() {
        let scenario = Scenario()
        let target = scenario.targets[2]
        // Another volume's superblock is there.
        let page = TestPage()
        var other = scenario.simulation.superblock(target)!
        other.volume = UUIDBytes(high: 66, low: 6)
        other.sequence = 9
        other.encode(into: page.bytes)
        let slot = Int(scenario.simulation.format.layouts[2].slotBlock(1)) * 512
        (target.view + slot).copyMemory(from: page.bytes.baseAddress!, byteCount: 4096)
        scenario.simulation.expectsAttachError = true
        scenario.simulation.isFinished = true
        scenario.simulation.startInitiator()
        #expect(scenario.reaches { scenario.initiator.attachError != nil })
        let expected = MetadataError.wrongVolume(member: 2, found: other.volume, expected: testVolume)
        #expect(scenario.initiator.attachError == .metadata(expected))
        for target in scenario.targets {
            #expect(!target.isDirty.contains(true), "nothing was written")
            #expect(target.registrants.isEmpty)
        }
    }
}
