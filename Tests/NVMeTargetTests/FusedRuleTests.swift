import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeTarget
import TargetInterface
import Testing

/// The answers to the two halves of a fused operation: Compare and Write (NVMe Base, "Fused Operations").
@Suite struct FusedRuleTests {
    private static let failed = RawStatus.generic(NVME_SC_FUSED_FAIL)
    private static let missing = RawStatus.generic(NVME_SC_FUSED_MISSING)
    private static let invalid = RawStatus.refused(NVME_SC_INVALID_FIELD)
    private static let different = RawStatus(
        code: NVME_SCT_MEDIA.rawValue << 8 | NVME_SC_COMPARE_FAILED.rawValue, doNotRetry: true)

    private static func half(
        _ opcode: nvme_io_opcode, _ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1, flags: UInt8
    ) -> RawCommand {
        RawCommand(opcode: opcode.rawValue, nsid: nsid, flags: flags).range(lba, blocks)
    }

    private static func compare(_ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1) -> RawCommand {
        half(nvme_cmd_compare, lba, blocks, nsid: nsid, flags: 0x41)
    }

    private static func write(_ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1) -> RawCommand {
        half(nvme_cmd_write, lba, blocks, nsid: nsid, flags: 0x42)
    }

    private static func data(_ value: UInt8, _ bytes: Int = 512) -> InProcessData {
        .fromHost([UInt8](repeating: value, count: bytes))
    }

    /// Two halves on a namespace of zeroes, and what each is answered with.
    struct Row {
        let name: String
        let first: RawCommand
        let second: RawCommand
        let ends: (RawStatus, RawStatus)
        var firstData = FusedRuleTests.data(0)
        var secondData = FusedRuleTests.data(9)

        init(_ name: String, _ first: RawCommand, _ second: RawCommand, _ ends: (RawStatus, RawStatus)) {
            (self.name, self.first, self.second, self.ends) = (name, first, second, ends)
        }

        func with(_ first: InProcessData? = nil, _ second: InProcessData? = nil) -> Row {
            var row = self
            (row.firstData, row.secondData) = (first ?? firstData, second ?? secondData)
            return row
        }
    }

    private static let outOfRange = RawStatus.refused(NVME_SC_LBA_RANGE)
    private static let wrongLength = RawStatus.refused(NVME_SC_SGL_INVALID_DATA)
    private static let noNamespace = RawStatus.generic(NVME_SC_INVALID_NS)

    private static let refusals = [
        Row("other blocks", compare(), write(1), (invalid, failed)),
        Row("more blocks", compare(), write(0, 2), (invalid, failed)),
        Row("another namespace", compare(), write(nsid: 2), (invalid, failed)),
        Row("a write first", half(nvme_cmd_write, flags: 0x41), write(), (invalid, failed)),
        Row("a compare second", compare(), half(nvme_cmd_compare, flags: 0x42), (invalid, failed)),
        Row("Disconnect first", RawCommand(opcode: 0x7F, nsid: 8, flags: 0x41), write(), (invalid, failed)),
        Row("PRPs first", half(nvme_cmd_compare, flags: 0x01), write(), (invalid, failed)),
        Row("PRPs second", compare(), half(nvme_cmd_write, flags: 0x02), (failed, invalid)),
        Row("no namespace", compare(nsid: 3), write(nsid: 3), (noNamespace, failed)),
        Row("beyond the end", compare(8192), write(8192), (outOfRange, failed)),
        Row("more than NACWU", compare(0, 129), write(0, 129), (invalid, failed))
            .with(data(0, 129 * 512), data(9, 129 * 512)),
        Row("the first's length", compare(), write(), (wrongLength, failed)).with(data(0, 256)),
        Row("the second's length", compare(), write(), (failed, wrongLength)).with(nil, data(0, 1024)),
        Row("other contents", compare(), write(), (different, failed)).with(data(1)),
    ]

