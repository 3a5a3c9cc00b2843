import AllocationProbe
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// A reactor does little for a host in one round, whatever it asks for and however much is configured, because the
/// same reactor does other hosts' I/O. Work is counted, never timed.
@Suite struct ReactorTimeTests {
    @Test func theDiscoveryLogIsTheSameInAnyPieces() throws {
        let world = try EngineWorld(.small { $0.controlMemory = 2 << 20 })
        try world.change {
            let access = [.hosts(["nqn.2014-08.org.nvmexpress:uuid:other"]), .hosts([HostName.plain])] as [HostAccess]
            $0.subsystems += ([HostAccess](repeating: .anyHost, count: 150) + access).enumerated().map {
                SubsystemDefinition(nqn: "nqn.2024-01.io.tercet:\(1000 + $0)", access: $1)
            }
            $0.listeners = [EngineWorld.address(4420), EngineWorld.address(4421)]
            $0.referrals = [EngineWorld.address(8009)]
        }
        let admin = try world.admin(nqn: EngineWorld.discovery)
        // 150, the world's own and this host's, at two listeners; and a referral.
        let records = 152 * 2 + 1
        let whole = try world.log(NVME_LOG_LID_DISCOVER, 512 << 10, on: admin)
        #expect(whole.number(8, 8) == UInt64(records))
        var names: [String: Int] = [:]
        for record in 0..<records {
            let name = whole[((record + 1) * 1024 + 256)...].prefix(256).prefix { $0 != 0 }
            names[String(decoding: name, as: UTF8.self), default: 0] += 1
        }
        #expect(names.count == 153 && names["nqn.2024-01.io.tercet:1151"] == 2)
        #expect(names[EngineWorld.nqn] == 2 && names[EngineWorld.discovery] == 1)
        #expect(whole[((records + 1) * 1024)...].allSatisfy { $0 == 0 }, "nothing behind the last record")
        // Pieces that begin and end within records.
        for (place, count) in [(0, 16), (12, 1012), (1000, 1024), (1024, 512), (1276, 300), (155_000, 1024)] {
            let piece = try world.log(NVME_LOG_LID_DISCOVER, count, at: place, on: admin)
            #expect(piece == Array(whole[place..<place + count]), "\(count) bytes from \(place)")
        }
    }

    /// A host that asks for more than there is memory for waits for it, and is not told to go away.
    @Test func answersWaitForMemory() throws {
        let world = try EngineWorld(.small { $0.dataMemory = 4 << 20 })
        let admin = try world.admin(nqn: EngineWorld.discovery)
        world.isFull = true
        let ids = (0..<16).map { _ in
            world.send(.getLog(NVME_LOG_LID_DISCOVER, bytes: 1 << 20), .toHost(1 << 20), on: admin)
        }
        world.settle()
        world.isFull = false
        // 32 KiB a round: some hundred rounds.
        #expect(world.run(milliseconds: 20_000) { ids.allSatisfy { world.status(of: $0, on: admin) != nil } })
        for id in ids { #expect(world.status(of: id, on: admin) == .success) }
    }

    private let device = SimulatedDisk.instant()

    private func add(_ nsids: ClosedRange<UInt32>, _ world: EngineWorld) throws {
        try world.change { $0[EngineWorld.nqn]?.namespaces += nsids.map { EngineWorld.namespace($0, device) } }
    }

    /// A host's first I/O queue makes a reactor open the subsystem's namespaces.
    @Test func namespacesAreOpenedAFewInARound() throws {
        let world = try EngineWorld(.small { $0.maxNamespaces = 256 })
        try add(2...200, world)
        let host = try world.attach(ioQueues: 0)
        try host.manage(.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0))
        let queue = world.open(queueID: 1)
        let before = device.channelCount
        world.send(RawConnect(controllerID: host.controllerID, queueID: 1), on: queue)
        var (most, opened) = (0, before)
        for _ in 0..<10_000 where queue.answers.isEmpty {
            _ = world.poll()
            most = max(most, device.channelCount - opened)
            opened = device.channelCount
        }
        #expect(opened - before == 199, "all are open when the host has its queue")
        #expect(most <= 32, "\(most) devices were opened in one round")
        for nsid in [2, 100, 200] as [UInt32] {
            #expect(try world.execute(.flush(nsid), on: queue).isSuccess)
        }
        // A subsystem that is removed closes them likewise, and leaves nothing behind.
        try world.change { $0.subsystems = [] }
        #expect(world.run(milliseconds: 2000) { world.groups[0].heldViews == 0 })
    }

