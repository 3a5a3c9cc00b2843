import Base
import BlockInterface
import Replication
import Testing

/// The reservations that one attachment leaves to the next: they stay as long as a writer that was fenced may still write, and no
/// longer.
@Suite struct HandoverTests {
    private static let delaySeconds: UInt64 = 60

    private func pass(seconds: UInt64, _ scenario: Scenario) {
        let queue = scenario.simulation.queue
        let end = queue.now + seconds * 1_000_000_000
        queue.after(seconds * 1_000_000_000) {}
        while queue.now < end, queue.step() {}
    }

    /// A command: attaches, works for so long, detaches. Whether the members are free of reservations then.
    private func command(_ scenario: Scenario, seconds: UInt64 = 0) -> Bool {
        scenario.simulation.isFinished = false
        #expect(scenario.attach())
        pass(seconds: seconds, scenario)
        let initiator = scenario.initiator
        scenario.simulation.isFinished = true
        initiator.deliver { _ = initiator.engine.detach(now: initiator.now) }
        #expect(scenario.reaches { initiator.engine.phase == .detached && !initiator.isAlive })
        let free = scenario.targets.filter { $0.holder == nil }.count
        #expect(free == 0 || free == 3)
        return free == 3
    }

    /// Commands follow each other after a host was fenced: each takes away what the one before left.
    @Test(arguments: [true, false]) func aChainOfCommandsGivesTheReservationBack(hasOneClock: Bool) {
        let scenario = Scenario()
        scenario.simulation.clock = hasOneClock ? 1 : 0
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        #expect(!command(scenario), "the host that was fenced may still write")
        pass(seconds: 20, scenario)
        #expect(!command(scenario))
        pass(seconds: 20, scenario)
        #expect(!command(scenario))
        pass(seconds: 30, scenario)
        // Without a common clock only the time counts in which somebody had the volume attached.
        #expect(command(scenario) == hasOneClock)
        if !hasOneClock {
            #expect(!command(scenario, seconds: Self.delaySeconds / 2))
            #expect(command(scenario, seconds: Self.delaySeconds / 2))
        }
        #expect(command(scenario), "what is given back stays so")
        scenario.simulation.isFinished = false
        #expect(scenario.attach())
        #expect(scenario.ending() == nil)
    }

    /// A host that is fenced later counts by itself.
    @Test func anotherFencingBeginsAnotherMinute() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(!command(scenario, seconds: 30))
        scenario.simulation.isFinished = false
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(!command(scenario, seconds: 40))
        pass(seconds: 25, scenario)
        #expect(command(scenario))
    }

    /// A registration is left at a member that was away when its owner detached. Nobody writes by it.
    @Test func aMemberThatWasAwayKeepsNobodyOut() {
        let scenario = Scenario()
        #expect(scenario.attach())
        scenario.stop(2)
        #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        scenario.simulation.isFinished = true
        let first = scenario.initiator
        first.deliver { _ = first.engine.detach(now: first.now) }
        #expect(scenario.reaches { first.engine.phase == .detached && !first.isAlive })
        scenario.targets[2].start()
        #expect(scenario.targets[2].holder != nil)
        scenario.simulation.isFinished = false
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.isInSync(2) })
        let second = scenario.initiator
        scenario.simulation.isFinished = true
        second.deliver { _ = second.engine.detach(now: second.now) }
        #expect(scenario.reaches { second.engine.phase == .detached && !second.isAlive })
        #expect(scenario.targets.allSatisfy { $0.holder == nil })
    }

    @Test func aVolumeThatForgetsTheFencedWriterIsKnownByIt() {
        let scenario = Scenario(fault: .everyWriterDetached)
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(command(scenario))
    }

    /// Bytes that releases before this one left zero; they do not look at them.
    @Test func theRecordCarriesTheGrace() throws {
        let scenario = Scenario()
        #expect(scenario.attach())
        var superblock = try #require(scenario.simulation.superblock(scenario.targets[1]))
        #expect(superblock.grace == nil)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: superblock.geometry.pageSize, alignment: 16)
        defer { page.deallocate() }
        let empty = UnsafeMutableRawBufferPointer.allocate(byteCount: superblock.geometry.pageSize, alignment: 16)
        defer { empty.deallocate() }
        empty.initializeMemory(as: UInt8.self, repeating: 0)
        superblock.encode(into: page)
        for offset in [52..<56, 80..<88, 284..<288] { #expect(page[offset].allSatisfy { $0 == 0 }) }
        #expect(page[43] & 2 == 0)
        for grace in [FencingGrace(), FencingGrace(milliseconds: .max, clock: .max, endSeconds: .max)] {
            superblock.grace = grace
            superblock.encode(into: page)
            let read = try Superblock.decode(
                member: 1, slot0: UnsafeRawBufferPointer(page), slot1: UnsafeRawBufferPointer(empty))
            #expect(read == superblock)
        }
    }
}
