import FabricInterface
import Simulation
import Testing

/// The private data of a connection request. The rejection is 4 bytes: RECFMT 0 and a status of the NVMe
/// RDMA Transport specification, "RDMA_CM_REJECT Private Data" (Linux: `enum nvme_rdma_cm_status`).
@Suite struct ConnectionManagerTests {
    /// A host's wish, and the status that it is refused with.
    typealias Case = (name: String, status: UInt8, change: @Sendable (RawQueue) -> Void)

    static let cases: [Case] = [
        ("another record format", 2, { $0.privateData[0] = 1 }),
        ("a queue identifier that is too high", 3, { $0.queueID = 9 }),
        ("the highest queue identifier", 3, { $0.queueID = 0xFFFF }),
        ("an admin send queue that is too long", 4, { $0.hostSendQueueSize = 128 }),
        ("the longest send queue", 4, { ($0.queueID, $0.hostSendQueueSize) = (1, 0xFFFF) }),
        ("no receive queue", 5, { $0.hostReceiveQueueSize = 0 }),
        ("no READs answered", 7, { $0.responderResources = 0 }),
    ]

    private func rejection(_ queue: RawQueue) -> [UInt8]? { queue.rejection.map { Array($0.prefix(4)) } }

    /// On InfiniBand and RoCE private data arrives padded; on iWARP its length is what was sent.
    @Test(arguments: [false, true]) func badPrivateDataIsRejected(isIWARP: Bool) throws {
        let (world, audit) = try TargetWorld(limits: { $0.isIWARP = isIWARP }).audited()
        let short = [0, 1, 10, 31].map { length in
            ("\(length) bytes", 1, { $0.privateData.removeSubrange(length...) }) as Case
        }
        for row in Self.cases + (isIWARP ? short : []) {
            let host = world.addHost()
            host.device.limits.isIWARP = isIWARP
            let queue = try world.open(host, row.change)
            #expect(queue.accepted == nil && rejection(queue) == [0, 0, row.status, 0], "\(row.name)")
        }
        audit.end()
    }

    /// The target never runs more READs than the host answers.
    @Test(arguments: [1, 3, 255] as [UInt8]) func acceptanceSaysWhatBothCan(resources: UInt8) throws {
        let world = try TargetWorld()
        let queue = try world.open(world.addHost()) { ($0.hostSendQueueSize, $0.responderResources) = (15, resources) }
        let accepted = try #require(queue.accepted)
        #expect(queue.isOpen && (1...resources).contains(accepted.responderResources))
        // RECFMT 0, then CRQSIZE: room for each command that the host may send.
        #expect(accepted.privateData.number(0, 2) == 0 && accepted.privateData.number(2, 2) >= 16)
    }

    /// Hosts exist that ask for 40 and for 128 entries (SPDK's tools); 32 are usual. I/O queues have a limit of their own.
    @Test(arguments: [(0, 32), (0, 40), (0, 128), (1, 32)] as [(UInt16, UInt16)])
    func aLongAdminQueueIsTaken(queueID: UInt16, entries: UInt16) throws {
        let world = try TargetWorld()
        let queue = try world.open(world.addHost()) { ($0.queueID, $0.hostSendQueueSize) = (queueID, entries - 1) }
        let accepted = try #require(queue.accepted, "\(rejection(queue) ?? [])")
        // CRQSIZE: room for each command that the host may send.
        #expect(queue.isOpen && accepted.privateData.number(2, 2) >= entries)
    }

    /// The log's line has the size that the host asks for, and the largest that it may ask for.
    @Test(arguments: [(0, 129, 128), (0, 0x1_0000, 128), (1, 33, 32), (8, 1024, 32)] as [(UInt16, Int, Int)])
    func aQueueThatIsTooLongIsToldWithBothSizes(queueID: UInt16, entries: Int, most: Int) throws {
        let world = try TargetWorld()
        let queue = try world.open(world.addHost()) {
            ($0.queueID, $0.hostSendQueueSize) = (queueID, UInt16(entries - 1))
        }
        #expect(rejection(queue) == [0, 0, 4, 0])
        let line = "queue \(queueID) (at most 8) of \(entries) entries (at most \(most))"
        #expect(world.events.contains(line), "\(world.events.all)")
    }

    @Test func aHostThatGivesUpWhileConnectingLeavesNothingBehind() throws {
        let (world, audit) = try TargetWorld(groups: 2).audited()
        for delay in stride(from: UInt64(5_000), through: 400_000, by: 5_000) {
            let host = world.addHost()
            _ = try host.open(world.address)
            world.simulation.run(forNanoseconds: delay)
            host.destroyAll()
        }
        audit.end()
    }

    @Test func aDeviceWithoutRoomRefusesAndGoesOn() throws {
        let (world, audit) = try TargetWorld().audited()
        world.targetDevice.limits.maxQueuePairs = world.targetDevice.existingQueuePairs
        let refused = try world.open(world.addHost())
        // Status 6: no resources.
        #expect(rejection(refused) == [0, 0, 6, 0])
        audit.end()
        world.targetDevice.limits.maxQueuePairs += 8
        #expect(try world.open(world.addHost()).isOpen)
    }
}
