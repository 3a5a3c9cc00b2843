import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeSpec
import Simulation
import TargetInterface
import Testing

/// The answers to commands: one row for each rule (NVMe Base, NVM Command Set; numbers from libnvme's headers).
@Suite struct CommandRuleTests {
    /// A command on the I/O queue of a namespace of 8192 blocks of 512 bytes, or on the admin queue.
    struct Rule: Sendable {
        let name: String
        let command: RawCommand
        let data: InProcessData
        let status: RawStatus
        var isAdmin = false

        init(_ name: String, _ command: RawCommand, _ data: InProcessData, _ status: RawStatus) {
            (self.name, self.command, self.data, self.status) = (name, command, data, status)
        }

        init(_ name: String, _ command: RawCommand, _ status: RawStatus, isAdmin: Bool = false) {
            self.init(name, command, .none, status)
            self.isAdmin = isAdmin
        }
    }

    private static let transfers = [nvme_cmd_write, nvme_cmd_read, nvme_cmd_compare]
    private static let ranged = transfers + [nvme_cmd_write_zeroes, nvme_cmd_verify]

    /// Data as the command's direction wants it.
    private static func data(_ opcode: nvme_io_opcode, _ bytes: Int) -> InProcessData {
        let zeroes = [UInt8](repeating: 0, count: bytes)
        return bytes == 0 ? .none : opcode.rawValue & 3 == 1 ? .fromHost(zeroes) : .toHost(bytes)
    }

    private static let block = InProcessData.fromHost(.blocks(of: 0))
    private static let inCapsule = InProcessData.inCapsule(.blocks(of: 0))

    static let ranges: [Rule] = ranged.flatMap { opcode in
        [8185, 8192, 1 << 32, UInt64.max, UInt64.max - 7, 1 << 55, 1 << 63].map {
            Rule("\(opcode), 8 blocks at \($0)", .io(opcode, $0, 8), data(opcode, 4096), .refused(NVME_SC_LBA_RANGE))
        } + [Rule("\(opcode), the last blocks", .io(opcode, 8184, 8), data(opcode, 4096), .success)]
    }

    static let lengths: [Rule] = transfers.flatMap { opcode in
        [0, 1, 511, 513, 1024, 0xF_FFFF].map { bytes in
            Rule("\(opcode), \(bytes) bytes", .io(opcode), data(opcode, bytes), .refused(NVME_SC_SGL_INVALID_DATA))
        } + [
            Rule("\(opcode), beyond MDTS", .io(opcode, 0, 4096), data(opcode, 2 << 20), .refused(NVME_SC_INVALID_FIELD))
        ]
    }

    static let namespaces: [Rule] = [0, 2, 16, 17, 0x1_0000, 0xFFFF_FFFE, 0xFFFF_FFFF].flatMap {
        (nsid: UInt32) -> [Rule] in
        // A reload may bring those back that can be.
        let status = RawStatus(code: NVME_SC_INVALID_NS.rawValue, doNotRetry: !(1...16).contains(nsid))
        return ranged.map { Rule("\($0), namespace \(nsid)", .io($0, nsid: nsid), data($0, 512), status) }
    }

    /// A rule for each number but those that mean a command.
    private static func unknown(
        but known: Set<UInt32>, _ name: String, isAdmin: Bool = true, _ make: (UInt32) -> RawCommand
    ) -> [Rule] {
        (0...0xFF).filter { !known.contains($0) }.map {
            Rule("\(name) \($0)", make($0), .refused(NVME_SC_INVALID_OPCODE), isAdmin: isAdmin)
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
        let data = ranges.flatMap { RawCommand.range($0.lba, $0.blocks) }
        return Rule(name, .deallocate(ranges: count ?? ranges.count), .fromHost(data), status)
    }

    /// PRPs, a reserved PSDT, a reserved FUSE; and no admin command is fused. PSDT 10b is an SGL as well.
    static let flags: [Rule] =
        [false, true].flatMap { isAdmin in
            ([0x00, 0xC0, 0x43] + (isAdmin ? [0x41, 0x42] : [])).map { (flags: UInt8) in
                let command = RawCommand(opcode: 0, nsid: 1, flags: flags)
                return Rule("flags \(flags)", command, .refused(NVME_SC_INVALID_FIELD), isAdmin: isAdmin)
            }
        } + [Rule("flags 80h", .io(nvme_cmd_write, flags: 0x80), block, .success)]

    static let others: [Rule] = [
        deallocate("two ranges", [(0, 8), (64, 8)], .success),
        deallocate("an empty range", [(0, 0)], .success),
        deallocate("256 ranges", Array(repeating: (0, 8), count: 256), .success),
        deallocate("a range beyond the end", [(8192, 1)], .refused(NVME_SC_LBA_RANGE)),
        deallocate("a range that overflows", [(.max, 2)], .refused(NVME_SC_LBA_RANGE)),
        deallocate("the longest range", [(0, .max)], .refused(NVME_SC_LBA_RANGE)),
        deallocate("fewer ranges than are named", [(0, 8)], count: 2, .refused(NVME_SC_SGL_INVALID_DATA)),
        Rule("PRCHK without protection information", protected(1 << 26), .toHost(512), noProtection),
        Rule("PRACT without protection information", protected(1 << 29), .toHost(512), noProtection),
        Rule("a second half alone", .io(nvme_cmd_write, flags: 0x42), .generic(NVME_SC_FUSED_MISSING)),
        Rule("a read into the capsule", .io(nvme_cmd_read), inCapsule, .refused(NVME_SC_SGL_INVALID_TYPE)),
        Rule("a write from the capsule", .io(nvme_cmd_write), inCapsule, .success),
        wrong("a write cache where there is none", .getFeature(NVME_FEAT_FID_VOLATILE_WC)),
        wrong("an unknown structure", .identify().with(10, 0xEE)),
        wrong("a namespace's SMART log", .getLog(NVME_LOG_LID_SMART, bytes: 512, nsid: 1), noSuchLog),
        wrong("65536 queues", .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0xFFFF_FFFF)),
        Rule(
            "a data pointer that the transport does not take", .io(nvme_cmd_write), .invalid(.sglOffsetInvalid),
            .refused(NVME_SC_SGL_INVALID_OFFSET)),
    ]

