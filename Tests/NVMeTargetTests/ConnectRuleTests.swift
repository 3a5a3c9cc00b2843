import CLibNVMe
import InProcessTransport
import NVMeTarget
import TargetInterface
import Testing

/// The Connect command and its refusals (NVMe over Fabrics, "Connect Command"; the offsets are those of libnvme's
/// `struct nvmf_connect_data` and of the command's dwords).
@Suite struct ConnectRuleTests {
    /// The answer to a Connect: a status, and if that is Connect Invalid Parameters the offset (IPO), with bit 16
    /// where that is one in the data (IATTR).
    struct Rule: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let connect: EngineConnect
        let status: RawStatus
        var dword0: UInt32?

        init(_ name: String, _ connect: EngineConnect, _ status: RawStatus) {
            testDescription = name
            self.connect = connect
            self.status = status
        }

        /// - Parameter mayComeBack: it names something that is away: another time the same command may do.
        init(_ name: String, _ connect: EngineConnect, atData offset: UInt32, mayComeBack: Bool = false) {
            self.init(name, connect, RawStatus(code: 0x182, doNotRetry: !mayComeBack))
            dword0 = offset | 1 << 16
        }

        init(_ name: String, _ connect: EngineConnect, atCommand offset: UInt32) {
            self.init(name, connect, RawStatus(code: 0x182, doNotRetry: true))
            dword0 = offset
        }
    }

    private static func doNotRetry(_ status: nvme_status_field) -> RawStatus {
        RawStatus(code: RawStatus.specific(status).code, doNotRetry: true)
    }

    private static func text(_ range: Range<Int>) -> (inout [UInt8]) -> Void {
        { data in for byte in range { data[byte] = 0x41 } }
    }

    static let adminRules = [
        Rule("another subsystem", EngineConnect(nqn: "nqn.2024-01.io.tercet:none"), atData: 256, mayComeBack: true),
        Rule("no subsystem", EngineConnect(nqn: ""), atData: 256),
        Rule("a subsystem NQN without an end", EngineConnect(change: text(256..<512)), atData: 256),
        Rule("a host NQN without an end", EngineConnect(change: text(512..<768)), atData: 512),
        // SPDK's tools have no name.
        Rule("no host NQN", EngineConnect(hostNQN: ""), .success),
        Rule("a host NQN that is no text", EngineConnect { $0[512] = 0xFF }, atData: 512),
        Rule("the static controller model", EngineConnect(controllerID: 1), atData: 16),
        // SQSIZE is at byte 44 of the command, QID at 42.
        Rule("SQSIZE 0", EngineConnect(sqSize: 0), atCommand: 44),
        Rule("SQSIZE beyond the queue pair's", EngineConnect(sqSize: 32), atCommand: 44),
        Rule("the greatest SQSIZE", EngineConnect(sqSize: 0xFFFF), atCommand: 44),
        Rule("another queue than was greeted", EngineConnect(queueID: 1), atCommand: 42),
        Rule("record format 1", EngineConnect(recordFormat: 1), doNotRetry(NVME_SC_CONNECT_FORMAT)),
        // A host that was granted less than it asked for would not know, and would ping too seldom.
        Rule("a keep-alive timeout too long", EngineConnect(keepAlive: 600_001), .refused(NVME_SC_KAT_INVALID)),
        Rule("the longest keep-alive timeout", EngineConnect(keepAlive: .max), .refused(NVME_SC_KAT_INVALID)),
        Rule(
            "a keep-alive timeout too long for discovery",
            EngineConnect(nqn: TargetWorld.discovery, keepAlive: 600_001),
            .refused(NVME_SC_KAT_INVALID)),
        Rule("the longest that is granted", EngineConnect(keepAlive: 600_000), .success),
        Rule("discovery", EngineConnect(nqn: TargetWorld.discovery), .success),
        Rule("a subsystem", EngineConnect(), .success),
    ]

    @Test(arguments: adminRules) func theAdminQueue(_ rule: Rule) throws {
        let world = try EngineWorld()
        let reply = try world.connect(rule.connect, on: world.open())
        #expect(reply.status == rule.status)
        if let dword0 = rule.dword0 { #expect(reply.dword0 == dword0) }
        world.expectIdle()
    }

    /// I/O queues belong to an enabled controller of the same host. The queue is greeted as queue 1 of the controller.
    static let ioRules: [(name: String, make: @Sendable (UInt16) -> EngineConnect, offset: UInt32)] = [
        ("a queue that was not granted", { EngineConnect(controllerID: $0, queueID: 3) }, 42),
        ("another queue than was greeted", { EngineConnect(controllerID: $0, queueID: 2) }, 42),
        ("no such controller", { _ in EngineConnect(controllerID: 0x7777, queueID: 1) }, 1 << 16 | 16),
        ("any controller", { _ in EngineConnect(controllerID: 0xFFFF, queueID: 1) }, 1 << 16 | 16),
        (
            "another host NQN",
            { EngineConnect(controllerID: $0, queueID: 1, hostNQN: "nqn.2014-08.org.nvmexpress:uuid:other") },
            1 << 16 | 512
        ),
        (
            "another host identifier",
            { EngineConnect(controllerID: $0, queueID: 1, hostID: [UInt8](repeating: 8, count: 16)) }, 1 << 16
        ),
    ]

    @Test func anIOQueue() throws {
        for rule in Self.ioRules {
            let world = try EngineWorld()
            let host = try world.attach(ioQueues: 2)
            let greeted: UInt16 = rule.name == "a queue that was not granted" ? 3 : 1
            let reply = try world.connect(rule.make(host.controllerID), on: world.open(queueID: greeted))
            // A controller that has ended, and queues that are granted anew: another time the host may have them.
            let mayComeBack = ["a queue that was not granted", "no such controller", "any controller"].contains(
                rule.name)
            #expect(reply.status == RawStatus(code: 0x182, doNotRetry: !mayComeBack), "\(rule.name)")
            #expect(reply.dword0 == rule.offset, "\(rule.name)")
            // A queue identifier is used once.
            let again = EngineConnect(controllerID: host.controllerID, queueID: 1)
            #expect(try world.connect(again, on: world.open(queueID: 1)).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
            world.expectIdle()
        }
    }

    @Test func anIOQueueWaitsForTheController() throws {
        let world = try EngineWorld()
        let admin = world.open()
        let id = UInt16(truncatingIfNeeded: try world.connect(EngineConnect(), on: admin).dword0)
        let io = EngineConnect(controllerID: id, queueID: 1)
        #expect(
            try world.connect(io, on: world.open(queueID: 1)).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue,
            "before CC.EN")
        try world.execute(.configure(0x0046_0001), on: admin)
        #expect(try world.connect(io, on: world.open(queueID: 1)).dword0 == 42, "before Number of Queues")
    }

    @Test func theDiscoveryControllerHasNoIOQueues() throws {
        let world = try EngineWorld()
        let id = try world.connect(EngineConnect(nqn: TargetWorld.discovery), on: world.open()).dword0
        let connect = EngineConnect(nqn: TargetWorld.discovery, controllerID: UInt16(id), queueID: 1)
        #expect(try world.connect(connect, on: world.open(queueID: 1)).dword0 == 42)
    }

    @Test(arguments: [0, 1, 512, 1023]) func connectDataThatIsTooShort(length: Int) throws {
        let world = try EngineWorld()
        let connect = EngineConnect()
        let data = InProcessData.fromHost(Array(connect.data.prefix(length)))
        let reply = try world.execute(connect.command, length == 0 ? .none : data, on: world.open()).completion
        #expect(reply.status.code == NVME_SC_SGL_INVALID_DATA.rawValue)
        world.expectIdle()
    }

    @Test func aHostThatIsNotAllowed() throws {
        let world = try EngineWorld()
        let friend = "nqn.2024-01.io.tercet:friend"
        try world.change { $0[EngineWorld.nqn]?.access = .hosts([friend]) }
        let refused = try world.connect(EngineConnect(), on: world.open())
        #expect(refused.status == .specific(NVME_SC_CONNECT_INVALID_HOST), "a reload may name it again")
        #expect(world.events.contains("connectRefused"))
        let reports = world.events.all.count
        #expect(try world.connect(EngineConnect(hostNQN: friend), on: world.open()).isSuccess)
        #expect(!world.events.all.dropFirst(reports).contains { $0.contains("connectRefused") })
    }

    @Test func theSequenceOfCommands() throws {
        let world = try EngineWorld()
        let queue = world.open()
        let keepAlive = RawCommand.keepAlive
        let connect = EngineConnect()
        func code(_ command: RawCommand, _ data: InProcessData = .none, on queue: InProcessQueue) throws -> UInt32 {
            try world.execute(command, data, on: queue).completion.status.code
        }
        let sequence = NVME_SC_CMD_SEQ_ERROR.rawValue
        for command in [
            RawCommand.io(nvme_cmd_read, 0, 8), .getProperty(NVME_REG_VS),
            .configure(0x0046_0001), keepAlive,
        ] { #expect(try code(command, on: queue) == sequence, "before Connect") }
        #expect(try code(connect.command, .fromHost(connect.data), on: queue) == 0)
        #expect(try code(connect.command, .fromHost(connect.data), on: queue) == sequence, "a second time")
        #expect(try code(keepAlive, on: queue) == sequence, "before CC.EN, nothing but properties")
        #expect(try code(.getProperty(NVME_REG_VS), on: queue) == 0)
        #expect(try code(.configure(0x0046_0001), on: queue) == 0)
        #expect(try code(keepAlive, on: queue) == 0)
        let io = try world.attach().io[0]
        #expect(try code(RawCommand.flush(), on: io) == 0)
        #expect(try code(connect.command, .fromHost(connect.data), on: io) == sequence, "on a connected I/O queue")
    }

    @Test func flowControlIsSwitchedOffWhenAsked() throws {
        let world = try EngineWorld()
        // CATTR bit 2: the answer says FFFFh in SQHD (NVMe over Fabrics, "Submission Queue Flow Control").
        #expect(try world.connect(EngineConnect(attributes: 4), on: world.open()).sqHead == 0xFFFF)
        let plain = world.open()
        #expect(try world.connect(EngineConnect(), on: plain).sqHead == 1)
        #expect(try world.execute(.getProperty(NVME_REG_VS), on: plain).completion.sqHead == 2)
    }
}
