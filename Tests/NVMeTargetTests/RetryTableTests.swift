import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeTarget
import TargetInterface
import Testing

/// Do Not Retry is said where the command itself is wrong, and never where a reload, a restart, a drain or a shortage is the
/// cause: Linux (6.12) removes a controller, and the block device below a mounted file system with it, that answers a
/// reconnect so.
@Suite struct RetryTableTests {
    private static let write = RawCommand.io(nvme_cmd_write, 0, 8)
    private static let data = InProcessData.fromHost([UInt8](repeating: 0, count: 4096))
    /// Connect Invalid Parameters, and the host may try again.
    private static let away = RawStatus(code: 0x182)

    @Test func aSubsystemThatAReloadTakesAwayMayComeBack() throws {
        let world = try EngineWorld()
        #expect(try world.connect(EngineConnect(), on: world.open()).isSuccess)
        try world.change { $0[EngineWorld.nqn] = nil }
        #expect(try world.connect(EngineConnect(), on: world.open()).status == Self.away)
        try world.change { $0[EngineWorld.nqn] = SubsystemDefinition(nqn: EngineWorld.nqn) }
        #expect(try world.connect(EngineConnect(), on: world.open()).isSuccess)
    }

    /// A controller that has ended while its host opens its queues: the host comes back with a new one.
    @Test func queuesOfAControllerThatHasEndedMayBeOpenedAnew() throws {
        let world = try EngineWorld()
        let host = try world.attach()
        let queue = world.open(queueID: 2)
        host.admin.disconnect()
        world.pass(milliseconds: 50)
        #expect(
            try world.connect(EngineConnect(controllerID: host.controllerID, queueID: 2), on: queue).status == Self.away
        )
    }

    @Test func aNamespaceThatAReloadTakesAwayMayComeBack() throws {
        let world = try EngineWorld()
        let io = try world.attach().io[0]
        try world.change { $0[EngineWorld.nqn]?.namespaces = [] }
        let report = RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: 1).with(10, 1023).with(11, 1)
        for (command, data) in [(Self.write, Self.data), (report, .toHost(4096))] {
            #expect(try world.execute(command, data, on: io).completion.status == .generic(NVME_SC_INVALID_NS))
        }
    }

    /// Shortages, and devices that are away; and what a device finds wrong with a command.
    @Test(
        arguments: [
            (BlockStatus.capacityExceeded, RawStatus.generic(NVME_SC_CAP_EXCEEDED)),
            (.deviceGone, .generic(NVME_SC_NS_NOT_READY)), (.writeFault, RawStatus(code: 0x280)),
            (.aborted, .generic(NVME_SC_ABORT_REQ)),
            (.outOfRange, .refused(NVME_SC_LBA_RANGE)),
            (.unsupported, .refused(NVME_SC_INVALID_OPCODE)),
            (.writeProtected, .refused(NVME_SC_NS_WRITE_PROTECTED)),
        ] as [(BlockStatus, RawStatus)])
    func whatADeviceSaysIsJudged(_ says: BlockStatus, _ expected: RawStatus) throws {
        let world = try EngineWorld(device: SteeredDevice(says))
        #expect(try world.execute(Self.write, Self.data, on: world.attach().io[0]).completion.status == expected)
    }

    /// A command that contradicts itself is wrong each time.
    @Test func wrongCommandsAreNotToBeRetried() throws {
        let world = try EngineWorld()
        let admin = try world.attach().admin
        for command in [
            RawCommand(opcode: 0x7E), RawCommand(opcode: nvme_admin_identify.rawValue).with(10, 0xEE),
            RawCommand.getLog(NVME_LOG_LID_SMART, bytes: 512, nsid: 1),
            RawCommand.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0xFFFF_FFFF),
        ] { #expect(try world.execute(command, on: admin).completion.status.doNotRetry) }
    }
}