    private func ends(_ row: Row, _ world: EngineWorld, _ queue: InProcessQueue) throws -> (RawStatus, RawStatus) {
        let first = world.send(row.first, row.firstData, on: queue)
        let second = world.send(row.second, row.secondData, on: queue)
        return try (#require(world.status(of: first, on: queue)), #require(world.status(of: second, on: queue)))
    }

    private func block(_ world: EngineWorld, _ queue: InProcessQueue) throws -> UInt8 {
        let read = RawCommand.io(nvme_cmd_read, 0, 1)
        return try world.execute(read, .toHost(512), on: queue).data[0]
    }

    @Test func refusalsWriteNothing() throws {
        let world = try EngineWorld()
        let io = try world.attach().io[0]
        for row in Self.refusals {
            let ends = try ends(row, world, io)
            #expect(ends.0 == row.ends.0 && ends.1 == row.ends.1, "\(row.name): \(ends)")
            #expect(try block(world, io) == 0, "\(row.name)")
        }
        world.expectIdle()
    }

    @Test func whatIsAsExpectedIsReplaced() throws {
        let world = try EngineWorld()
        let io = try world.attach().io[0]
        let row = Row("a block", Self.compare(), Self.write(), (.success, .success))
        #expect(try ends(row, world, io) == row.ends)
        #expect(try block(world, io) == 9)
        let again = Row("again", Self.compare(), Self.write(), (Self.different, Self.failed))
        #expect(try ends(again, world, io) == again.ends)
        let around = try world.execute(RawCommand(opcode: 2, nsid: 1).range(0, 2), .toHost(1024), on: io).data
        #expect(around == [UInt8](repeating: 9, count: 512) + [UInt8](repeating: 0, count: 512))
        // NACWU says 64 KiB of 512 bytes, 0-based; ACWU nothing of its own.
        let admin = try world.attach().admin
        let controller = try world.execute(.identify(), .toHost(4096), on: admin).data
        #expect(controller.number(MemoryLayout<nvme_id_ctrl>.offset(of: \.fuses)!, 2) == 1)
        #expect(controller.number(MemoryLayout<nvme_id_ctrl>.offset(of: \.acwu)!, 2) == 0)
        let namespace = try world.execute(.identify(NVME_IDENTIFY_CNS_NS, nsid: 1), .toHost(4096), on: admin).data
        #expect(namespace.number(MemoryLayout<nvme_id_ns>.offset(of: \.nacwu)!, 2) == 127)
        let all = Row("as much as NACWU says", Self.compare(1, 128), Self.write(1, 128), (.success, .success))
            .with(Self.data(0, 65536), Self.data(3, 65536))
        #expect(try ends(all, world, io) == all.ends)
        world.expectIdle()
    }

    /// A write that fails had found what it expected; a read that fails had not.
    @Test(arguments: [
        (BlockStatus.writeFault, RawStatus.success, RawStatus(code: 0x280)),
        (.unrecoveredReadError, RawStatus(code: 0x281), failed),
    ]) func aDeviceThatFailsIsTold(_ says: BlockStatus, _ compared: RawStatus, _ written: RawStatus) throws {
        let world = try EngineWorld(device: SteeredDevice(says))
        let row = Row("", Self.compare(), Self.write(), (compared, written))
        #expect(try ends(row, world, world.attach().io[0]) == row.ends)
        world.expectIdle()
    }

    /// A first half waits for the next command of its queue, for 10 s.
    @Test func aHalfWithoutTheOther() throws {
        let world = try EngineWorld()
        let host = try world.attach()
        let io = host.io[0]
        #expect(
            try world.execute(Self.write(), Self.data(1), on: io).completion.status == Self.missing, "a second half")
        let lone = world.send(Self.compare(), Self.data(0), on: io)
        #expect(world.answer(to: lone, on: io) == nil, "it waits")
        #expect(try block(world, io) == 0, "another command behind it is done")
        #expect(world.status(of: lone, on: io) == Self.missing)
        let early = world.send(Self.compare(), Self.data(0), on: io)
        let row = Row("the later of two", Self.compare(), Self.write(), (.success, .success))
        #expect(try ends(row, world, io) == row.ends)
        #expect(world.status(of: early, on: io) == Self.missing)
        let slow = world.send(Self.compare(), Self.data(9), on: io)
        world.pass(milliseconds: 9_500)
        #expect(world.answer(to: slow, on: io) == nil, "the second half may still be on its way")
        world.pass(milliseconds: 1_000)
        #expect(world.status(of: slow, on: io) == Self.missing)
        #expect(try world.execute(Self.write(), Self.data(1), on: io).completion.status == Self.missing, "too late")
        let aborted = world.send(Self.compare(), Self.data(9), on: io)
        #expect(try host.manage(.abort(aborted, sq: 1)).dword0 == 0)
        #expect(world.status(of: aborted, on: io) == .generic(NVME_SC_ABORT_REQ))
        #expect(try block(world, io) == 9)
        world.expectIdle()
    }

    /// As many first halves as there are receive buffers.
    @Test func halvesDoNotKeepOthersOut() throws {
        let world = try EngineWorld()
        let witness = try world.attach(host: 0xFE)
        let queues = try (0..<16).flatMap { try world.attach(ioQueues: 8, host: .init($0)).io }
        let before = try world.baseline()
        let data = InProcessData.inCapsule([UInt8](repeating: 0, count: 512))
        for queue in queues { world.send(Self.compare(), data, on: queue) }
        world.pass(milliseconds: 10)
        witness.expectServed("while the halves wait")
        world.expectPools(before, "after the halves were answered", within: 11_000)
        witness.expectServed()
    }

    @Test func aHalfGoesWithAReset() throws {
        let world = try EngineWorld()
        let before = try world.baseline()
        let host = try world.attach()
        world.send(Self.compare(), Self.data(0), on: host.io[0])
        world.settle()
        #expect(try host.manage(.configure(0)).isSuccess)
        #expect(world.pass(atMost: 1000) { host.io[0].isClosed })
        host.admin.disconnect()
        world.expectPools(before)
    }

    /// Halves that hold memory while they wait for more would wait for each other.
    @Test func allGetOnWhereMemoryIsScarce() throws {
        var options = TargetWorld.smallOptions
        options.dataMemory = 64 << 10
        options.controlMemory = 16 << 10
        options.maxTransferSize = 32 << 10
        let world = try EngineWorld(options)
        let hosts = try (0..<6).map { try world.attach(host: .init($0)) }
        world.isFull = true
        let sent = (0..<60).flatMap { turn -> [(InProcessQueue, UInt16)] in
            let queue = hosts[turn % 6].io[0]
            return [Self.compare(UInt64(turn) * 16, 16), Self.write(UInt64(turn) * 16, 16)].map {
                (queue, world.send($0, Self.data(0, 8192), on: queue))
            }
        }
        world.settle()
        #expect(world.groups[0].poolUse[0].awaitsBuffer)
        world.isFull = false
        for (queue, id) in sent { #expect(world.status(of: id, on: queue) == .success) }
        world.expectIdle()
    }
}
