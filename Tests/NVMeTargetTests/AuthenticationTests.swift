import CLibNVMe
import InProcessTransport
import NVMeAuthentication
import TargetInterface
import Testing

/// Hosts that have to show who they are: commands and statuses from libnvme's headers. That the arithmetic is right, the room's own
/// tests say, with a peer of another make.
@Suite("In-band authentication at the target")
struct AuthenticationTests {
    private static let required = RawStatus.specific(NVME_SC_AUTH_REQUIRED, doNotRetry: true)
    private static let host = HostName(1)

    private static func keys() throws -> AuthenticationKeys {
        try AuthenticationKeys(
            host: AuthenticationKey(random: 32, hash: .sha256), controller: AuthenticationKey(random: 48, hash: nil))
    }

    /// A world in which the host has keys.
    private static func world(_ keys: AuthenticationKeys, formerKeySeconds: Int = 0) throws -> EngineWorld {
        let world = try EngineWorld()
        try world.change { definition in
            definition[EngineWorld.nqn]?.access = .hosts([host.nqn, HostName(0xFE).nqn])
            definition[EngineWorld.nqn]?.authentication = AuthenticationDefinition(
                keys: [host.nqn: keys], algorithms: AuthenticationAlgorithms(groups: [.ffdhe2048]),
                formerKeySeconds: formerKeySeconds)
        }
        return world
    }

    private static func send(_ bytes: [UInt8], _ world: EngineWorld, on queue: InProcessQueue) throws {
        try world.succeed(
            .authentication(nvme_fabrics_type_auth_send, bytes.count), .fromHost(bytes), on: queue)
    }

    /// Lets the host show who it is; `nil` where it is believed, else the reason that both have.
    private static func authenticate(
        _ keys: AuthenticationKeys, _ world: EngineWorld, on queue: InProcessQueue, transaction: UInt16 = 3
    ) throws -> AuthenticationFailure? {
        var exchange = HostExchange(
            hostNQN: host.nqn, subsystemNQN: EngineWorld.nqn, keys: keys, transaction: transaction)
        try send(exchange.begin(), world, on: queue)
        while true {
            let answer = try world.succeed(
                .authentication(nvme_fabrics_type_auth_receive, 4096), .toHost(4096), on: queue)
            #expect(answer.data.count == 4096)
            switch answer.data.withUnsafeBytes({ exchange.received($0) }) {
            case .send(let message): try send(message, world, on: queue)
            case .authenticated(let last):
                if let last { try send(last, world, on: queue) }
                return nil
            case .failed(let failure, let last):
                if let last { try send(last, world, on: queue) }
                return failure
            }
        }
    }

    /// Connects a queue; the controller's identifier. ATR is bit 17 of dword 0.
    private static func connect(
        _ world: EngineWorld, _ id: UInt16 = 0, of controller: UInt16 = 0xFFFF, keepAlive: UInt32 = 0
    ) throws -> (InProcessQueue, UInt16) {
        let queue = world.open(queueID: id)
        let connect = RawConnect(controllerID: controller, queueID: id, keepAlive: keepAlive, host: host)
        let answer = try world.succeed(connect.command, .fromHost(connect.data), on: queue)
        #expect(answer.dword0 >> 16 == 1 << 1)
        return (queue, UInt16(truncatingIfNeeded: answer.dword0))
    }

