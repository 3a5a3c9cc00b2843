import CLibNVMe
import NVMeTarget
import Testing

/// The Connect command and its refusals (NVMe over Fabrics, "Connect Command"; the offsets are those of libnvme's
/// `struct nvmf_connect_data` and of the command's dwords).
@Suite struct ConnectTests {
    private let invalidParameter = RawStatus(code: 0x182, doNotRetry: true)

    /// Connect Invalid Parameters, with the offset (IPO) and whether it is one in the data (IATTR, bit 16).
    private func expectInvalid(
        _ completion: RawCompletion, at offset: Int, inData: Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(completion.status == invalidParameter, sourceLocation: sourceLocation)
        #expect(completion.dword0 == UInt32(offset) | (inData ? 1 << 16 : 0), sourceLocation: sourceLocation)
    }

    private func adminConnect(
        _ world: TargetWorld, _ make: (RawHost) -> RawConnect, data: (RawHost, inout RawCommand) -> Void = { _, _ in }
    ) throws -> RawCompletion {
        let host = world.addHost()
        let queue = try world.open(host)
        var command = make(host).command
        data(host, &command)
        let reply = try world.execute(queue, command)
        host.destroyAll()
        return reply
    }

    @Test func badParametersOfTheAdminQueueAreNamed() throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let before = try world.baseline()
        expectInvalid(
            try adminConnect(world) { RawConnect($0, nqn: "nqn.2024-01.io.tercet:none") }, at: 256, inData: true)
        expectInvalid(try adminConnect(world) { RawConnect($0, nqn: "") }, at: 256, inData: true)
        expectInvalid(
            try adminConnect(world) { host in
                RawConnect(host) { data in for byte in 256..<512 { data[byte] = 0x41 } }
            }, at: 256, inData: true)
        expectInvalid(
            try adminConnect(world) { host in
                RawConnect(host) { data in for byte in 512..<768 { data[byte] = 0x41 } }
            }, at: 512, inData: true)
        expectInvalid(try adminConnect(world) { RawConnect($0, hostNQN: "") }, at: 512, inData: true)
        expectInvalid(
            try adminConnect(world) { RawConnect($0) { data in data[512] = 0xFF } }, at: 512, inData: true)
        expectInvalid(try adminConnect(world) { RawConnect($0, controllerID: 1) }, at: 16, inData: true)
        // SQSIZE is at byte 44 of the command, QID at 42.
        expectInvalid(try adminConnect(world) { RawConnect($0, sqSize: 0) }, at: 44, inData: false)
        expectInvalid(try adminConnect(world) { RawConnect($0, sqSize: 32) }, at: 44, inData: false)
        expectInvalid(try adminConnect(world) { RawConnect($0, sqSize: 0xFFFF) }, at: 44, inData: false)
        expectInvalid(try adminConnect(world) { RawConnect($0, queueID: 1) }, at: 42, inData: false)
        let format = try adminConnect(world) { RawConnect($0, recordFormat: 1) }
        var expected = RawStatus.specific(NVME_SC_CONNECT_FORMAT)
        expected.doNotRetry = true
        #expect(format.status == expected)
        world.expectServed(witness)
        world.expectPools(before)
    }

    @Test func connectDataThatIsTooShortIsRefused() throws {
        let world = try TargetWorld()
        let before = try { () -> PoolState in
            _ = try world.attach()
            return try world.baseline()
        }()
        for length in [0, 1, 512, 1023] {
            let reply = try adminConnect(world) {
                RawConnect($0)
            } data: { host, command in
                command.sgl = host.keyed(host.connectData(), length)
            }
            #expect(reply.status.code == NVME_SC_SGL_INVALID_DATA.rawValue, "\(length) bytes")
        }
        world.expectPools(before)
    }

    @Test func aHostThatIsNotAllowedIsRefused() throws {
        let world = try TargetWorld()
        try world.target.setHosts(of: TargetWorld.nqn, allowsAny: false, hosts: ["nqn.2024-01.io.tercet:friend"])
        var expected = RawStatus.specific(NVME_SC_CONNECT_INVALID_HOST)
        expected.doNotRetry = true
        #expect(try adminConnect(world) { RawConnect($0) }.status == expected)
        #expect(world.events.contains("connectRefused"))
        let reports = world.events.all.count
        #expect(try adminConnect(world) { RawConnect($0, hostNQN: "nqn.2024-01.io.tercet:friend") }.isSuccess)
        #expect(!world.events.all.dropFirst(reports).contains { $0.contains("connectRefused") })
    }

    @Test func commandsBeforeConnectAndASecondConnectAreOutOfSequence() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let queue = try world.open(host)
        let sequence = NVME_SC_CMD_SEQ_ERROR.rawValue
        for command in [
            RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8), .getProperty(NVME_REG_VS),
            .configure(0x0046_0001), RawCommand(opcode: nvme_admin_keep_alive.rawValue),
        ] { #expect(try world.execute(queue, command).status.code == sequence) }
        #expect(try world.execute(queue, RawConnect(host).command).isSuccess)
        #expect(try world.execute(queue, RawConnect(host).command).status.code == sequence)
        // Nothing but properties before CC.EN.
        #expect(try world.execute(queue, RawCommand(opcode: nvme_admin_keep_alive.rawValue)).status.code == sequence)
        #expect(try world.execute(queue, .getProperty(NVME_REG_VS)).isSuccess)
        try world.enable(queue)
        #expect(try world.execute(queue, RawCommand(opcode: nvme_admin_keep_alive.rawValue)).isSuccess)
    }

    @Test func ioQueuesBelongToAnEnabledControllerOfTheSameHost() throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach()
        let host = world.addHost()
        let admin = try world.open(host)
        let reply = try world.execute(admin, RawConnect(host).command)
        let id = UInt16(truncatingIfNeeded: reply.dword0)
        func connect(_ queueID: UInt16, by other: RawHost? = nil, _ make: (RawHost) -> RawConnect) throws
            -> RawCompletion
        {
            var options = RawQueueOptions()
            options.queueID = queueID
            let queue = try world.open(other ?? host, options)
            defer { (other ?? host).destroy(queue) }
            return try world.execute(queue, make(other ?? host).command)
        }
        let sequence = NVME_SC_CMD_SEQ_ERROR.rawValue
        #expect(
            try connect(1) { RawConnect($0, controllerID: id, queueID: 1) }.status.code == sequence, "before CC.EN")
        try world.enable(admin)
        expectInvalid(try connect(1) { RawConnect($0, controllerID: id, queueID: 1) }, at: 42, inData: false)
        #expect(try world.execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0x0001_0001)).isSuccess)
        let before = try world.baseline()
        expectInvalid(try connect(3) { RawConnect($0, controllerID: id, queueID: 3) }, at: 42, inData: false)
        expectInvalid(try connect(1) { RawConnect($0, controllerID: id, queueID: 2) }, at: 42, inData: false)
        expectInvalid(try connect(1) { RawConnect($0, controllerID: 0x7777, queueID: 1) }, at: 16, inData: true)
        expectInvalid(try connect(1) { RawConnect($0, controllerID: 0xFFFF, queueID: 1) }, at: 16, inData: true)
        expectInvalid(
            try connect(1) { RawConnect($0, controllerID: id, queueID: 1, hostNQN: witness.host.nqn) }, at: 512,
            inData: true)
        expectInvalid(
            try connect(1) { RawConnect($0, controllerID: id, queueID: 1, hostID: witness.host.id) }, at: 0,
            inData: true)
        expectInvalid(
            try connect(1) { RawConnect($0, controllerID: witness.controllerID, queueID: 1) }, at: 512, inData: true)
        world.expectPools(before, "refused queues")
        // A queue identifier is used once.
        let queue = try world.io(host, id, queueID: 1)
        #expect(try connect(1) { RawConnect($0, controllerID: id, queueID: 1) }.status.code == sequence)
        #expect(queue.isOpen)
        #expect(try world.execute(queue, RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)).isSuccess)
        // Admin commands have no place on it, and a second Connect neither.
        #expect(
            try world.execute(queue, RawConnect(host, controllerID: id, queueID: 1).command).status.code == sequence)
        world.expectServed(witness)
    }

    @Test func theDiscoveryControllerHasNoIOQueues() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (_, id) = try world.admin(host, nqn: TargetWorld.discovery)
        var options = RawQueueOptions()
        options.queueID = 1
        let queue = try world.open(host, options)
        let connect = RawConnect(host, nqn: TargetWorld.discovery, controllerID: id, queueID: 1)
        expectInvalid(try world.execute(queue, connect.command), at: 42, inData: false)
    }

    @Test func flowControlIsSwitchedOffWhenAsked() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let queue = try world.open(host)
        // CATTR bit 2: the answer says FFFFh in SQHD (NVMe over Fabrics, "Submission Queue Flow Control").
        let reply = try world.execute(queue, RawConnect(host, attributes: 4).command)
        #expect(reply.isSuccess && reply.sqHead == 0xFFFF)
        let other = world.addHost()
        let plain = try world.open(other)
        #expect(try world.execute(plain, RawConnect(other).command).sqHead == 1)
        #expect(try world.execute(plain, .getProperty(NVME_REG_VS)).sqHead == 2)
    }

    /// A host that was granted less than it asked for would not know, and would ping too seldom.
    @Test func aKeepAliveTimeoutThatIsTooLongIsRefused() throws {
        var options = TargetWorld.smallOptions
        options.maxKeepAliveMilliseconds = 10_000
        let world = try TargetWorld(options: options)
        let refused = RawStatus(code: NVME_SC_KAT_INVALID.rawValue, doNotRetry: true)
        #expect(try adminConnect(world) { RawConnect($0, keepAlive: 10_001) }.status == refused)
        #expect(try adminConnect(world) { RawConnect($0, keepAlive: .max) }.status == refused)
        #expect(
            try adminConnect(world) { RawConnect($0, nqn: TargetWorld.discovery, keepAlive: 10_001) }.status == refused)
        #expect(try adminConnect(world) { RawConnect($0, keepAlive: 10_000) }.isSuccess)
        #expect(try adminConnect(world) { RawConnect($0, nqn: TargetWorld.discovery) }.isSuccess)
    }
}
