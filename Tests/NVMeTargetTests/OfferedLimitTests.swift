import Base
import BlockInterface
import CLibNVMe
import InProcessTransport
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The limits by which hosts cut what they send, and the numbers by which they tell controllers apart.
@Suite struct OfferedLimitTests {
    /// Identify with CNS 06h of the NVM command set: WZSL counts pages of CAP.MPSMIN (4 KiB) as a power of two. A Write Zeroes
    /// names 65,536 blocks at most; hosts would cut it to MDTS where WZSL is 0.
    @Test func zeroesNeedNoCutting() throws {
        let (world, host) = try EngineWorld().attached()
        let page = try world.identify(NVME_IDENTIFY_CNS_CSI_CTRL, on: host.admin)
        let limit = page.number(MemoryLayout<nvme_id_ctrl_nvm>.offset(of: \.wzsl)!, 1)
        #expect((9...16).contains(limit) && 4096 << limit >= 65536 * 512)
        // Ranges of Dataset Management have none: 0 says so.
        #expect(page.number(MemoryLayout<nvme_id_ctrl_nvm>.offset(of: \.dmrl)!, 1) == 0)
        #expect(page.number(MemoryLayout<nvme_id_ctrl_nvm>.offset(of: \.dmrsl)!, 4) == 0)
        // The target takes what it says: 4 MiB, where a transfer has 1 MiB at most.
        #expect(try host.write(7) == .success)
        #expect(try host.execute(.io(nvme_cmd_write_zeroes, 0, 8192)) == .success)
        #expect(try host.read()[0] == 0)
    }

    /// NPDG and NPDA, 0-based, with bit 4 of NSFEAT (NVM Command Set, "Identify Namespace"): the device's own unit where it says
    /// one, else its preferred size of I/O; without either the bit is not set, and hosts are told nothing.
    @Test(arguments: [(0, 0, nil), (65536, 0, 127), (65536, 4096, 127), (0, 16384, 31)] as [(UInt32, UInt32, UInt64?)])
    func aDevicesUnitOfDeallocationIsTold(unit: UInt32, preferred: UInt32, granularity: UInt64?) throws {
        let device = try DeviceOfUnits()
        device.geometry.deallocateGranularity = unit
        device.geometry.optimalIOSize = preferred
        let world = try EngineWorld(device: device)
        let page = try world.identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: world.admin())
        let hasUnits = page.number(MemoryLayout<nvme_id_ns>.offset(of: \.nsfeat)!, 1) >> 4 & 1 == 1
        #expect(hasUnits == (granularity != nil))
        for field in [\nvme_id_ns.npdg, \nvme_id_ns.npda] {
            #expect(page.number(MemoryLayout<nvme_id_ns>.offset(of: field)!, 2) == granularity ?? 0)
        }
    }

    /// Two runs of a daemon, or two daemons, do not count from one number: the identifier of a controller that is gone is not the
    /// next one's.
    @Test func identifiersOfControllersBeginAnywhere() throws {
        var identifiers: Set<UInt16> = []
        for instance in 0..<32 {
            identifiers.insert(try EngineWorld(bootInstance: UInt64(instance)).attach(ioQueues: 0).controllerID)
        }
        #expect(identifiers.count >= 30, "\(identifiers.sorted())")
        #expect(identifiers.allSatisfy { (1...0xFFEF).contains($0) }, "NVMe over Fabrics: FFF0h and above are reserved")
    }
}

/// Memory that says units of its own.
private final class DeviceOfUnits: BlockDevice, @unchecked Sendable {
    // Unchecked: a test changes the geometry before a target has the device.
    var geometry: BlockGeometry
    private let memory: RAMDevice

    init() throws {
        memory = try RAMDevice(byteCount: 4 << 20)
        geometry = memory.geometry
    }

    var name: String { memory.name }
    var identity: BlockIdentity { memory.identity }
    func openChannel(depth: Int) throws(TercetError) -> BlockChannel { try memory.openChannel(depth: depth) }
    func refresh() -> BlockDeviceChange { .unchanged }
}
