import CLibNVMe
import InProcessTransport
import NVMeSpec
import NVMeTarget
import Testing

/// The answers to commands: one row for each rule (NVMe Base, NVM Command Set; numbers from libnvme's headers).
@Suite struct CommandRuleTests {
    /// A command on the I/O queue of a namespace of 8192 blocks of 512 bytes, or on the admin queue.
    struct Rule: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let command: RawCommand
        let data: InProcessData
        let status: RawStatus
        var isAdmin = false

        init(_ name: String, _ command: RawCommand, _ data: InProcessData, _ status: RawStatus) {
            (testDescription, self.command, self.data, self.status) = (name, command, data, status)
        }

        init(_ name: String, _ command: RawCommand, _ status: RawStatus, isAdmin: Bool = false) {
            self.init(name, command, .none, status)
            self.isAdmin = isAdmin
        }
    }

    private static let transfers = [nvme_cmd_write, nvme_cmd_read, nvme_cmd_compare].map(\.rawValue)
    private static let ranged = transfers + [nvme_cmd_write_zeroes, nvme_cmd_verify].map(\.rawValue)

    private static func refused(_ status: nvme_status_field) -> RawStatus { .refused(status) }

    private static func io(_ opcode: UInt32, _ lba: UInt64, _ blocks: Int, control: UInt32 = 0) -> RawCommand {
        RawCommand(opcode: opcode, nsid: 1).range(lba, blocks, control: control)
    }

    /// Data as the command's direction wants it.
    private static func data(_ opcode: UInt32, _ bytes: Int) -> InProcessData {
        bytes == 0 ? .none : opcode & 3 == 1 ? .fromHost([UInt8](repeating: 0, count: bytes)) : .toHost(bytes)
    }

    static let ranges: [Rule] = ranged.flatMap { opcode in
        [8185, 8192, 1 << 32, UInt64.max, UInt64.max - 7, 1 << 55, 1 << 63].map { lba in
            Rule(
                "opcode \(opcode), 8 blocks at \(lba)", io(opcode, lba, 8), data(opcode, 4096),
                refused(NVME_SC_LBA_RANGE))
        } + [
            Rule("opcode \(opcode), the last blocks", io(opcode, 8184, 8), data(opcode, 4096), .success)
        ]
    }

    static let lengths: [Rule] = transfers.flatMap { opcode in
        [0, 1, 511, 513, 1024, 0xF_FFFF].map { bytes in
            Rule(
                "opcode \(opcode), a block in \(bytes) bytes", io(opcode, 0, 1), data(opcode, bytes),
                refused(NVME_SC_SGL_INVALID_DATA))
        } + [
            Rule(
                "opcode \(opcode), beyond MDTS", io(opcode, 0, 4096), data(opcode, 4096 * 512),
                refused(NVME_SC_INVALID_FIELD))
        ]
    }

    static let namespaces: [Rule] = [0, 2, 16, 17, 0x1_0000, 0xFFFF_FFFE, 0xFFFF_FFFF].flatMap { (nsid: UInt32) in
        ranged.map { opcode in
            Rule(
                "opcode \(opcode), namespace \(nsid)", io(opcode, 0, 1).with(1, nsid), data(opcode, 512),
                // A reload may bring those back that can be.
                (1...16).contains(nsid) ? .generic(NVME_SC_INVALID_NS) : refused(NVME_SC_INVALID_NS))
        }
    }

    /// A rule for each number but those that mean a command.
    private static func unknown(
        but known: Set<UInt32>, _ name: String, isAdmin: Bool = true, _ make: (UInt32) -> RawCommand
    ) -> [Rule] {
        (0...0xFF).filter { !known.contains($0) }.map {
            Rule("\(name) \($0)", make($0), refused(NVME_SC_INVALID_OPCODE), isAdmin: isAdmin)
        }
    }

    static let opcodes: [Rule] =
        unknown(
            but: [0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0C, 0x0D, 0x0E, 0x11, 0x15, 0x7F], "I/O opcode", isAdmin: false
        ) { RawCommand(opcode: $0, nsid: 1) }
        + unknown(but: [0x02, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x18, 0x7F, 0xC0], "admin opcode") {
            RawCommand(opcode: $0)
        }
        + unknown(but: [0x00, 0x01, 0x04, 0x05, 0x06, 0x08], "fabrics type") { RawCommand(opcode: 0x7F, nsid: $0) }

    private static func deallocate(
        _ name: String, _ ranges: [(lba: UInt64, blocks: UInt32)], count: Int? = nil, _ status: RawStatus
    ) -> Rule {
        let data = ranges.flatMap {
            RawSGL.little(0, 4) + RawSGL.little(UInt64($0.blocks), 4) + RawSGL.little($0.lba, 8)
        }
        let command = RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: 1).with(10, UInt32((count ?? ranges.count) - 1))
        return Rule(name, command.with(11, 4), .fromHost(data), status)
    }

    /// PRPs, a reserved PSDT, a reserved FUSE; and no admin command is fused. PSDT 10b is an SGL as well.
    static let flags: [Rule] =
        [false, true].flatMap { isAdmin in
            ([0x00, 0xC0, 0x43] + (isAdmin ? [0x41, 0x42] : [])).map { flags in
                Rule(
                    "flags \(flags)", RawCommand(opcode: 0, nsid: 1, flags: flags), refused(NVME_SC_INVALID_FIELD),
                    isAdmin: isAdmin)
            }
        } + [
            Rule(
                "flags 80h", RawCommand(opcode: 1, nsid: 1, flags: 0x80).range(0, 1),
                .fromHost([UInt8](repeating: 0, count: 512)), .success)
        ]

    static let others: [Rule] = [
        deallocate("two ranges", [(0, 8), (64, 8)], .success),
        deallocate("an empty range", [(0, 0)], .success),
        deallocate("256 ranges", Array(repeating: (0, 8), count: 256), .success),
        deallocate("a range beyond the end", [(8192, 1)], refused(NVME_SC_LBA_RANGE)),
        deallocate("a range that overflows", [(.max, 2)], refused(NVME_SC_LBA_RANGE)),
        deallocate("the longest range", [(0, .max)], refused(NVME_SC_LBA_RANGE)),
        deallocate("fewer ranges than are named", [(0, 8)], count: 2, refused(NVME_SC_SGL_INVALID_DATA)),
        Rule(
            "PRCHK without protection information", io(2, 0, 1, control: 1 << 26), .toHost(512),
            RawStatus(code: RawStatus.specific(NVME_SC_INVALID_PI).code, doNotRetry: true)),
        Rule(
            "PRACT without protection information", io(2, 0, 1, control: 1 << 29), .toHost(512),
            RawStatus(code: RawStatus.specific(NVME_SC_INVALID_PI).code, doNotRetry: true)),
        Rule("a second half alone", RawCommand(opcode: 1, nsid: 1, flags: 0x42), .generic(NVME_SC_FUSED_MISSING)),
        Rule(
            "a read into the capsule", io(2, 0, 1), .inCapsule([UInt8](repeating: 0, count: 512)),
            refused(NVME_SC_SGL_INVALID_TYPE)),
        Rule("a write from the capsule", io(1, 0, 1), .inCapsule([UInt8](repeating: 0, count: 512)), .success),
        Rule(
            "a data pointer that the transport does not take", io(1, 0, 1), .invalid(.sglOffsetInvalid),
            refused(NVME_SC_SGL_INVALID_OFFSET)),
    ]

    @Test(arguments: [ranges, lengths, namespaces, opcodes, flags, others]) func rules(_ rules: [Rule]) throws {
        let world = try EngineWorld()
        let host = try world.attach()
        for rule in rules {
            let reply = try world.execute(rule.command, rule.data, on: rule.isAdmin ? host.admin : host.io[0])
            #expect(reply.completion.status == rule.status, "\(rule.testDescription)")
        }
        world.expectIdle()
        #expect(!host.admin.isClosed && !host.io[0].isClosed)
    }

    @Test func whatIsWrittenIsRead() throws {
        let world = try EngineWorld()
        let io = try world.attach().io[0]
        let pattern = (0..<4096).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 512) }
        try world.execute(Self.io(1, 16, 8), .fromHost(pattern), on: io)
        #expect(try world.execute(Self.io(2, 16, 8), .toHost(4096), on: io).data == pattern)
        try world.execute(Self.io(1, 24, 1), .inCapsule(Array(pattern.prefix(512))), on: io)
        #expect(try world.execute(Self.io(2, 24, 1), .toHost(512), on: io).data == Array(pattern.prefix(512)))
        #expect(try world.execute(Self.io(5, 16, 8), .fromHost(pattern), on: io).completion.isSuccess)
        let differs = try world.execute(Self.io(5, 17, 7), .fromHost(Array(pattern.prefix(3584))), on: io)
        #expect(differs.completion.status.code == NVME_SCT_MEDIA.rawValue << 8 | NVME_SC_COMPARE_FAILED.rawValue)
        try world.execute(Self.io(8, 16, 4), on: io)
        #expect(try world.execute(Self.io(2, 16, 4), .toHost(2048), on: io).data.allSatisfy { $0 == 0 })
    }

    /// Abort withdraws a fetch that waits for room, and an Asynchronous Event Request; and finds nothing else to withdraw.
    @Test func abort() throws {
        let world = try EngineWorld()
        let host = try world.attach()
        let event = world.send(.event, on: host.admin)
        #expect(try host.manage(.abort(event, sq: 0)).dword0 & 1 == 0)
        #expect(world.status(of: event, on: host.admin) == .generic(NVME_SC_ABORT_REQ))
        #expect(try host.manage(.abort(0x7777, sq: 1)).dword0 & 1 == 1, "there is no such command")
        world.isFull = true
        let write = world.send(Self.io(1, 0, 1), .fromHost([UInt8](repeating: 9, count: 512)), on: host.io[0])
        world.settle()
        let id = world.send(.abort(write, sq: 1), on: host.admin)
        world.settle()
        world.isFull = false
        #expect(world.answer(to: id, on: host.admin)?.completion.dword0 == 0, "it was aborted")
        #expect(world.status(of: write, on: host.io[0]) == .generic(NVME_SC_ABORT_REQ))
        #expect(try world.execute(Self.io(2, 0, 1), .toHost(512), on: host.io[0]).data.allSatisfy { $0 == 0 })
        world.expectIdle()
    }

    /// A host that never sends Connect is not waited for.
    @Test func aConnectionWithoutConnect() throws {
        let world = try EngineWorld()
        let queue = world.open()
        world.pass(milliseconds: 29_800)
        #expect(!queue.isClosed)
        world.pass(milliseconds: 400)
        #expect(queue.isClosed)
        #expect(world.events.contains("the host has not sent Connect"))
    }
}
