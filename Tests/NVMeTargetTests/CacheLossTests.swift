import CLibNVMe
import InProcessTransport
import Simulation
import Testing

/// A device could not make durable what it had cached, and may have lost it. It says so once, and its next flush succeeds: what
/// the kernel's page cache does (errseq_t), and what made databases lose data in 2018.
@Suite struct CacheLossTests {
    private let writeFault = RawStatus.media(NVME_SC_WRITE_FAULT)
    private let durableWrite = RawCommand.io(nvme_cmd_write).range(0, 1, control: 1 << 30)
    private let disk = SimulatedDisk.instant()

    @Test(arguments: [false, true]) func eachHostHearsOnceThatAFlushFailed(byDurableWrite: Bool) throws {
        let world = try EngineWorld(device: disk)
        let (first, second) = (try world.attach(host: 1), try world.attach(host: 2))
        let before = try world.instance(first.admin)
        // A write that fails without having to be durable tells of no loss.
        disk.behaviour.failingWrites = 0..<1
        #expect(try first.write(1) == writeFault)
        disk.behaviour.failingWrites = 0..<0
        #expect(try world.instance(first.admin) == before && second.execute(.flush()) == .success)
        #expect(try second.write(1) == .success)
        disk.loseWriteback()
        let data = InProcessData.fromHost(.blocks(of: 1))
        #expect(try (byDurableWrite ? first.execute(durableWrite, data) : first.execute(.flush())) == writeFault)
        #expect(try world.instance(first.admin) != before, "a volume has to take the cache for lost")
        #expect(try first.execute(.flush()) == .success, "it has heard of it")
        #expect(try second.execute(.flush()) == writeFault, "its write is lost too, and it has not")
        #expect(try second.execute(.flush()) == .success)
        #expect(try world.attach(host: 3).execute(.flush()) == .success, "it has written nothing that is lost")
    }

    @Test func hostsThatAreRegisteredAreToldToLook() throws {
        let (world, host) = try EngineWorld(device: disk).attached()
        try ReservingHost(host).join(1)
        #expect(try host.manage(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 8)).isSuccess)
        let request = world.send(.event, on: host.admin)
        #expect(try host.write(1) == .success)
        disk.loseWriteback()
        #expect(try host.execute(.flush()) == writeFault)
        let event = world.answer(to: request, on: host.admin)
        #expect(event?.dword0 == 0x0004_0002, "Notice, Namespace Attribute Changed, log page 04h")
    }
}
