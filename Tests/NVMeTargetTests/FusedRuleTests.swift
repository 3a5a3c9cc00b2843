import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Testing

/// The answers to the two halves of a fused operation: Compare and Write (NVMe Base, "Fused Operations").
@Suite struct FusedRuleTests {
    private static let failed = RawStatus.generic(NVME_SC_FUSED_FAIL)
    private static let missing = RawStatus.generic(NVME_SC_FUSED_MISSING)
    private static let invalid = RawStatus(code: NVME_SC_INVALID_FIELD.rawValue, doNotRetry: true)
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
    }

    private static let outOfRange = RawStatus(code: NVME_SC_LBA_RANGE.rawValue, doNotRetry: true)
    private static let wrongLength = RawStatus(code: NVME_SC_SGL_INVALID_DATA.rawValue, doNotRetry: true)
    private static let noNamespace = RawStatus(code: NVME_SC_INVALID_NS.rawValue)

    private static let refusals = [
        Row(name: "other blocks", first: compare(), second: write(1), ends: (invalid, failed)),
        Row(name: "more blocks", first: compare(), second: write(0, 2), ends: (invalid, failed)),
        Row(name: "another namespace", first: compare(), second: write(nsid: 2), ends: (invalid, failed)),
        Row(
            name: "a write first", first: half(nvme_cmd_write, flags: 0x41), second: write(), ends: (invalid, failed)),
        Row(
            name: "a compare second", first: compare(), second: half(nvme_cmd_compare, flags: 0x42),
            ends: (invalid, failed)),
        Row(
            name: "Disconnect first", first: RawCommand(opcode: 0x7F, nsid: 8, flags: 0x41), second: write(),
            ends: (invalid, failed)),
        Row(
            name: "PRPs first", first: half(nvme_cmd_compare, flags: 0x01), second: write(), ends: (invalid, failed)),
        Row(
            name: "PRPs second", first: compare(), second: half(nvme_cmd_write, flags: 0x02), ends: (failed, invalid)),
        Row(name: "no namespace", first: compare(nsid: 3), second: write(nsid: 3), ends: (noNamespace, failed)),
        Row(name: "beyond the end", first: compare(8192), second: write(8192), ends: (outOfRange, failed)),
        Row(
            name: "more than NACWU", first: compare(0, 129), second: write(0, 129), ends: (invalid, failed),
            firstData: data(0, 129 * 512), secondData: data(9, 129 * 512)),
        Row(
            name: "the first's length", first: compare(), second: write(), ends: (wrongLength, failed),
            firstData: data(0, 256)),
        Row(
            name: "the second's length", first: compare(), second: write(), ends: (failed, wrongLength),
            secondData: data(0, 1024)),
        Row(name: "other contents", first: compare(), second: write(), ends: (different, failed), firstData: data(1)),
    ]

    private func ends(_ row: Row, _ world: EngineWorld, _ queue: InProcessQueue) throws -> (RawStatus, RawStatus) {
        let first = world.send(row.first, row.firstData, on: queue)
        let second = world.send(row.second, row.secondData, on: queue)
        return (
            try #require(world.answer(to: first, on: queue)).completion.status,
            try #require(world.answer(to: second, on: queue)).completion.status
        )
    }

    private func block(_ world: EngineWorld, _ queue: InProcessQueue) throws -> UInt8 {
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 1)
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
        let row = Row(name: "a block", first: Self.compare(), second: Self.write(), ends: (.success, .success))
        #expect(try ends(row, world, io) == row.ends)
        #expect(try block(world, io) == 9)
        let again = Row(name: "again", first: Self.compare(), second: Self.write(), ends: (Self.different, Self.failed))
        #expect(try ends(again, world, io) == again.ends)
        let around = try world.execute(RawCommand(opcode: 2, nsid: 1).range(0, 2), .toHost(1024), on: io).data
        #expect(around == [UInt8](repeating: 9, count: 512) + [UInt8](repeating: 0, count: 512))
        // NACWU says 64 KiB of 512 bytes, 0-based; ACWU nothing of its own.
        func identify(_ cns: UInt32, _ nsid: UInt32, _ place: Int?) throws -> Int {
            let command = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: nsid).with(10, cns)
            let page = try world.execute(command, .toHost(4096), on: try world.attach().admin).data
            return Int(page[place ?? 0]) | Int(page[(place ?? 0) + 1]) << 8
        }
        let controller = NVME_IDENTIFY_CNS_CTRL.rawValue
        #expect(try identify(controller, 0, MemoryLayout<nvme_id_ctrl>.offset(of: \.fuses)) == 1)
        #expect(try identify(controller, 0, MemoryLayout<nvme_id_ctrl>.offset(of: \.acwu)) == 0)
        #expect(
            try identify(NVME_IDENTIFY_CNS_NS.rawValue, 1, MemoryLayout<nvme_id_ns>.offset(of: \.nacwu)) == 127)
        let all = Row(
            name: "as much as NACWU says", first: Self.compare(1, 128), second: Self.write(1, 128),
            ends: (.success, .success), firstData: Self.data(0, 65536), secondData: Self.data(3, 65536))
        #expect(try ends(all, world, io) == all.ends)
        world.expectIdle()
    }

    /// A write that fails had found what it expected; a read that fails had not.
    @Test(arguments: [
        (BlockStatus.writeFault, RawStatus.success, RawStatus(code: 0x280)),
        (.unrecoveredReadError, RawStatus(code: 0x281), failed),
    ]) func aDeviceThatFailsIsTold(_ says: BlockStatus, _ compared: RawStatus, _ written: RawStatus) throws {
        let world = try EngineWorld(device: SteeredDevice(says))
        let row = Row(name: "", first: Self.compare(), second: Self.write(), ends: (compared, written))
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
        #expect(world.answer(to: lone, on: io)?.completion.status == Self.missing)
        let early = world.send(Self.compare(), Self.data(0), on: io)
        let row = Row(name: "the later of two", first: Self.compare(), second: Self.write(), ends: (.success, .success))
        #expect(try ends(row, world, io) == row.ends)
        #expect(world.answer(to: early, on: io)?.completion.status == Self.missing)
        let slow = world.send(Self.compare(), Self.data(9), on: io)
        world.pass(milliseconds: 9_500)
        #expect(world.answer(to: slow, on: io) == nil, "the second half may still be on its way")
        world.pass(milliseconds: 1_000)
        #expect(world.answer(to: slow, on: io)?.completion.status == Self.missing)
        #expect(try world.execute(Self.write(), Self.data(1), on: io).completion.status == Self.missing, "too late")
        let aborted = world.send(Self.compare(), Self.data(9), on: io)
        let abort = RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(aborted) << 16 | 1)
        #expect(try world.execute(abort, on: host.admin).completion.dword0 == 0)
        #expect(world.answer(to: aborted, on: io)?.completion.status == .generic(NVME_SC_ABORT_REQ))
        #expect(try block(world, io) == 9)
        world.expectIdle()
    }
}
