import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The answers to the two halves of a fused operation: Compare and Write (NVMe Base, "Fused Operations").
@Suite struct FusedTests {
    private static let failed = RawStatus.generic(NVME_SC_FUSED_FAIL)
    private static let missing = RawStatus.generic(NVME_SC_FUSED_MISSING)
    private static let invalid = RawStatus.refused(NVME_SC_INVALID_FIELD)
    private static let different = RawStatus.media(NVME_SC_COMPARE_FAILED, doNotRetry: true)

    private static func compare(_ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1) -> RawCommand {
        .io(nvme_cmd_compare, lba, blocks, nsid: nsid, flags: 0x41)
    }

    private static func write(_ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1) -> RawCommand {
        .io(nvme_cmd_write, lba, blocks, nsid: nsid, flags: 0x42)
    }

    private static func data(_ value: UInt8, blocks: Int = 1) -> InProcessData { .fromHost(.blocks(blocks, of: value)) }

    /// Two halves on a namespace of zeroes, their data, and what each is answered with.
    private struct Row {
        let name: String
        var halves = [compare(), write()]
        var data = [FusedTests.data(0), FusedTests.data(9)]
        let ends: [RawStatus?]
    }

    private static let outOfRange = RawStatus.refused(NVME_SC_LBA_RANGE)
    private static let wrongLength = RawStatus.refused(NVME_SC_SGL_INVALID_DATA)
    private static let noNamespace = RawStatus.generic(NVME_SC_INVALID_NS)

    private static let refusals = [
        Row(name: "other blocks", halves: [compare(), write(1)], ends: [invalid, failed]),
        Row(name: "more blocks", halves: [compare(), write(0, 2)], ends: [invalid, failed]),
        Row(name: "another namespace", halves: [compare(), write(nsid: 2)], ends: [invalid, failed]),
        Row(name: "a write first", halves: [.io(nvme_cmd_write, flags: 0x41), write()], ends: [invalid, failed]),
        Row(name: "two compares", halves: [compare(), .io(nvme_cmd_compare, flags: 0x42)], ends: [invalid, failed]),
        Row(name: "Disconnect first", halves: [disconnect, write()], ends: [invalid, failed]),
        Row(name: "PRPs first", halves: [.io(nvme_cmd_compare, flags: 0x01), write()], ends: [invalid, failed]),
        Row(name: "PRPs second", halves: [compare(), .io(nvme_cmd_write, flags: 0x02)], ends: [failed, invalid]),
        Row(name: "no namespace", halves: [compare(nsid: 3), write(nsid: 3)], ends: [noNamespace, failed]),
        Row(name: "beyond the end", halves: [compare(8192), write(8192)], ends: [outOfRange, failed]),
        Row(
            name: "more than NACWU", halves: [compare(0, 129), write(0, 129)],
            data: [data(0, blocks: 129), data(9, blocks: 129)], ends: [invalid, failed]),
        Row(name: "the first's length", data: [half, data(9)], ends: [wrongLength, failed]),
        Row(name: "the second's length", data: [data(0), data(0, blocks: 2)], ends: [failed, wrongLength]),
        Row(name: "other contents", data: [data(1), data(9)], ends: [different, failed]),
    ]
    private static let disconnect = RawCommand(opcode: 0x7F, nsid: 8, flags: 0x41)
    private static let half = InProcessData.fromHost([UInt8](repeating: 0, count: 256))

    private func expect(_ row: Row, _ host: EngineHost) {
        let ends = zip(row.halves, row.data).map { host.send($0, $1) }.map { host.status(of: $0) }
        #expect(ends == row.ends, "\(row.name)")
    }

    @Test func refusalsWriteNothing() throws {
        let host = try EngineWorld().attach()
        for row in Self.refusals {
            expect(row, host)
            #expect(try host.read()[0] == 0, "\(row.name)")
        }
    }

