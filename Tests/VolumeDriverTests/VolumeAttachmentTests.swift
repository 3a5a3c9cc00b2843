import Base
import BlockInterface
import NVMeInitiator
import NVMeSpec
import Replication
import Testing
import VolumeDriver
import VolumeSimulation

/// Opening and ending an attachment, against real targets in virtual time.
@Suite struct VolumeAttachmentTests {
    private let world = FacadeWorld(seed: 1, dataBlocks: 4096)

    private func attached(_ options: VolumeAttachmentOptions? = nil) throws -> VolumeAttachment {
        try #require(world.attach(options ?? world.options())).get()
    }

    private func failure(_ options: VolumeAttachmentOptions) -> VolumeError? {
        guard case .failure(let error)? = world.attach(options) else { return nil }
        return error
    }

    @Test func whatIsWrittenIsThereForTheNextAttachment() throws {
        let first = try attached()
        let buffer = try #require(world.wait { await first.volume.allocate(1 << 20) } ?? nil)
        buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0x5A, count: 1 << 20)
        // Sixteen regions: longer than a member takes at once.
        let written = world.wait {
            await first.calls.perform(.write, offset: 512, length: 1 << 20, buffer: buffer.pointer)
        }
        #expect(written == .success)
        try #require(world.detach(first)).get()
        #expect(world.pollerCount == 0)
        for member in 0..<3 {
            let bytes = world.contents(of: member, isDurable: true)
            #expect(bytes[512..<512 + 1 << 20].allSatisfy { $0 == 0x5A })
            #expect(bytes[..<512].allSatisfy { $0 == 0 })
        }
        let second = try attached(world.options(host: 2))
        try #require(world.detach(second)).get()
        world.close()
    }

    @Test func aVolumeThatAnotherHostHasIsLeftAlone() throws {
        let first = try attached()
        let refused = try #require(failure(world.options(host: 2)))
        #expect(refused.code == .inUse)
        #expect((refused.cause as? VolumeOccupant)?.host.hostID == UUIDBytes(high: 0x7465_7263, low: 1))
        var options = world.options(host: 2)
        options.takesOver = true
        let second = try attached(options)
        guard case .failure(let error)? = world.detach(first) else {
            Issue.record("a deposed attachment is detached")
            return
        }
        #expect(error.code == .deposed)
        try #require(world.detach(second)).get()
        world.close()
    }

    @Test func noMemberIsAnErrorThatSaysWhy() throws {
        for member in 0..<3 { world.killMember(member) }
        let error = try #require(failure(world.options()))
        #expect(error.code == .noMember)
        #expect(error.message.contains("member 2"))
        #expect(error.cause is TercetError)
        #expect(world.pollerCount == 0)
        world.close()
    }

    @Test(arguments: [true, false])
    func oneMemberIsTooFewAndTheWaitEnds(hasTotal: Bool) throws {
        world.killMember(1)
        world.killMember(2)
        var options = world.options()
        if hasTotal { options.attachTimeoutMilliseconds = 12_000 } else { options.patienceMilliseconds = 5_000 }
        let start = world.milliseconds
        let error = try #require(failure(options))
        #expect(error.code == .timedOut)
        #expect(
            error.message.contains("cannot be served yet") && error.message.contains("member 2"), "\(error.message)")
        // The members that are away are looked at first, for 3 s each.
        #expect(world.milliseconds - start < 20_000)
        #expect(world.pollerCount == 0)
        world.close()
    }

    @Test func aDetachThatComesNoFurtherEndsAndSaysWhatItLeaves() throws {
        let attachment = try attached()
        for member in 0..<3 { world.killMember(member) }
        let start = world.milliseconds
        guard case .failure(let error)? = world.detach(attachment) else {
            Issue.record("a volume without members is detached")
            return
        }
        #expect(error.code == .notClean)
        #expect(error.message.contains("members {0,1,2}"))
        #expect(world.milliseconds - start < 25_000)
        for member in 0..<3 { world.startMember(member) }
        let next = try attached(world.options(host: 2))
        try #require(world.detach(next)).get()
        world.close()
    }

    /// 2048 blocks are in each member's cache, of which a disk flushes one in a millisecond. Users wait for a detach, and not for what
    /// comes before it.
    @Test(arguments: [false, true])
    func aDetachThatIsPreparedHasLittleToFlush(isPrepared: Bool) throws {
        let attachment = try attached()
        let buffer = try #require(world.wait { await attachment.volume.allocate(1 << 20) } ?? nil)
        buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0x5A, count: 1 << 20)
        let written = world.wait {
            await attachment.calls.perform(.write, length: 1 << 20, buffer: buffer.pointer)
        }
        #expect(written == .success)
        world.slowFlushes(millisecondsPerBlock: 1)
        var start = world.milliseconds
        if isPrepared {
            world.group.spawn { await attachment.prepareDetach() }
            let read = world.wait { await attachment.calls.perform(.read, length: 4096, buffer: buffer.pointer) }
            #expect(read == .success)
            #expect(world.milliseconds - start < 100)
            world.run(milliseconds: 3000)
            start = world.milliseconds
        }
        try #require(world.detach(attachment)).get()
        let times = try #require(world.wait { await attachment.detachTimes() })
        if isPrepared {
            #expect(world.milliseconds - start < 100)
            #expect(times.total < 100_000_000)
        } else {
            #expect(world.milliseconds - start > 2000)
            // The times say which step it was.
            #expect(times.flush > 2_000_000_000)
            #expect(times.total - times.flush < 100_000_000)
        }
        world.close()
    }

    /// Members store that a reservation is given up, on whatever disk their targets' state is. Nobody has to wait for it where another host
    /// takes the reservation away at once.
    @Test(arguments: [false, true])
    func aDetachForAnotherHostLeavesTheReservations(isPassed: Bool) throws {
        let first = try attached()
        world.slowReservations(milliseconds: 2500)
        let start = world.milliseconds
        try #require(world.detach(first, leavesReservations: isPassed)).get()
        let times = try #require(world.wait { await first.detachTimes() })
        if isPassed {
            #expect(world.milliseconds - start < 100)
        } else {
            #expect(times.release > 2_500_000_000)
        }
        world.slowReservations(milliseconds: 0)
        var options = world.options(host: 2)
        options.takesOver = true
        let second = try attached(options)
        #expect(world.wait { await second.volume.keepsReservations() } == false, "nobody was fenced")
        try #require(world.detach(second)).get()
        let third = try attached(world.options(host: 3))
        try #require(world.detach(third)).get()
        world.close()
    }

    /// Members that do not flush keep nobody waiting for ever.
    @Test func thePreparationOfADetachEnds() throws {
        let attachment = try attached()
        let buffer = try #require(world.wait { await attachment.volume.allocate(1 << 20) } ?? nil)
        _ = world.wait { await attachment.calls.perform(.write, length: 1 << 20, buffer: buffer.pointer) }
        world.slowFlushes(millisecondsPerBlock: 10)
        let start = world.milliseconds
        _ = try #require(world.wait { await attachment.prepareDetach(milliseconds: 1000) })
        #expect(1000...1100 ~= world.milliseconds - start)
        _ = world.wait { await attachment.abandon() }
        world.close()
    }

    /// The detach is asked for once; a recovery breaks it off, and it goes on behind that.
    @Test func aDetachIsRememberedOverARecovery() throws {
        let attachment = try attached()
        for member in 0..<3 { world.killMember(member) }
        world.run(milliseconds: 500)
        attachment.volume.detach()
        world.run(milliseconds: 500)
        #expect(attachment.volume.currentPhase != .detached)
        for member in 0..<3 { world.startMember(member) }
        #expect(world.run(milliseconds: 20_000) { attachment.volume.currentPhase == .detached })
        try #require(world.detach(attachment)).get()
        world.close()
    }
}
