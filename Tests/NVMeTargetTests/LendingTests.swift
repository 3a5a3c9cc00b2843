import BlockInterface
import CLibNVMe
import FabricInterface
import MemoryBlock
import NVMeTarget
import Simulation
import Testing

/// Reads of a RAM namespace go straight out of its memory. The simulated network takes the bytes of an RDMA WRITE when it
/// arrives, so that memory which changes too early shows.
@Suite struct LendingTests {
    /// Sends a write of blocks that all hold one value.
    private static func send(
        _ attached: AttachedHost, _ value: UInt8, at lba: UInt64 = 0, blocks: Int = 16
    ) -> UInt16 {
        let offset = attached.host.allocate(512 * blocks)
        attached.host.fill(offset, value, count: 512 * blocks)
        return attached.io[0].send(.io(nvme_cmd_write, lba, blocks).at(attached.host, offset, 512 * blocks))
    }

    private static func fill(
        _ world: TargetWorld, _ attached: AttachedHost, _ value: UInt8, at lba: UInt64 = 0, blocks: Int = 16
    ) throws {
        let id = send(attached, value, at: lba, blocks: blocks)
        #expect(try world.completion(of: id, attached.io[0]).isSuccess)
    }

    /// A read of 8 KiB into 16 places, and so with 16 RDMA WRITEs.
    private static func scattered(_ attached: AttachedHost, at lba: UInt64 = 0) -> (id: UInt16, offset: Int) {
        let offset = attached.host.allocate(8192)
        let list = (0..<16).flatMap { attached.host.keyed(offset + $0 * 512, 512) }
        let sgl = RawSGL.offset(0, length: 256, type: 0x31)
        return (attached.io[0].send(.io(nvme_cmd_read, lba, 16).with(sgl: sgl), data: list), offset)
    }

    private static func holds(_ attached: AttachedHost, _ offset: Int, _ value: UInt8, count: Int = 8192) -> Bool {
        attached.host.memory[offset..<offset + count].allSatisfy { $0 == value }
    }

    private static func loans(_ world: TargetWorld) -> Int { world.groups.reduce(0) { $0 + $1.loans } }

    @Test func whatWasWrittenIsLentAndTheRestIsCopied() throws {
        // Three pieces of 2 MiB.
        let device = try RAMDevice(byteCount: 6 << 20)
        let world = try TargetWorld(device: { _ in device })
        let attached = try world.attach()
        let before = try world.baseline()
        try Self.fill(world, attached, 7, at: 4096 + 8)
        for (lba, value, isLent) in [(0, 0, false), (4096 + 8, 7, true), (4096 + 64, 0, true), (4096 - 8, 0, false)]
            as [(UInt64, UInt8, Bool)]
        {
            // Everything before is over.
            world.pass(milliseconds: 1)
            let read = Self.scattered(attached, at: lba)
            try world.wait("the read") { world.groups[0].poolUse[0].requests[.answering] ?? 0 > 0 }
            #expect(Self.loans(world) == (isLent ? 1 : 0), "block \(lba)")
            #expect((world.groups[0].poolUse[0].bytesInUse == 0) == isLent, "block \(lba): no memory of the pool")
            #expect(try world.completion(of: read.id, attached.io[0]).isSuccess)
            let half = lba == 4096 - 8 ? 4096 : 8192
            #expect(Self.holds(attached, read.offset, value, count: half), "block \(lba)")
        }
        #expect(world.groups[0].keptRegions == 1)
        // From the second piece into the third, once that is written to.
        try Self.fill(world, attached, 9, at: 8192 - 8)
        let read = Self.scattered(attached, at: 8192 - 8)
        #expect(try world.completion(of: read.id, attached.io[0]).isSuccess)
        #expect(Self.holds(attached, read.offset, 9))
        world.expectPools(before)
    }

    /// Without that, the parts that are still to be sent would be the later write's.
    @Test(arguments: 1...12) func aReadSeesAWriteWholeOrNotAtAll(seed: UInt64) throws {
        let world = try TargetWorld(groups: 2, seed: seed)
        let hosts = try (0..<3).map { _ in try world.attach() }
        let before = try world.baseline()
        try Self.fill(world, hosts[0], 1)
        world.network.delays.transit = 1_000...40_000
        var wereLent = 0
        for round in 0..<20 {
            let value = UInt8(round + 2)
            let read = Self.scattered(hosts[0])
            world.simulation.run(forNanoseconds: UInt64.random(in: 0...100_000, using: &world.network.random))
            wereLent += Self.loans(world)
            let written = Self.send(hosts[1], value)
            let other = Self.scattered(hosts[2])
            #expect(try world.completion(of: read.id, hosts[0].io[0]).isSuccess)
            #expect(try world.completion(of: written, hosts[1].io[0]).isSuccess)
            #expect(try world.completion(of: other.id, hosts[2].io[0]).isSuccess)
            for (host, offset) in [(hosts[0], read.offset), (hosts[2], other.offset)] {
                let isWhole = Self.holds(host, offset, value) || Self.holds(host, offset, value - 1)
                #expect(isWhole, "round \(round), seed \(seed)")
            }
        }
        #expect(wereLent > 0, "seed \(seed)")
        world.network.delays = SimulatedDelays()
        world.expectPools(before, "seed \(seed)")
    }

    enum Writer: String, CaseIterable, Sendable {
        case write, zeroes, deallocate, compareAndWrite
    }

