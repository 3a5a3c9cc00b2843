import BlockInterface
import CLibNVMe
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// More hosts than the I/O path can tell apart.
@Suite struct StrangerTests {
    /// The rights of registrants must not become those of all hosts that have no place of their own.
    @Test func aRegistrantWithoutAPlaceLetsNobodyElseIn() throws {
        let store = KeptReservations()
        let registrant = [UInt8](repeating: 0xEE, count: 16)
        try reserve(registrant, in: store)

        let world = try TargetWorld(reservations: store)
        let machines = (0..<10).map { _ in world.addHost() }
        var hosts: [AttachedHost] = []
        for number in 0..<64 {
            // Seven hosts share the memory of one machine.
            let machine = machines[number / 7]
            machine.id = [UInt8](repeating: 0, count: 15) + [UInt8(number + 1)]
            machine.nqn = "nqn.2024-01.io.tercet:host-\(number)"
            hosts.append(try world.attach(machine))
        }
        try world.add(TargetWorld.namespace(2, try RAMDevice(byteCount: 1 << 20)))
        world.pass(milliseconds: 1)
        let conflict = RawStatus(code: NVME_SC_RESERVATION_CONFLICT.rawValue, doNotRetry: true)
        for host in [hosts[0], hosts[62], hosts[63]] {
            let offset = host.host.allocate(512)
            for opcode in [nvme_cmd_write, nvme_cmd_read] {
                let command = RawCommand(opcode: opcode.rawValue, nsid: 2).range(0, 1)
                    .with(sgl: host.host.keyed(offset, 512))
                #expect(try world.execute(host.io[0], command).status == conflict, "\(host.host.nqn)")
                #expect(try world.execute(host.io[0], RawCommand(opcode: 0, nsid: 1)).isSuccess)
            }
        }
    }

    /// A host of another run reserves the namespace for registrants alone, and through a loss of power.
    private func reserve(_ id: [UInt8], in store: KeptReservations) throws {
        let world = try TargetWorld(reservations: store)
        try world.add(TargetWorld.namespace(2, try RAMDevice(byteCount: 1 << 20)))
        let machine = world.addHost()
        machine.id = id
        let host = try world.attach(machine)
        let reserving = ReservingHost(world: world, attached: host, nsid: 2)
        let persist = NVME_RESERVATION_CPTPL_PERSIST
        #expect(try reserving.register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: 1, persistence: persist) == .success)
        try reserving.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)
    }
}