    /// Linux's host reads the ANA log with one command: as many namespaces are allowed as a log of one transfer names.
    @Test func aSubsystemHasAsManyNamespacesAsItsLogCanName() throws {
        let world = try EngineWorld(.small { ($0.maxNamespaces, $0.maxTransferSize) = (65536, 8192) })
        let page = try world.identify(on: world.admin())
        // NVMe Base, "Identify Controller": NN at byte 516, MNAN at 540, NANAGRPID at 348. Linux, nvme_mpath_init_identify:
        // a header of 16 bytes, 32 for each group, 4 for each namespace.
        func field(_ place: Int) -> Int { Int(page.number(place, 4)) }
        #expect(field(516) == 65536)
        #expect(16 + field(348) * 32 + field(540) * 4 <= 8192 && field(540) >= 256)
        try add(2...UInt32(field(540)), world)
        #expect(throws: WorldError.self) { try add(2000...2000, world) }
    }

    /// The last namespace identifier there is, too, and its namespace is served.
    @Test func listsInPiecesNameEachNamespaceOnceInOrder() throws {
        let world = try EngineWorld(.small { $0.maxNamespaces = 65536 })
        try add(2...1500, world)
        try add(65536...65536, world)
        let removed = Set(stride(from: UInt32(10), to: 1500, by: 7))
        try world.change { $0[EngineWorld.nqn]?.namespaces.removeAll { removed.contains($0.nsid) } }
        let expected = (UInt32(1)...1500).filter { !removed.contains($0) } + [65536]
        let host = try world.attach()
        var listed: [UInt32] = []
        repeat {
            let page = try world.identify(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, nsid: listed.last ?? 0, on: host.admin)
            listed += (0..<1024).map { UInt32(page.number($0 * 4, 4)) }.prefix { $0 != 0 }
        } while listed.count == 1024
        #expect(listed == expected)
        #expect(try host.write(1, nsid: 65536) == .success)
        #expect(try host.execute(.flush(65537)) == .refused(NVME_SC_INVALID_NS))
    }

    @Test func removedSubsystemsAreForgotten() throws {
        let world = try EngineWorld(groups: 2)
        let witness = try world.attach(ioQueues: 2, host: 1)
        let before = world.groups.map(\.heldViews)
        for number in 0..<20 {
            let nqn = "nqn.2024-01.io.tercet:temporary-\(number)"
            try world.change { $0[nqn] = SubsystemDefinition(nqn: nqn, serialNumber: "T") }
            _ = try world.attach(ioQueues: 2, nqn: nqn)
            #expect(world.groups.map(\.heldViews) == before.map { $0 + 1 })
            try world.change { $0[nqn] = nil }
            #expect(world.run(milliseconds: 1000) { world.groups.map(\.heldViews) == before }, "subsystem \(number)")
        }
        witness.expectServed()
    }

    /// A store hangs. They have their turns in the order in which they came; one whose host has gone is left out.
    @Test func reservationCommandsThatWaitCostNothing() throws {
        try #require(allocationProbeIsActive())
        let store = KeptReservations(hangs: true)
        let world = try EngineWorld(namespaces: 2, reservations: store)
        let hosts = try (1...4).map { try world.attach(host: .init($0)) }
        func register(_ host: EngineHost, _ key: UInt64, flags: UInt32 = 0) -> UInt16 {
            let action = NVME_RESERVATION_RREGA_REGISTER_KEY.rawValue
            return ReservingHost(host, nsid: 2).send(nvme_cmd_resv_register, action, keys: 0, key, flags: flags)
        }
        let first = register(hosts[0], 1, flags: ReservingHost.persist)
        world.settle()
        #expect(store.waitingCount == 1)
        let others = hosts.dropFirst().map { register($0, 2) }
        world.pass(milliseconds: 10)
        let sent = Array(zip(hosts, [first] + others))
        #expect(sent.allSatisfy { $0.status(of: $1) == nil })
        _ = world.poll()
        let before = allocationsOfThread()
        for _ in 0..<1000 { _ = world.groups[0].poll(now: world.now) }
        #expect(allocationsOfThread() - before == 0)
        hosts[2].leave()
        // The reservation persists: each change is stored.
        for _ in 0..<3 {
            store.answer()
            world.pass(milliseconds: 10)
        }
        let registered = [0, 1, 3].map { sent[$0] }
        #expect(registered.allSatisfy { $0.status(of: $1) == .success })
        #expect(try ReservingHost(hosts[0], nsid: 2).report().registrants.map(\.hostID) == registered.map(\.0.name.id))
    }

    @Test func aMaskForAllNamespacesIsForThoseThatAreThere() throws {
        let (world, host) = try EngineWorld().attached()
        func set(_ mask: UInt32, _ nsid: UInt32) throws {
            try world.succeed(.setFeature(NVME_FEAT_FID_RESV_MASK, mask).with(1, nsid), on: host.admin)
        }
        func masks() throws -> [UInt32] {
            try [1, 2].map { try world.succeed(.getFeature(NVME_FEAT_FID_RESV_MASK, nsid: $0), on: host.admin).dword0 }
        }
        try set(0b0110, 0xFFFF_FFFF)
        try add(2...2, world)
        #expect(try masks() == [0b0110, 0])
        try set(0b1000, 2)
        #expect(try masks() == [0b0110, 0b1000])
    }
}
