import Base
import BlockInterface
import Replication
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// The reservations that one attachment leaves to the next: they stay as long as a writer that was fenced may still write, and no
/// longer.
@Suite struct HandoverTests {
    private static let delaySeconds: UInt64 = 60

    private func scenario(fault: DeliberateFault = .none, hasOneClock: Bool = true) -> Scenario {
        Scenario(fault: fault) { profile in
            profile.releaseDelay = Self.delaySeconds * 1_000_000_000
            profile.clock = hasOneClock ? 1 : 0
        }
    }

    private func pass(seconds: UInt64, _ scenario: Scenario) { scenario.wait(microseconds: seconds * 1_000_000) }

    private func freeMembers(_ scenario: Scenario) -> Int { MemberSet.all.count { !scenario.isReserved($0) } }

    /// A command: attaches, works for so long, detaches. Whether the members are free of reservations then.
    private func command(_ scenario: Scenario, seconds: UInt64 = 0) -> Bool {
        #expect(scenario.attach())
        pass(seconds: seconds, scenario)
        #expect(scenario.detach())
        let free = freeMembers(scenario)
        #expect(free == 0 || free == 3)
        return free == 3
    }

    /// Commands follow each other after a host was fenced: each takes away what the one before left.
    @Test(arguments: [true, false]) func aChainOfCommandsGivesTheReservationBack(hasOneClock: Bool) {
        let scenario = scenario(hasOneClock: hasOneClock)
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
        #expect(scenario.attach())
        #expect(scenario.ending() == nil)
    }

    /// A host that is fenced later counts by itself.
    @Test func anotherFencingBeginsAnotherMinute() {
        let scenario = scenario()
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(!command(scenario, seconds: 30))
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(!command(scenario, seconds: 40))
        pass(seconds: 25, scenario)
        #expect(command(scenario))
    }

    /// A registration is left at a member that was away when its owner detached. Nobody writes by it.
    @Test func aMemberThatWasAwayKeepsNobodyOut() {
        let scenario = scenario()
        #expect(scenario.attach())
        scenario.stop(2)
        #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        #expect(scenario.detach())
        scenario.start(2)
        #expect(scenario.isReserved(2))
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.isInSync(2) })
        #expect(scenario.detach())
        #expect(freeMembers(scenario) == 3)
    }

    @Test func aVolumeThatForgetsTheFencedWriterIsKnownByIt() {
        let scenario = scenario(fault: .everyWriterDetached)
        #expect(scenario.attach())
        scenario.crashInitiator()
        #expect(command(scenario))
    }

    /// Bytes that releases before this one left zero; they do not look at them.
    @Test func theRecordCarriesTheGrace() throws {
        let scenario = scenario()
        #expect(scenario.attach())
        var superblock = try #require(scenario.world.record(1))
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