    /// An authenticated admin queue, and an I/O queue that is not yet.
    private static func attached(
        _ world: EngineWorld, _ keys: AuthenticationKeys
    ) throws -> (admin: InProcessQueue, io: InProcessQueue) {
        let (admin, id) = try connect(world)
        #expect(try authenticate(keys, world, on: admin) == nil)
        try world.succeed(.enable, on: admin)
        try world.succeed(.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0), on: admin)
        return (admin, try connect(world, 1, of: id).0)
    }

    @Test("Nothing is done for a host before it has shown on each queue who it is")
    func gate() throws {
        let keys = try Self.keys()
        let world = try Self.world(keys)
        let (early, _) = try Self.connect(world)
        for command in [RawCommand.enable, .getProperty(NVME_REG_CSTS), .identify(NVME_IDENTIFY_CNS_CTRL)] {
            #expect(try world.execute(command, on: early).status == Self.required)
        }
        #expect(!world.events.contains("hostConnected"))
        let (_, io) = try Self.attached(world, keys)
        #expect(world.events.contains("hostConnected"))
        for command in [RawCommand.io(nvme_cmd_read), .flush()] {
            #expect(try world.execute(command, .toHost(512), on: io).status == Self.required)
        }
        #expect(try Self.authenticate(keys, world, on: io) == nil)
        #expect(try world.execute(.flush(), on: io).isSuccess)
    }

    @Test("A host with a wrong key hears why, is reported, and loses its queue")
    func wrongKey() throws {
        let world = try Self.world(try Self.keys())
        let (admin, _) = try Self.connect(world)
        #expect(try Self.authenticate(try Self.keys(), world, on: admin) == .failed)
        #expect(try world.execute(.enable, on: admin).status == Self.required)
        #expect(world.events.contains("authenticationFailed(host: \"\(Self.host.nqn)\""))
        world.run(milliseconds: 3000) { admin.isClosed }
        #expect(admin.isClosed && !world.events.contains("hostConnected"))
    }

    @Test("A controller with a wrong key is told by the host, and closes the queue")
    func wrongControllerKey() throws {
        let keys = try Self.keys()
        let world = try Self.world(keys)
        let (admin, _) = try Self.connect(world)
        let others = AuthenticationKeys(host: keys.host, controller: try AuthenticationKey(random: 64, hash: nil))
        #expect(try Self.authenticate(others, world, on: admin) == .failed)
        #expect(try world.execute(.enable, on: admin).status == Self.required)
        world.run(milliseconds: 3000) { admin.isClosed }
        #expect(admin.isClosed)
    }

    @Test("A queue whose host does not come to an end is closed after half a minute")
    func unfinished() throws {
        let world = try Self.world(try Self.keys())
        // It sends no keep-alive before it is let in.
        let (admin, _) = try Self.connect(world, keepAlive: 1000)
        world.pass(milliseconds: 29_000)
        #expect(!admin.isClosed)
        world.run(milliseconds: 3000) { admin.isClosed }
        #expect(admin.isClosed && world.events.contains("nothing has come of it within 30 s"))
    }

    @Test("A new key and the former one are valid for the time that is set; connections stay")
    func rotation() throws {
        let (old, new) = (try Self.keys(), try Self.keys())
        let world = try Self.world(old, formerKeySeconds: 60)
        let (_, io) = try Self.attached(world, old)
        #expect(try Self.authenticate(old, world, on: io) == nil)
        try world.change { $0[EngineWorld.nqn]?.authentication.keys[Self.host.nqn] = new }
        for keys in [old, new] {
            let (queue, _) = try Self.connect(world)
            #expect(try Self.authenticate(keys, world, on: queue) == nil)
        }
        world.pass(milliseconds: 60_000)
        let (late, _) = try Self.connect(world)
        #expect(try Self.authenticate(old, world, on: late) == .failed)
        #expect(try world.execute(.flush(), on: io).isSuccess)
    }

    @Test("A host shows anew who it is while its commands go on; one that cannot is served no longer")
    func again() throws {
        let keys = try Self.keys()
        let world = try Self.world(keys)
        let (_, io) = try Self.attached(world, keys)
        #expect(try Self.authenticate(keys, world, on: io) == nil)
        var exchange = HostExchange(
            hostNQN: Self.host.nqn, subsystemNQN: EngineWorld.nqn, keys: keys, transaction: 9)
        try Self.send(exchange.begin(), world, on: io)
        #expect(try world.execute(.flush(), on: io).isSuccess)
        world.run(milliseconds: 31_000) { io.isClosed }
        #expect(io.isClosed, "what was begun has to be ended")
        let (_, other) = try Self.attached(world, keys)
        #expect(try Self.authenticate(keys, world, on: other) == nil)
        #expect(try Self.authenticate(keys, world, on: other, transaction: 4) == nil)
        #expect(try world.execute(.flush(), on: other).isSuccess)
        #expect(try Self.authenticate(try Self.keys(), world, on: other) == .failed)
        #expect(try world.execute(.flush(), on: other).status == Self.required)
    }

    @Test("Commands that carry no message, or have no room for one, are refused")
    func commands() throws {
        let world = try Self.world(try Self.keys())
        let (admin, _) = try Self.connect(world)
        let send = RawCommand.authentication(nvme_fabrics_type_auth_send, 72)
        let data = InProcessData.fromHost([UInt8](repeating: 0, count: 72))
        let invalid = RawStatus.refused(NVME_SC_INVALID_FIELD)
        // SECP, SPSP0, SPSP1 and TL.
        for command in [
            send.with(10, 0xEA01_0100), send.with(10, 0xE901_0000), send.with(10, 0xE900_0100), send.with(11, 0),
            send.with(11, 4097),
        ] {
            #expect(try world.execute(command, data, on: admin).status == invalid)
        }
        #expect(
            try world.execute(send.with(11, 73), data, on: admin).status
                == .refused(NVME_SC_SGL_INVALID_DATA))
        let receive = RawCommand.authentication(nvme_fabrics_type_auth_receive, 8)
        #expect(
            try world.execute(receive, .toHost(8), on: admin).status == .generic(NVME_SC_CMD_SEQ_ERROR),
            "there is nothing to receive")
        var exchange = HostExchange(
            hostNQN: Self.host.nqn, subsystemNQN: EngineWorld.nqn, keys: try Self.keys(), transaction: 9)
        try Self.send(exchange.begin(), world, on: admin)
        #expect(try world.execute(receive, .toHost(8), on: admin).status == invalid, "a challenge is longer")
    }

    @Test("Where keys are wanted, a host without one is refused; one that needs a key from now on is disconnected")
    func required() throws {
        let world = try Self.world(try Self.keys())
        let other = try world.attach(host: 0xFE)
        try world.change { $0[EngineWorld.nqn]?.authentication.isRequired = true }
        world.run(milliseconds: 2000) { other.admin.isClosed }
        #expect(other.admin.isClosed)
        let connect = RawConnect(host: 0xFE)
        let answer = try world.execute(connect.command, .fromHost(connect.data), on: world.open())
        #expect(answer.status == .specific(NVME_SC_CONNECT_INVALID_HOST))
        #expect(world.events.contains("there is no key of this host"))
    }

    @Test("Without keys nothing is asked of a host, and authentication is no command")
    func without() throws {
        let (world, host) = try EngineWorld().attached()
        let bytes = [UInt8](repeating: 0, count: 72)
        let answer = try world.execute(
            .authentication(nvme_fabrics_type_auth_send, 72), .fromHost(bytes), on: host.admin)
        #expect(answer.status == .refused(NVME_SC_INVALID_OPCODE))
    }
}

extension RawCommand {
    /// SECP E9h, SPSP1 01h and SPSP0 01h, and TL or AL.
    static func authentication(_ type: nvme_fctype, _ length: Int) -> RawCommand {
        fabrics(type).with(10, 0xE901_0100).with(11, UInt32(length))
    }
}
