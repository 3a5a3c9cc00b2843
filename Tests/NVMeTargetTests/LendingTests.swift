import CLibNVMe
import FabricInterface
import InProcessTransport
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Reads of a RAM namespace go straight out of its memory. The simulated network takes the bytes of an RDMA WRITE when it
/// arrives, so that memory which changes too early shows.
@Suite struct LendingTests {
    /// A host whose reads of 8 KiB go to 16 places, and so with 16 RDMA WRITEs.
    private static func reader(_ world: TargetWorld, keepAlive: UInt32 = 0) throws -> AttachedHost {
        let attached = try world.attach(keepAlive: keepAlive)
        attached.io[0].pieces = Array(repeating: 512, count: 15)
        return attached
    }

    @Test func whatWasWrittenIsLentAndTheRestIsCopied() throws {
        // Three pieces of 2 MiB.
        let world = try TargetWorld(device: try RAMDevice(byteCount: 6 << 20))
        let host = try Self.reader(world)
        #expect(try host.write(7, at: 4096 + 8, blocks: 16) == .success)
        let reads: [(UInt64, UInt8, Bool)] = [(0, 0, false), (4104, 7, true), (4160, 0, true), (4088, 0, false)]
        for (lba, value, isLent) in reads {
            // Everything before is over.
            world.pass(milliseconds: 1)
            let read = host.sendRead(lba, blocks: 16)
            try world.wait("the read") { world.use.requests[.answering] ?? 0 > 0 }
            #expect(world.loans == (isLent ? 1 : 0), "block \(lba)")
            #expect((world.use.bytesInUse == 0) == isLent, "block \(lba): no memory of the pool")
            let half = lba == 4096 - 8 ? 8 : 16
            #expect(try Array(host.data(of: read).prefix(512 * half)) == .blocks(half, of: value), "block \(lba)")
        }
        #expect(world.groups[0].keptRegions == 1)
        // From the second piece into the third, once that is written to.
        #expect(try host.write(9, at: 8192 - 8, blocks: 16) == .success)
        #expect(try host.read(8192 - 8, blocks: 16) == .blocks(16, of: 9))
    }

    /// Without that, the parts that are still to be sent would be the later write's.
    @Test(arguments: 1...12) func aReadSeesAWriteWholeOrNotAtAll(seed: UInt64) throws {
        let world = try TargetWorld(groups: 2, network: SimulatedNetwork(seed: seed))
        let hosts = try (0..<3).map { _ in try Self.reader(world) }
        #expect(try hosts[0].write(1, blocks: 16) == .success)
        world.network.delays.transit = 1_000...40_000
        var wereLent = 0
        for round in 0..<20 {
            let value = UInt8(round + 2)
            let first = hosts[0].sendRead(blocks: 16)
            world.simulation.run(forNanoseconds: UInt64.random(in: 0...100_000, using: &world.network.random))
            wereLent += world.loans
            let written = hosts[1].sendWrite(value, blocks: 16)
            let second = hosts[2].sendRead(blocks: 16)
            for (id, host) in [(first, hosts[0]), (second, hosts[2])] {
                let read = try host.data(of: id)
                let isWhole = read == .blocks(16, of: value) || read == .blocks(16, of: value - 1)
                #expect(isWhole, "round \(round), seed \(seed)")
            }
            #expect(hosts[1].status(of: written) == .success)
        }
        #expect(wereLent > 0, "seed \(seed)")
    }

    /// The last command is that which changes the blocks.
    static let writers: [(name: String, commands: [(RawCommand, InProcessData)])] = [
        ("write", [(.io(nvme_cmd_write, 0, 16), .fromHost(.blocks(16, of: 6)))]),
        ("zeroes", [(.io(nvme_cmd_write_zeroes, 0, 16), .none)]),
        ("deallocate", [(.deallocate(ranges: 1), .inCapsule(RawCommand.range(0, 16)))]),
        ("compare and write", [(.io(nvme_cmd_compare, flags: 0x41), .inCapsule(.blocks(of: 5))), half]),
    ]
    private static let half = (RawCommand.io(nvme_cmd_write, flags: 0x42), InProcessData.inCapsule(.blocks(of: 6)))

