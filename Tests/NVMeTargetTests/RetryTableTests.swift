import Base
import BlockInterface
import CLibNVMe
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Do Not Retry is said where the command itself is wrong, and never where a reload, a restart, a drain or a shortage is the
/// cause: Linux (6.12) removes a controller, and the block device below a mounted file system with it, that answers a
/// reconnect so.
@Suite struct RetryTableTests {
    private func connect(
        _ world: TargetWorld, _ host: RawHost, nqn: String = TargetWorld.nqn, keepAlive: UInt32 = 0
    ) throws -> RawStatus {
        let queue = try world.open(host)
        defer { host.destroy(queue) }
        return try world.execute(queue, RawConnect(host, nqn: nqn, keepAlive: keepAlive).command).status
    }

    @Test func aSubsystemThatAReloadTakesAwayMayComeBack() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        #expect(try connect(world, host) == .success)
        try world.change { $0[TargetWorld.nqn] = nil }
        world.pass(milliseconds: 50)
        #expect(try connect(world, host) == RawStatus(code: 0x182))
        try world.change { $0[TargetWorld.nqn] = SubsystemDefinition(nqn: TargetWorld.nqn, serialNumber: "T1") }
        #expect(try connect(world, host) == .success)
    }

    @Test func aHostThatAReloadLeavesOutMayComeBack() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        try world.change { $0[TargetWorld.nqn]?.access = .hosts([]) }
        #expect(try connect(world, host) == .specific(NVME_SC_CONNECT_INVALID_HOST))
    }

    @Test func aHostWhoseFormerCommandsHangIsBusy() throws {
        let (world, disk) = try TargetWorld.onDisk()
        let host = world.addHost()
        let attached = try world.attach(host)
        disk.behaviour.isStuck = true
        let offset = attached.scratch(4096)
        attached.io[0].send(
            RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(0, 8).with(sgl: host.keyed(offset, 4096)))
        world.pass(milliseconds: 5)
        host.destroyAll()
        world.pass(milliseconds: 100)
        let queue = try world.open(host)
        let id = queue.send(RawConnect(host).command)
        try world.wait("the answer", milliseconds: 60_000) { !queue.completions.isEmpty }
        #expect(queue.take(id)?.status == .specific(NVME_SC_CONNECT_CTRL_BUSY))
        disk.behaviour.isStuck = false
    }

    /// A controller that has ended while its host opens its queues: the host comes back with a new one.
    @Test func queuesOfAControllerThatHasEndedMayBeOpenedAnew() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (admin, id) = try world.admin(host)
        #expect(try world.execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        var options = RawQueueOptions()
        options.queueID = 1
        let queue = try world.open(host, options)
        host.destroy(admin)
        world.pass(milliseconds: 50)
        let reply = try world.execute(queue, RawConnect(host, controllerID: id, queueID: 1).command)
        #expect(reply.status == RawStatus(code: 0x182))
    }

    @Test func aNamespaceThatAReloadTakesAwayMayComeBack() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8)
            .with(sgl: attached.host.keyed(attached.scratch(4096), 4096))
        try world.remove(1)
        world.pass(milliseconds: 5)
        #expect(try world.execute(attached.io[0], read).status == .generic(NVME_SC_INVALID_NS))
        let report = RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: 1).with(10, 1023).with(11, 1)
            .with(sgl: attached.host.keyed(attached.scratch(4096), 4096))
        #expect(try world.execute(attached.io[0], report).status == .generic(NVME_SC_INVALID_NS))
        // No namespace can have these.
        for nsid in [0, 17, 0xFFFF_FFFF] as [UInt32] {
            var wrong = read
            wrong[dword: 1] = nsid
            #expect(
                try world.execute(attached.io[0], wrong).status
                    == RawStatus(code: NVME_SC_INVALID_NS.rawValue, doNotRetry: true))
        }
    }

    /// Shortages, and devices that are away.
    @Test(
        arguments: [
            (BlockStatus.capacityExceeded, RawStatus.generic(NVME_SC_CAP_EXCEEDED)),
            (.deviceGone, .generic(NVME_SC_NS_NOT_READY)), (.writeFault, RawStatus(code: 0x280)),
            (.aborted, .generic(NVME_SC_ABORT_REQ)),
            (.outOfRange, RawStatus(code: NVME_SC_LBA_RANGE.rawValue, doNotRetry: true)),
            (.unsupported, RawStatus(code: NVME_SC_INVALID_OPCODE.rawValue, doNotRetry: true)),
            (.writeProtected, RawStatus(code: NVME_SC_NS_WRITE_PROTECTED.rawValue, doNotRetry: true)),
        ] as [(BlockStatus, RawStatus)])
    func whatADeviceSaysIsJudged(_ says: BlockStatus, _ expected: RawStatus) throws {
        let world = try TargetWorld { _ in FailingDevice(says) }
        let attached = try world.attach()
        let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(0, 8)
            .with(sgl: attached.host.keyed(attached.scratch(4096), 4096))
        #expect(try world.execute(attached.io[0], write).status == expected)
    }

    /// A command that contradicts itself is wrong each time.
    @Test func wrongCommandsAreNotToBeRetried() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (queue, _) = try world.admin(host)
        for command in [
            RawCommand(opcode: 0x7E), RawCommand(opcode: nvme_admin_identify.rawValue).with(10, 0xEE),
            RawCommand.getLog(NVME_LOG_LID_SMART, bytes: 512, nsid: 1),
            RawCommand.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0xFFFF_FFFF),
        ] { #expect(try world.execute(queue, command).status.doNotRetry) }
        #expect(try connect(world, host, keepAlive: .max).doNotRetry)
    }

    /// An error log tells what the host was told.
    @Test func theErrorLogHasTheSameBit() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (queue, _) = try world.admin(host)
        let wrong = try world.execute(queue, RawCommand(opcode: 0x7E))
        let offset = host.allocate(64)
        #expect(
            try world.execute(queue, .getLog(NVME_LOG_LID_ERROR, bytes: 64).with(sgl: host.keyed(offset, 64))).isSuccess
        )
        let field = UInt32(host.memory[offset + 12]) | UInt32(host.memory[offset + 13]) << 8
        #expect(wrong.status == RawStatus(code: field >> 1 & 0x7FF, doNotRetry: field >> 15 != 0))
    }
}

/// A device on which every write ends in the same way.
private final class FailingDevice: BlockDevice {
    let status: BlockStatus
    let geometry = BlockGeometry(blockSize: 512, blockCount: 8192, hasVolatileWriteCache: false)
    var name: String { "failing" }
    var identity: BlockIdentity { BlockIdentity() }

    init(_ status: BlockStatus) { self.status = status }

    func refresh() -> BlockDeviceChange { .unchanged }
    func openChannel(depth: Int) throws(TercetError) -> BlockChannel { Channel(status) }

    private final class Channel: BlockChannel {
        let status: BlockStatus
        var tags: [UInt64] = []
        init(_ status: BlockStatus) { self.status = status }

        override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
            for request in requests { tags.append(request.tag) }
            return requests.count
        }

        override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
            let count = min(tags.count, completions.count)
            for index in 0..<count { completions[index] = BlockCompletion(tag: tags[index], status: status) }
            tags.removeFirst(count)
            return count
        }

        override var running: Int { tags.count }
    }
}