    @Test(arguments: Writer.allCases) func whatChangesTheBlocksWaitsForTheHostThatReadsThem(_ writer: Writer) throws {
        let world = try TargetWorld(groups: 2)
        let (reader, other) = (try world.attach(), try world.attach())
        let before = try world.baseline()
        try Self.fill(world, other, 5)
        world.network.delays.transit = 3_000_000...3_000_000
        let read = Self.scattered(reader)
        try world.wait("a loan") { Self.loans(world) == 1 }
        world.network.delays.transit = 1_000...2_000
        let queue = other.io[0]
        let block = RawSGL.offset(0, length: 512)
        let id: UInt16
        switch writer {
        case .write: id = Self.send(other, 6)
        case .zeroes: id = queue.send(.io(nvme_cmd_write_zeroes, 0, 16))
        case .deallocate:
            let trim = RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: 1).with(10, 0).with(11, 4)
            let range = RawSGL.little(0, 4) + RawSGL.little(16, 4) + RawSGL.little(0, 8)
            id = queue.send(trim.with(sgl: RawSGL.offset(0, length: 16)), data: range)
        case .compareAndWrite:
            let (old, new) = ([UInt8](repeating: 5, count: 512), [UInt8](repeating: 6, count: 512))
            queue.send(.io(nvme_cmd_compare, flags: 0x41).with(sgl: block), data: old)
            id = queue.send(.io(nvme_cmd_write, flags: 0x42).with(sgl: block), data: new)
        }
        world.pass(milliseconds: 2)
        #expect(Self.loans(world) == 1 && queue.take(id) == nil, "the loan has not ended")
        // Somewhere else there is nothing to wait for.
        try Self.fill(world, other, 8, at: 1024)
        #expect(Self.loans(world) == 1)
        #expect(try world.completion(of: read.id, reader.io[0]).isSuccess)
        #expect(Self.holds(reader, read.offset, 5), "all of it is as it was")
        #expect(try world.completion(of: id, queue).isSuccess)
        world.expectPools(before)
    }

    /// Its answers are not taken; what was lent to it comes back when a write has waited for long enough.
    @Test func aHostThatTakesNothingKeepsAWriteWaitingForTwoSecondsAtTheMost() throws {
        let world = try TargetWorld()
        let (stuck, other) = (try world.attach(), try world.attach())
        try Self.fill(world, other, 5)
        stuck.io[0].repostsReceives = false
        let flush = RawCommand.flush()
        for _ in 0..<RawQueue.responseCount { #expect(try world.execute(stuck.io[0], flush).isSuccess) }
        var sent = 0
        while Self.loans(world) == 0, sent < 28 {
            _ = Self.scattered(stuck)
            sent += 1
            world.pass(milliseconds: 5)
        }
        #expect(Self.loans(world) > 0)
        world.pass(milliseconds: 3000)
        #expect(stuck.io[0].end == nil, "while nobody wants the blocks, there is time")
        let written = Self.send(other, 6)
        world.pass(milliseconds: 1000)
        #expect(try world.completion(of: written, other.io[0]).isSuccess)
        #expect(stuck.io[0].end != nil)
        #expect(world.events.contains("does not take data that a write waits for"))
        world.expectServed(other)
    }

    @Test(arguments: VanishingTests.Ending.allCases)
    func aHostThatGoesAwayGivesBackWhatItWasLent(_ ending: VanishingTests.Ending) throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach()
        try Self.fill(world, witness, 5)
        let before = try world.baseline()
        let bad = try world.attach(keepAlive: 1000)
        world.network.delays.transit = 3_000_000...3_000_000
        for _ in 0..<8 { _ = Self.scattered(bad) }
        try world.wait("loans") { Self.loans(world) == 8 }
        world.network.delays.transit = 1_000...2_000
        let written = Self.send(witness, 6)
        bad.host.end(ending)
        world.expectPools(before, "\(ending)", withinMilliseconds: 6000)
        #expect(try world.completion(of: written, witness.io[0]).isSuccess)
        world.expectServed(witness, "\(ending)")
    }

    @Test func aNamespaceThatIsRemovedStaysUntilItsReadsAreOver() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        weak var device: RAMDevice?
        do {
            let added = try RAMDevice(byteCount: 1 << 20)
            device = added
            try world.add(TargetWorld.namespace(2, added))
        }
        world.pass(milliseconds: 10)
        let data = attached.host.allocate(8192)
        attached.host.fill(data, 5, count: 8192)
        let write = RawCommand.io(nvme_cmd_write, 0, 16, nsid: 2).at(attached.host, data, 8192)
        #expect(try world.execute(attached.io[0], write).isSuccess)
        world.network.delays.transit = 3_000_000...3_000_000
        let target = attached.host.allocate(8192)
        let id = attached.io[0].send(.io(nvme_cmd_read, 0, 16, nsid: 2).at(attached.host, target, 8192))
        try world.wait("a loan") { Self.loans(world) == 1 }
        try world.remove(2)
        world.pass(milliseconds: 1)
        #expect(Self.loans(world) == 1)
        #expect(device != nil)
        #expect(try world.completion(of: id, attached.io[0]).isSuccess)
        #expect(Self.holds(attached, target, 5))
        world.network.delays = SimulatedDelays()
        world.expectPools(before)
        #expect(device == nil, "it is closed")
        #expect(world.groups[0].keptRegions == 0, "nothing of it is registered any more")
    }

    @Test func aDeviceWithoutRoomForRegistrationsIsServedByCopying() throws {
        var limits = DeviceLimits.simulated
        // The regions that a reactor needs for itself.
        limits.maxMemoryRegions = 3
        let world = try TargetWorld(limits: limits)
        let attached = try world.attach()
        let before = try world.baseline()
        try Self.fill(world, attached, 5)
        for _ in 0..<4 {
            let read = Self.scattered(attached)
            #expect(try world.completion(of: read.id, attached.io[0]).isSuccess)
            #expect(Self.holds(attached, read.offset, 5))
        }
        #expect(world.groups[0].keptRegions == 0)
        world.expectPools(before)
    }
}