    @Test(arguments: writers) func whatChangesTheBlocksWaitsForTheHostThatReadsThem(
        _ name: String, _ commands: [(RawCommand, InProcessData)]
    ) throws {
        let world = try TargetWorld(groups: 2)
        let (reader, other) = (try Self.reader(world), try world.attach())
        #expect(try other.write(5, blocks: 16) == .success)
        world.slowDown(milliseconds: 3)
        let read = reader.sendRead(blocks: 16)
        try world.wait("a loan") { world.loans == 1 }
        world.slowDown(milliseconds: nil)
        let ids = commands.map { other.send($0.0, $0.1) }
        world.pass(milliseconds: 2)
        #expect(world.loans == 1 && other.io[0].answer(to: ids.last!) == nil, "the loan has not ended: \(name)")
        // Somewhere else there is nothing to wait for.
        #expect(try other.write(8, at: 1024, blocks: 16) == .success)
        #expect(world.loans == 1)
        #expect(try reader.data(of: read) == .blocks(16, of: 5), "all of it is as it was: \(name)")
        #expect(other.status(of: ids.last!) == .success, "\(name)")
    }

    /// Its answers are not taken; what was lent to it comes back when a write has waited for long enough.
    @Test func aHostThatTakesNothingKeepsAWriteWaitingForTwoSecondsAtTheMost() throws {
        let world = try TargetWorld()
        let (stuck, other) = (try Self.reader(world), try world.attach())
        #expect(try other.write(5, blocks: 16) == .success)
        stuck.io[0].repostsReceives = false
        for _ in 0..<RawQueue.responseCount { #expect(try stuck.execute(.flush()) == .success) }
        var sent = 0
        while world.loans == 0, sent < 28 {
            _ = stuck.sendRead(blocks: 16)
            sent += 1
            world.pass(milliseconds: 5)
        }
        #expect(world.loans > 0)
        world.pass(milliseconds: 3000)
        #expect(stuck.io[0].end == nil, "while nobody wants the blocks, there is time")
        let written = other.sendWrite(6, blocks: 16)
        world.pass(milliseconds: 1000)
        #expect(other.status(of: written) == .success)
        #expect(stuck.io[0].end != nil)
        #expect(world.events.contains("does not take data that a write waits for"))
        other.expectServed()
    }

    @Test(arguments: VanishingTests.Ending.allCases)
    func aHostThatGoesAwayGivesBackWhatItWasLent(_ ending: VanishingTests.Ending) throws {
        let (world, audit) = try TargetWorld(groups: 2).audited()
        #expect(try audit.witness.write(5, blocks: 16) == .success)
        let bad = try Self.reader(world, keepAlive: 1000)
        world.slowDown(milliseconds: 3)
        for _ in 0..<8 { _ = bad.sendRead(blocks: 16) }
        try world.wait("loans") { world.loans == 8 }
        world.slowDown(milliseconds: nil)
        let written = audit.witness.sendWrite(6, blocks: 16)
        bad.host.end(ending)
        audit.end("\(ending)", within: 6000)
        #expect(audit.witness.status(of: written) == .success)
    }

    @Test func aNamespaceThatIsRemovedStaysUntilItsReadsAreOver() throws {
        let (world, audit) = try TargetWorld().audited()
        weak var device: RAMDevice?
        do {
            let added = try RAMDevice(byteCount: 1 << 20)
            device = added
            try world.add(TargetWorld.namespace(2, added))
        }
        world.pass(milliseconds: 10)
        #expect(try audit.witness.write(5, blocks: 16, nsid: 2) == .success)
        world.slowDown(milliseconds: 3)
        let id = audit.witness.sendRead(blocks: 16, nsid: 2)
        try world.wait("a loan") { world.loans == 1 }
        try world.change { $0[TargetWorld.nqn]?.namespaces.removeAll { $0.nsid == 2 } }
        world.pass(milliseconds: 1)
        #expect(world.loans == 1 && device != nil)
        #expect(try audit.witness.data(of: id) == .blocks(16, of: 5))
        world.slowDown(milliseconds: nil)
        #expect(world.run(milliseconds: 2000) { device == nil }, "it is closed")
        #expect(world.groups[0].keptRegions == 0, "nothing of it is registered any more")
        audit.end()
    }

    @Test func aDeviceWithoutRoomForRegistrationsIsServedByCopying() throws {
        // The regions that a reactor needs for itself.
        let world = try TargetWorld(limits: { $0.maxMemoryRegions = 3 })
        let host = try Self.reader(world)
        #expect(try host.write(5, blocks: 16) == .success)
        for _ in 0..<4 { #expect(try host.read(blocks: 16) == .blocks(16, of: 5)) }
        #expect(world.groups[0].keptRegions == 0)
    }
}
