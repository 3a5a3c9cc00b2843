import CLibNVMe
import InProcessTransport
import Testing

@testable import NVMeTargetTests

/// Names and identifiers that a host claims.
@Suite("Holes: names, queues and lists")
struct ConnectHoles {
    @Test("A name that fills its field has no end, and is refused", arguments: [256, 512])
    func names(field: Int) throws {
        let world = try EngineWorld()
        let connect = RawConnect { data in for byte in field..<field + 256 { data[byte] = 0x41 } }
        let answer = try world.connect(connect, on: world.open())
        // Connect Invalid Parameters; IATTR says that the offset is one in the data.
        #expect(answer.status.code == 0x182 && answer.dword0 == UInt32(field) | 1 << 16)
        try world.attach().expectServed()
    }

    @Test(
        "Of connections that race for a queue identifier one gets it, and none beyond what was granted",
        arguments: [1, 2])
    func race(groups: Int) throws {
        let world = try EngineWorld(groups: groups)
        let host = try world.attach(ioQueues: 0)
        let queues: (UInt32) -> RawCommand = { .setFeature(NVME_FEAT_FID_NUM_QUEUES, $0 << 16 | $0) }
        try world.succeed(queues(1), on: host.admin)
        let opened = [1, 2, 1, 2, 1, 3, 8, 0xFFFF].map { (id: UInt16) in (id, world.open(queueID: id)) }
        let sent = opened.map { id, queue in
            let connect = RawConnect(controllerID: host.controllerID, queueID: id)
            return (id, queue, world.send(connect, on: queue))
        }
        let winners = sent.filter { world.status(of: $0.2, on: $0.1) == .success }.map(\.0)
        #expect(winners.sorted() == [1, 2])
        // The granted number does not change under those that are connected.
        #expect(try world.execute(queues(7), on: host.admin).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        let again = RawConnect(controllerID: host.controllerID, queueID: 3)
        #expect(try world.connect(again, on: world.open(queueID: 3)).status.code == 0x182)
    }

    @Test("Each list and structure of Identify is answered where there is nothing to list")
    func lists() throws {
        let world = try EngineWorld()
        try world.setNamespaces()
        let admin = try world.admin()
        let discovery = try world.admin(nqn: EngineWorld.discovery)
        for cns in 0...0xFF as ClosedRange<UInt32> {
            for nsid in [0, 1, 0xFFFF_FFFD, 0xFFFF_FFFE, 0xFFFF_FFFF] as [UInt32] {
                let command = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: nsid).with(10, cns)
                let answer = try world.execute(command, .toHost(4096), on: admin)
                // The list of active namespaces that follow an identifier.
                if cns == NVME_IDENTIFY_CNS_NS_ACTIVE_LIST.rawValue {
                    let isInvalid = nsid >= 0xFFFF_FFFE
                    #expect(answer.status.code == (isInvalid ? NVME_SC_INVALID_NS.rawValue : 0), "\(nsid)")
                    #expect(answer.data.allSatisfy { $0 == 0 })
                }
                guard cns != NVME_IDENTIFY_CNS_CTRL.rawValue else { continue }
                let other = try world.execute(command, .toHost(4096), on: discovery)
                #expect(other.status.code == NVME_SC_INVALID_FIELD.rawValue, "\(cns), \(nsid)")
            }
        }
        // The list of controllers has one that is there.
        let controllers = try world.identify(NVME_IDENTIFY_CNS_CTRL_LIST, on: admin)
        #expect(controllers.number(0, 2) == 1)
    }
}
