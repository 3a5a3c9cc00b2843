import BlockInterface
import CLibNVMe
import NVMeTarget
import Simulation
import Testing

/// A device could not make durable what it had cached, and may have lost it. It says so once, and its next flush succeeds: what
/// the kernel's page cache does (errseq_t), and what made databases lose data in 2018.
@Suite struct CacheLossTests {
    private let flush = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
    private let writeFault = RawStatus(code: NVME_SCT_MEDIA.rawValue << 8 | NVME_SC_WRITE_FAULT.rawValue)

    /// The instance in the vendor specific bytes of Identify Namespace.
    private func instance(_ world: TargetWorld, _ host: AttachedHost) throws -> [UInt8] {
        let offset = host.scratch(4096)
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: 1)
            .with(sgl: host.host.keyed(offset, 4096))
        #expect(try world.execute(host.admin, identify).isSuccess)
        return Array(host.host.memory[offset + 392..<offset + 400])
    }

    private func write(_ world: TargetWorld, _ host: AttachedHost, isDurable: Bool) throws -> RawCompletion {
        var write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1)
            .with(sgl: host.host.keyed(host.scratch(512), 512))
        write[dword: 12] = isDurable ? 1 << 30 : 0
        return try world.execute(host.io[0], write)
    }

    @Test(arguments: [false, true]) func eachHostHearsOnceThatAFlushFailed(byDurableWrite: Bool) throws {
        let (world, disk) = try TargetWorld.onDisk()
        let first = try world.attach()
        let second = try world.attach()
        let before = try instance(world, first)
        #expect(try write(world, second, isDurable: false).isSuccess)
        disk.loseWriteback()
        let failed = try byDurableWrite ? write(world, first, isDurable: true) : world.execute(first.io[0], flush)
        #expect(failed.status == writeFault)
        #expect(try instance(world, first) != before, "a volume has to take the cache for lost")
        #expect(try world.execute(first.io[0], flush).isSuccess, "it has heard of it")
        #expect(try world.execute(second.io[0], flush).status == writeFault, "its write is lost too, and it has not")
        #expect(try world.execute(second.io[0], flush).isSuccess)
        let third = try world.attach()
        #expect(try world.execute(third.io[0], flush).isSuccess, "it has written nothing that is lost")
    }

    @Test func aWriteThatFailsWithoutHavingToBeDurableTellsOfNoLoss() throws {
        let (world, disk) = try TargetWorld.onDisk()
        let (host, other) = (try world.attach(), try world.attach())
        let before = try instance(world, host)
        disk.behaviour.failingWrites = 0..<1
        #expect(try write(world, host, isDurable: false).status == writeFault)
        #expect(try instance(world, host) == before)
        #expect(try world.execute(other.io[0], flush).isSuccess)
    }

    @Test func hostsThatAreRegisteredAreToldToLook() throws {
        let (world, disk) = try TargetWorld.onDisk()
        let host = try world.attach()
        try host.join(1, world)
        #expect(try world.execute(host.admin, .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 8)).isSuccess)
        let request = host.admin.send(RawCommand(opcode: nvme_admin_async_event.rawValue))
        #expect(try write(world, host, isDurable: false).isSuccess)
        disk.loseWriteback()
        #expect(try world.execute(host.io[0], flush).status == writeFault)
        let event = try world.completion(of: request, host.admin)
        #expect(event.dword0 == 0x0004_0002, "Notice, Namespace Attribute Changed, log page 04h")
    }
}