    @Test func whatIsAsExpectedIsReplaced() throws {
        let (world, host) = try EngineWorld().attached()
        expect(Row(name: "a block", ends: [.success, .success]), host)
        #expect(try host.read()[0] == 9)
        expect(Row(name: "again", ends: [Self.different, Self.failed]), host)
        #expect(try host.read(blocks: 2) == [UInt8].blocks(of: 9) + [UInt8].blocks(of: 0))
        // NACWU says 64 KiB of 512 bytes, 0-based; ACWU nothing of its own.
        let controller = try world.identify(on: host.admin)
        #expect(controller.number(MemoryLayout<nvme_id_ctrl>.offset(of: \.fuses)!, 2) == 1)
        #expect(controller.number(MemoryLayout<nvme_id_ctrl>.offset(of: \.acwu)!, 2) == 0)
        let namespace = try world.identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: host.admin)
        #expect(namespace.number(MemoryLayout<nvme_id_ns>.offset(of: \.nacwu)!, 2) == 127)
        let all = Row(
            name: "as much as NACWU says", halves: [Self.compare(1, 128), Self.write(1, 128)],
            data: [Self.data(0, blocks: 128), Self.data(3, blocks: 128)], ends: [.success, .success])
        expect(all, host)
    }

    /// A write that fails had found what it expected; a read that fails had not.
    @Test(arguments: [
        (BlockStatus.writeFault, RawStatus.success, RawStatus(code: 0x280)),
        (.unrecoveredReadError, RawStatus(code: 0x281), failed),
    ]) func aDeviceThatFailsIsTold(_ says: BlockStatus, _ compared: RawStatus, _ written: RawStatus) throws {
        let world = try EngineWorld(device: SimulatedDisk.instant(failing: says))
        expect(Row(name: "\(says)", ends: [compared, written]), try world.attach())
    }

    /// A first half waits for the next command of its queue, for 10 s.
    @Test func aHalfWithoutTheOther() throws {
        let (world, host) = try EngineWorld().attached()
        #expect(try host.execute(Self.write(), Self.data(1)) == Self.missing, "a second half")
        let lone = host.send(Self.compare(), Self.data(0))
        #expect(host.answer(to: lone) == nil, "it waits")
        #expect(try host.read()[0] == 0, "another command behind it is done")
        #expect(host.status(of: lone) == Self.missing)
        let early = host.send(Self.compare(), Self.data(0))
        expect(Row(name: "the later of two", ends: [.success, .success]), host)
        #expect(host.status(of: early) == Self.missing)
        let slow = host.send(Self.compare(), Self.data(9))
        world.pass(milliseconds: 9_500)
        #expect(host.answer(to: slow) == nil, "the second half may still be on its way")
        world.pass(milliseconds: 1_000)
        #expect(host.status(of: slow) == Self.missing)
        #expect(try host.execute(Self.write(), Self.data(1)) == Self.missing, "too late")
        let aborted = host.send(Self.compare(), Self.data(9))
        #expect(try host.manage(.abort(aborted, sq: 1)).dword0 == 0)
        #expect(host.status(of: aborted) == .generic(NVME_SC_ABORT_REQ))
        #expect(try host.read()[0] == 9)
    }

    /// As many first halves as there are receive buffers.
    @Test func halvesDoNotKeepOthersOut() throws {
        let world = try EngineWorld()
        let queues = try (0..<16).flatMap { try world.attach(ioQueues: 8, host: .init($0)).io }
        let audit = try world.audit()
        for queue in queues { world.send(Self.compare(), .inCapsule(.blocks(of: 0)), on: queue) }
        world.pass(milliseconds: 10)
        audit.witness.expectServed("while the halves wait")
        audit.end("after the halves were answered", within: 11_000)
    }

    @Test func aHalfGoesWithAReset() throws {
        let (world, host) = try EngineWorld().attached()
        host.send(Self.compare(), Self.data(0))
        world.settle()
        #expect(try host.manage(.configure(0)).isSuccess)
        #expect(world.run(milliseconds: 1000) { host.io[0].isClosed })
    }

    /// Halves that hold memory while they wait for more would wait for each other.
    @Test func allGetOnWhereMemoryIsScarce() throws {
        let world = try EngineWorld(
            .small { ($0.dataMemory, $0.controlMemory, $0.maxTransferSize) = (64 << 10, 16 << 10, 32 << 10) })
        let hosts = try (0..<6).map { try world.attach(host: .init($0)) }
        world.isFull = true
        let sent = (0..<60).flatMap { turn in
            [Self.compare(UInt64(turn) * 16, 16), Self.write(UInt64(turn) * 16, 16)].map {
                (hosts[turn % 6], hosts[turn % 6].send($0, Self.data(0, blocks: 16)))
            }
        }
        world.settle()
        #expect(world.use.awaitsBuffer)
        world.isFull = false
        for (host, id) in sent { #expect(host.status(of: id) == .success) }
    }

    // MARK: On a fabric

    /// The shape of the data of the two halves: from one place, from several, and in the capsule; so many blocks.
    static let shapes: [(first: Int?, second: Int?, blocks: Int)] = [(1, 1, 16), (1, 4, 16), (nil, 1, 8), (4, 4, 16)]

    @Test func bothHalvesFetchTheirData() throws {
        let (world, host) = try TargetWorld().attached()
        let queue = host.io[0]
        func send(_ command: RawCommand, _ bytes: [UInt8], places: Int?) -> UInt16 {
            guard let places else { return world.send(command, .inCapsule(bytes), on: queue) }
            queue.pieces = Array(repeating: bytes.count / places, count: places - 1)
            return world.send(command, .fromHost(bytes), on: queue)
        }
        var content = [UInt8].blocks(16, of: 0)
        for round in 0..<8 {
            let (first, second, blocks) = Self.shapes[round % 4]
            let compared = send(Self.compare(32, blocks), Array(content.prefix(512 * blocks)), places: first)
            let replacement = [UInt8].blocks(blocks, of: UInt8(round + 1))
            let written = send(Self.write(32, blocks), replacement, places: second)
            for id in [compared, written] { #expect(host.status(of: id) == .success, "round \(round)") }
            content.replaceSubrange(0..<512 * blocks, with: replacement)
            #expect(try host.read(32, blocks: 16) == content, "round \(round)")
        }
    }

    /// Hosts on two reactors count up; each success is one.
    @Test(arguments: [false, true]) func manyAtOnceExcludeEachOther(isRAM: Bool) throws {
        let world = try isRAM ? TargetWorld(groups: 2) : TargetWorld.onDisk(groups: 2).0
        let hosts = try (0..<4).map { _ in try world.attach() }
        var counter: UInt8 = 0
        for round in 0..<20 {
            let sent = hosts.enumerated().map { number, host in
                let value = UInt8(round * 8 + number + 1)
                let first = host.send(Self.compare(9), .inCapsule(.blocks(of: counter)))
                return (host, first, host.send(Self.write(9), .inCapsule(.blocks(of: value))), value)
            }
            var winners: [UInt8] = []
            for (host, first, second, value) in sent {
                let ends = (host.status(of: first), host.status(of: second))
                #expect(ends == (.success, .success) || ends == (Self.different, Self.failed))
                if ends.1 == .success { winners.append(value) }
            }
            #expect(winners.count == 1, "round \(round)")
            counter = winners.first ?? 0
            #expect(try hosts[0].read(9) == .blocks(of: counter))
        }
    }
}
