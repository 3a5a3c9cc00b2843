import CLibNVMe
import InProcessTransport
import TargetInterface
import Testing

/// The Connect command and its refusals (NVMe over Fabrics, "Connect Command"; the offsets are those of libnvme's
/// `struct nvmf_connect_data` and of the command's dwords).
@Suite struct ConnectRuleTests {
    /// The answer to a Connect: a status and, for Connect Invalid Parameters, IPO with IATTR (bit 16: an offset in the data).
    struct Rule: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let connect: RawConnect
        let status: RawStatus
        var dword0: UInt32?

        init(_ name: String, _ connect: RawConnect, _ status: RawStatus) {
            (testDescription, self.connect, self.status) = (name, connect, status)
        }

        /// - Parameter mayComeBack: it names something that is away: another time the same command may do.
        init(_ name: String, _ connect: RawConnect, atCommand offset: UInt32, mayComeBack: Bool = false) {
            self.init(name, connect, RawStatus(code: 0x182, doNotRetry: !mayComeBack))
            dword0 = offset
        }

        init(_ name: String, _ connect: RawConnect, atData offset: UInt32, mayComeBack: Bool = false) {
            self.init(name, connect, atCommand: offset | 1 << 16, mayComeBack: mayComeBack)
        }
    }

    private let world: EngineWorld
    init() throws { world = try EngineWorld() }

    private static func text(_ range: Range<Int>) -> (inout [UInt8]) -> Void {
        { data in for byte in range { data[byte] = 0x41 } }
    }

    private static let tooLong = RawStatus.refused(NVME_SC_KAT_INVALID)

    static let adminRules = [
        Rule("another subsystem", RawConnect(nqn: "nqn.2024-01.io.tercet:none"), atData: 256, mayComeBack: true),
        Rule("no subsystem", RawConnect(nqn: ""), atData: 256),
        Rule("a subsystem NQN without an end", RawConnect(change: text(256..<512)), atData: 256),
        Rule("a host NQN without an end", RawConnect(change: text(512..<768)), atData: 512),
        // SPDK's tools have no name.
        Rule("no host NQN", RawConnect(host: .init(nqn: "")), .success),
        Rule("a host NQN that is no text", RawConnect { $0[512] = 0xFF }, atData: 512),
        Rule("the static controller model", RawConnect(controllerID: 1), atData: 16),
        // SQSIZE is at byte 44 of the command, QID at 42.
        Rule("SQSIZE 0", RawConnect(sqSize: 0), atCommand: 44),
        Rule("SQSIZE beyond the queue pair's", RawConnect(sqSize: 32), atCommand: 44),
        Rule("the greatest SQSIZE", RawConnect(sqSize: 0xFFFF), atCommand: 44),
        Rule("another queue than was greeted", RawConnect(queueID: 1), atCommand: 42),
        Rule("record format 1", RawConnect(recordFormat: 1), .specific(NVME_SC_CONNECT_FORMAT, doNotRetry: true)),
        // A host that was granted less than it asked for would not know, and would ping too seldom.
        Rule("a keep-alive timeout too long", RawConnect(keepAlive: 600_001), tooLong),
        Rule("the longest keep-alive timeout", RawConnect(keepAlive: .max), tooLong),
        Rule("one too long for discovery", RawConnect(nqn: EngineWorld.discovery, keepAlive: 600_001), tooLong),
        Rule("the longest that is granted", RawConnect(keepAlive: 600_000), .success),
        Rule("discovery", RawConnect(nqn: EngineWorld.discovery), .success),
        Rule("a subsystem", RawConnect(), .success),
    ]

    static let shortData = [0, 1, 512, 1023].map { length in
        Rule("\(length) bytes", RawConnect { $0.removeSubrange(length...) }, .refused(NVME_SC_SGL_INVALID_DATA))
    }

    @Test(arguments: adminRules + shortData) func theAdminQueue(_ rule: Rule) throws {
        let reply = try world.connect(rule.connect, on: world.open())
        #expect(reply.status == rule.status)
        if let dword0 = rule.dword0 { #expect(reply.dword0 == dword0) }
        // A host may say nothing of it: the log does, also where a name could not be read.
        #expect(world.events.contains("connectRefused") == (rule.status != .success), "\(world.events.all)")
    }

    /// I/O queues belong to an enabled controller of the same host. The queue is greeted as queue 1 of the controller, unless
    /// the row says otherwise. A controller that has ended, and queues that are granted anew: another time the host may have them.
    static let ioRules: [(greeted: UInt16, rule: @Sendable (_ controllerID: UInt16) -> Rule)] = [
        (3, { Rule("not granted", RawConnect(controllerID: $0, queueID: 3), atCommand: 42, mayComeBack: true) }),
        (1, { Rule("another queue than was greeted", RawConnect(controllerID: $0, queueID: 2), atCommand: 42) }),
        (1, { Rule("discovery", RawConnect(nqn: EngineWorld.discovery, controllerID: $0, queueID: 1), atCommand: 42) }),
        (1, { _ in Rule("no such controller", io(0x7777), atData: 16, mayComeBack: true) }),
        (1, { _ in Rule("any controller", io(0xFFFF), atData: 16, mayComeBack: true) }),
        (1, { Rule("another host NQN", io($0, host: .init(nqn: "\(HostName.plain)-other")), atData: 512) }),
        (1, { Rule("another host identifier", io($0, host: .init(id: 8)), atData: 0) }),
    ]

    private static func io(_ controllerID: UInt16, host: HostName = .init()) -> RawConnect {
        RawConnect(controllerID: controllerID, queueID: 1, host: host)
    }

    @Test func anIOQueue() throws {
        for (greeted, make) in Self.ioRules {
            let (world, host) = try EngineWorld().attached(ioQueues: 2)
            let rule = make(host.controllerID)
            let reply = try world.connect(rule.connect, on: world.open(queueID: greeted))
            #expect(reply.status == rule.status && reply.dword0 == rule.dword0, "\(rule.testDescription)")
            // A queue identifier is used once.
            let again = try world.connect(Self.io(host.controllerID), on: world.open(queueID: 1))
            #expect(again.status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        }
    }

    @Test func theSequenceOfCommands() throws {
        let queue = world.open()
        func code(_ command: RawCommand, on queue: InProcessQueue) throws -> UInt32 {
            try world.execute(command, on: queue).status.code
        }
        let sequence = NVME_SC_CMD_SEQ_ERROR.rawValue
        for command in [.io(nvme_cmd_read, 0, 8), .getProperty(NVME_REG_VS), RawCommand.enable, .keepAlive] {
            #expect(try code(command, on: queue) == sequence, "before Connect")
        }
        let id = UInt16(truncatingIfNeeded: try world.connect(RawConnect(), on: queue).dword0)
        #expect(try world.connect(RawConnect(), on: queue).status.code == sequence, "a second time")
        #expect(try code(.keepAlive, on: queue) == sequence, "before CC.EN, nothing but properties")
        #expect(try code(.getProperty(NVME_REG_VS), on: queue) == 0)
        let early = try world.connect(Self.io(id), on: world.open(queueID: 1))
        #expect(early.status.code == sequence, "an I/O queue before CC.EN")
        for command in [RawCommand.enable, .keepAlive] { #expect(try code(command, on: queue) == 0) }
        #expect(try world.connect(Self.io(id), on: world.open(queueID: 1)).dword0 == 42, "before Number of Queues")
        let io = try world.attach().io[0]
        #expect(try code(RawCommand.flush(), on: io) == 0)
        #expect(try world.connect(RawConnect(), on: io).status.code == sequence, "on a connected I/O queue")
    }

    @Test func flowControlIsSwitchedOffWhenAsked() throws {
        // CATTR bit 2: the answer says FFFFh in SQHD (NVMe over Fabrics, "Submission Queue Flow Control").
        #expect(try world.connect(RawConnect(attributes: 4), on: world.open()).sqHead == 0xFFFF)
        let plain = world.open()
        #expect(try world.connect(RawConnect(), on: plain).sqHead == 1)
        #expect(try world.execute(.getProperty(NVME_REG_VS), on: plain).sqHead == 2)
    }
}