    private static func wrong(
        _ name: String, _ command: RawCommand, _ status: RawStatus = .refused(NVME_SC_INVALID_FIELD)
    ) -> Rule { Rule(name, command, status, isAdmin: true) }

    private static let noSuchLog = RawStatus.specific(NVME_SC_INVALID_LOG_PAGE, doNotRetry: true)
    private static let noProtection = RawStatus.specific(NVME_SC_INVALID_PI, doNotRetry: true)
    private static func protected(_ control: UInt32) -> RawCommand { .io(nvme_cmd_read).range(0, 1, control: control) }

    /// Rules of a kind. Tests print their arguments, so it is the kind's name that is one.
    enum Kind: String, CaseIterable {
        case ranges, lengths, namespaces, opcodes, flags, others

        var rules: [Rule] {
            switch self {
            case .ranges: CommandRuleTests.ranges
            case .lengths: CommandRuleTests.lengths
            case .namespaces: CommandRuleTests.namespaces
            case .opcodes: CommandRuleTests.opcodes
            case .flags: CommandRuleTests.flags
            case .others: CommandRuleTests.others
            }
        }
    }

    @Test(arguments: Kind.allCases) func rules(_ kind: Kind) throws {
        let (world, host) = try EngineWorld().attached()
        for rule in kind.rules {
            let reply = try world.execute(rule.command, rule.data, on: rule.isAdmin ? host.admin : host.io[0])
            #expect(reply.status == rule.status, "\(rule.name)")
        }
        #expect(host.isThere)
    }

    @Test func whatIsWrittenIsRead() throws {
        let host = try EngineWorld().attach()
        let pattern = (0..<4096).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 512) }
        try host.execute(.io(nvme_cmd_write, 16, 8), .fromHost(pattern))
        #expect(try host.read(16, blocks: 8) == pattern)
        try host.execute(.io(nvme_cmd_write, 24), .inCapsule(Array(pattern.prefix(512))))
        #expect(try host.read(24) == Array(pattern.prefix(512)))
        #expect(try host.execute(.io(nvme_cmd_compare, 16, 8), .fromHost(pattern)) == .success)
        let differs = try host.execute(.io(nvme_cmd_compare, 17, 7), .fromHost(Array(pattern.prefix(3584))))
        #expect(differs.code == RawStatus.media(NVME_SC_COMPARE_FAILED).code)
        try host.execute(.io(nvme_cmd_write_zeroes, 16, 4))
        #expect(try host.read(16, blocks: 4).allSatisfy { $0 == 0 })
    }

    @Test func aHostThatNeverSendsConnectIsNotWaitedFor() throws {
        let world = try EngineWorld()
        let queue = world.open()
        world.pass(milliseconds: 29_800)
        #expect(!queue.isClosed)
        world.pass(milliseconds: 400)
        #expect(queue.isClosed)
        #expect(world.events.contains("the host has not sent Connect"))
    }

    // MARK: Do Not Retry

    // It is said where the command itself is wrong, and never where a reload, a restart, a drain or a shortage is the cause:
    // Linux (6.12) removes a controller, and the block device below a mounted file system with it, that answers a reconnect so.

    /// Connect Invalid Parameters, and the host may try again.
    private static let away = RawStatus(code: 0x182)

    /// A controller that has ended while its host opens its queues: the host comes back with a new one.
    @Test func queuesOfAControllerThatHasEndedMayBeOpenedAnew() throws {
        let (world, host) = try EngineWorld().attached()
        let queue = world.open(queueID: 2)
        host.admin.disconnect()
        world.pass(milliseconds: 50)
        let connect = RawConnect(controllerID: host.controllerID, queueID: 2)
        #expect(try world.connect(connect, on: queue).status == Self.away)
    }

    /// Shortages, and devices that are away; and what a device finds wrong with a command.
    @Test(
        arguments: [
            (BlockStatus.capacityExceeded, RawStatus.generic(NVME_SC_CAP_EXCEEDED)),
            (.deviceGone, .generic(NVME_SC_NS_NOT_READY)),
            (.writeFault, .media(NVME_SC_WRITE_FAULT)),
            (.aborted, .generic(NVME_SC_ABORT_REQ)),
            (.outOfRange, .refused(NVME_SC_LBA_RANGE)),
            (.unsupported, .refused(NVME_SC_INVALID_OPCODE)),
            (.writeProtected, .refused(NVME_SC_NS_WRITE_PROTECTED)),
        ] as [(BlockStatus, RawStatus)])
    func whatADeviceSaysIsJudged(_ says: BlockStatus, _ expected: RawStatus) throws {
        let world = try EngineWorld(device: SimulatedDisk.instant(failing: says))
        #expect(try world.attach().write(1, blocks: 8) == expected)
    }
}
