import AllocationProbe
import Base
import BlockInterface
import CLibNVMe
import FabricInterface
import MemoryBlock
import NVMeTarget
import Simulation
import Synchronization
import TargetInterface
import Testing

/// A reactor does little for a host in one round, whatever it asks for and however much is configured, because the
/// same reactor does other hosts' I/O. Work is counted, never timed.
@Suite struct ReactorTimeTests {
    private static func options(namespaces: Int = 16) -> TargetOptions {
        var options = TargetWorld.smallOptions
        options.maxNamespaces = namespaces
        return options
    }

    /// Lets a command be done and counts what the target allocates for it: in all, and in the costliest round.
    private func cost(
        _ world: TargetWorld, _ host: RawHost, _ queue: RawQueue, _ command: RawCommand
    ) throws -> (completion: RawCompletion, inAll: Int, inOneRound: Int) {
        let id = queue.send(command)
        var inAll = 0
        var inOneRound = 0
        for _ in 0..<100_000 {
            _ = host.poll(now: world.network.now)
            if let completion = queue.take(id) { return (completion, inAll, inOneRound) }
            let before = allocationsOfThread()
            _ = world.groups[0].poll(now: world.network.now)
            let made = Int(allocationsOfThread() - before)
            inAll += made
            inOneRound = max(inOneRound, made)
            world.network.run(until: world.network.now.advanced(byNanoseconds: 1000))
        }
        throw WorldError("no answer; \(world.events.all)")
    }

    private func addSubsystems(_ count: Int, _ world: TargetWorld, to host: RawHost? = nil) throws {
        try world.change {
            $0.subsystems += (0..<count).map { number in
                SubsystemDefinition(
                    nqn: "nqn.2024-01.io.tercet:\(host == nil ? "many" : "mine")-\(1_000_000 + number)",
                    serialNumber: "M\(number)", access: host.map { .hosts([$0.nqn]) } ?? .anyHost)
            }
        }
    }

    private func number(_ bytes: some Collection<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    // MARK: The discovery log

    /// - Parameter isListed: the subsystems name the host, instead of letting in any.
    @Test(arguments: [false, true]) func aPieceOfTheDiscoveryLogCostsWhatItIsLong(isListed: Bool) throws {
        try #require(allocationProbeIsActive())
        func pieces(_ count: Int) throws -> [Int] {
            let world = try TargetWorld(options: Self.options())
            let host = world.addHost()
            try addSubsystems(count, world, to: isListed ? host : nil)
            let (queue, _) = try world.admin(host, nqn: TargetWorld.discovery, keepAlive: 100_000)
            let offset = host.allocate(4096)
            return try [0, 4096, 40 * 1024].map { place in
                let command = RawCommand.getLog(NVME_LOG_LID_DISCOVER, bytes: 4096)
                    .with(12, UInt32(place)).with(sgl: host.keyed(offset, 4096))
                let (completion, inAll, _) = try cost(world, host, queue, command)
                #expect(completion.isSuccess)
                return inAll
            }
        }
        for (few, many) in zip(try pieces(50), try pieces(2000)) {
            #expect(many <= few + 8, "\(many) allocations among 2000 subsystems, \(few) among 50")
        }
    }

    @Test func theDiscoveryLogIsTheSameInAnyPieces() throws {
        var options = Self.options()
        options.controlMemory = 2 << 20
        let world = try TargetWorld(options: options)
        let host = world.addHost()
        try addSubsystems(150, world)
        try addSubsystems(1, world, to: world.addHost())
        let mine = SubsystemDefinition(
            nqn: "nqn.2024-01.io.tercet:mine", serialNumber: "MINE", access: .hosts([host.nqn]))
        let other = try #require(SocketAddress(host: "192.0.2.1", port: 4421))
        let referral = try #require(SocketAddress(host: "192.0.2.9", port: 8009))
        try world.change {
            $0.subsystems.append(mine)
            $0.listeners.append(other)
            $0.referrals = [referral]
        }
        let (queue, _) = try world.admin(host, nqn: TargetWorld.discovery, keepAlive: 100_000)
        // 150, the world's own and this host's, at two listeners; and a referral.
        let records = 152 * 2 + 1
        func read(_ place: Int, _ count: Int) throws -> [UInt8] {
            let offset = host.connectData()
            let memory = count <= 1024 ? offset : host.allocate(count)
            let command = RawCommand.getLog(NVME_LOG_LID_DISCOVER, bytes: count)
                .with(12, UInt32(place)).with(
                    10, NVME_LOG_LID_DISCOVER.rawValue | UInt32((count / 4 - 1) & 0xFFFF) << 16
                )
                .with(11, UInt32((count / 4 - 1) >> 16)).with(sgl: host.keyed(memory, count))
            #expect(try world.execute(queue, command).isSuccess)
            return Array(host.memory[memory..<memory + count])
        }
        let whole = try read(0, 512 << 10)
        #expect(whole.number(8, 8) == UInt64(records))
        var names: [String: Int] = [:]
        for record in 0..<records {
            let entry = whole[(record + 1) * 1024..<(record + 2) * 1024]
            let name = entry.dropFirst(256).prefix(256).prefix { $0 != 0 }
            names[String(decoding: name, as: UTF8.self), default: 0] += 1
        }
        #expect(names.count == 153 && names[mine.nqn] == 2 && names[TargetWorld.nqn] == 2)
        #expect(names[TargetWorld.discovery] == 1)
        #expect(whole[((records + 1) * 1024)...].allSatisfy { $0 == 0 }, "nothing behind the last record")
        // Pieces that begin and end within records.
        for (place, count) in [(0, 16), (12, 1012), (1000, 1024), (1024, 512), (1276, 300), (155_000, 1024)] {
            #expect(try read(place, count) == Array(whole[place..<place + count]), "\(count) bytes from \(place)")
        }
    }

    /// A host that asks for more than there is memory for waits for it, and is not told to go away.
    @Test func answersWaitForMemory() throws {
        var options = Self.options()
        options.dataMemory = 4 << 20
        let world = try TargetWorld(options: options)
        let host = world.addHost()
        let (queue, _) = try world.admin(host, nqn: TargetWorld.discovery, keepAlive: 100_000)
        world.pass(milliseconds: 10)
        let before = world.pools
        let offset = host.allocate(1 << 20)
        let command = RawCommand(opcode: nvme_admin_get_log_page.rawValue)
            .with(10, NVME_LOG_LID_DISCOVER.rawValue | 0xFFFF << 16).with(11, 0x3)
            .with(sgl: host.keyed(offset, 1 << 20))
        let ids = (0..<16).map { _ in queue.send(command) }
        for id in ids { #expect(try world.completion(of: id, queue).isSuccess) }
        world.expectPools(before)
    }

    // MARK: Namespaces

    /// A device that counts how often it is opened.
    private final class CountedDevice: BlockDevice {
        final class Counter: Sendable {
            let opened = Mutex(0)
            var count: Int { opened.withLock { $0 } }
        }

        let inner: RAMDevice
        let counter: Counter

        init(_ counter: Counter) throws {
            inner = try RAMDevice(byteCount: 1 << 20)
            self.counter = counter
        }
        var name: String { inner.name }
        var geometry: BlockGeometry { inner.geometry }
        var identity: BlockIdentity { inner.identity }
        func refresh() -> BlockDeviceChange { .unchanged }
        func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
            counter.opened.withLock { $0 += 1 }
            return try inner.openChannel(depth: depth)
        }
    }

    @discardableResult
    private func add(_ nsids: ClosedRange<UInt32>, _ world: TargetWorld) throws -> CountedDevice.Counter {
        let counter = CountedDevice.Counter()
        let added = try nsids.map { nsid in
            NamespaceDefinition(
                nsid: nsid, backing: .device(try CountedDevice(counter)),
                identity: BlockIdentity(uuid: RawSGL.little(UInt64(nsid), 8) + [UInt8](repeating: 9, count: 8)))
        }
        try world.change { $0[TargetWorld.nqn]?.namespaces += added }
        return counter
    }

    /// A host's first I/O queue makes a reactor open the subsystem's namespaces.
    @Test func namespacesAreOpenedAFewInARound() throws {
        let world = try TargetWorld(options: Self.options(namespaces: 256))
        let counter = try add(2...200, world)
        let host = world.addHost()
        let (admin, id) = try world.admin(host)
        #expect(try world.execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        var options = RawQueueOptions()
        options.queueID = 1
        let queue = try world.open(host, options)
        let before = counter.count
        let connect = queue.send(RawConnect(host, controllerID: id, queueID: 1).command)
        var most = 0
        var opened = before
        for _ in 0..<10_000 where queue.completions.isEmpty {
            _ = host.poll(now: world.network.now)
            _ = world.groups[0].poll(now: world.network.now)
            let now = counter.count
            most = max(most, now - opened)
            opened = now
            world.network.run(until: world.network.now.advanced(byNanoseconds: 1000))
        }
        #expect(queue.take(connect)?.isSuccess == true)
        #expect(opened - before == 199, "all are open when the host has its queue")
        #expect(most <= 32, "\(most) devices were opened in one round")
        for nsid in [2, 100, 200] as [UInt32] {
            #expect(try world.execute(queue, RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: nsid)).isSuccess)
        }
        // A subsystem that is removed closes them likewise, and leaves nothing behind.
        try world.change { $0.subsystems = [] }
        try world.wait("the end of the reactor's view") { world.groups[0].heldViews == 0 }
    }

    /// The last namespace identifier there is, among a few: a host uses it, and finds it in its lists.
    @Test func theHighestIdentifierIsServed() throws {
        let world = try TargetWorld(options: Self.options(namespaces: 65536))
        try add(65536...65536, world)
        let attached = try world.attach()
        let offset = attached.scratch(4096)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 65536).range(0, 8)
        #expect(try world.execute(attached.io[0], read.with(sgl: attached.host.keyed(offset, 4096))).isSuccess)
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: 1)
            .with(10, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST.rawValue).with(sgl: attached.host.keyed(offset, 4096))
        #expect(try world.execute(attached.admin, identify).isSuccess)
        #expect(number(attached.host.memory[offset..<offset + 8]) == 65536)
        let beyond = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 65537)
        let refusal = try world.execute(attached.io[0], beyond).status
        #expect(refusal.code == NVME_SC_INVALID_NS.rawValue && refusal.doNotRetry)
    }

    /// Linux's host reads the ANA log with one command: as many namespaces are allowed as a log of one transfer names.
    @Test func aSubsystemHasAsManyNamespacesAsItsLogCanName() throws {
        var options = Self.options(namespaces: 65536)
        options.maxTransferSize = 8192
        let world = try TargetWorld(options: options)
        let (queue, _) = try world.admin(world.addHost())
        let offset = queue.host.allocate(4096)
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue)
            .with(10, NVME_IDENTIFY_CNS_CTRL.rawValue).with(sgl: queue.host.keyed(offset, 4096))
        #expect(try world.execute(queue, identify).isSuccess)
        // NVMe Base, "Identify Controller": NN at byte 516, MNAN at 540, NANAGRPID at 348. Linux, nvme_mpath_init_identify:
        // a header of 16 bytes, 32 for each group, 4 for each namespace.
        func field(_ place: Int) -> Int { Int(number(queue.host.memory[offset + place..<offset + place + 4])) }
        #expect(field(516) == 65536)
        #expect(16 + field(348) * 32 + field(540) * 4 <= 8192 && field(540) >= 256)
        try add(2...UInt32(field(540)), world)
        #expect(throws: WorldError.self) { try add(2000...2000, world) }
    }

    /// Lists in pieces name each namespace once, in order, as they come and go.
    @Test func listsOfNamespacesAreWhole() throws {
        let world = try TargetWorld(options: Self.options(namespaces: 2048))
        try add(2...1500, world)
        let removed = Set(stride(from: UInt32(10), to: 1500, by: 7))
        try world.change { $0[TargetWorld.nqn]?.namespaces.removeAll { removed.contains($0.nsid) } }
        let expected = [1] + (UInt32(2)...1500).filter { $0 < 10 || ($0 - 10) % 7 != 0 || $0 >= 1500 }
        let host = world.addHost()
        let (queue, _) = try world.admin(host)
        let offset = host.allocate(4096)
        var listed: [UInt32] = []
        while listed.count < 4096 {
            let identify = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: listed.last ?? 0)
                .with(10, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST.rawValue).with(sgl: host.keyed(offset, 4096))
            #expect(try world.execute(queue, identify).isSuccess)
            let bytes = Array(host.memory[offset..<offset + 4096])
            let page = (0..<1024).map { UInt32(bytes.number($0 * 4, 4)) }
            let found = page.prefix { $0 != 0 }
            listed += found
            if found.count < 1024 { break }
        }
        #expect(listed == expected)
    }

    // MARK: Reservations

    /// A store that answers when the test lets it.
    private final class HangingStore: ReservationStore {
        let waiting = Mutex<[@Sendable (String?) -> Void]>([])
        func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { nil }
        func save(
            _ bytes: [UInt8]?, subsystem: String, nsid: UInt32, completion: @escaping @Sendable (String?) -> Void
        ) { waiting.withLock { $0.append(completion) } }
        func release() {
            let all = waiting.withLock { waiting in
                defer { waiting = [] }
                return waiting
            }
            for one in all { one(nil) }
        }
    }

    /// Commands that wait for one whose store hangs cost a round nothing, and have their turns in the order in which they
    /// came; one whose host has gone is left out.
    @Test func reservationCommandsThatWaitCostNothing() throws {
        try #require(allocationProbeIsActive())
        let store = HangingStore()
        let world = try TargetWorld(reservations: store)
        try world.add(TargetWorld.namespace(2, try RAMDevice(byteCount: 1 << 20)))
        let hosts = try (0..<4).map { _ in try world.attach() }
        func register(_ attached: AttachedHost, _ key: UInt64, persist: Bool) -> UInt16 {
            let offset = attached.scratch(4096) + Int(key) * 16
            UnsafeMutableRawBufferPointer(rebasing: attached.host.memory[offset..<offset + 16])
                .copyBytes(from: RawSGL.little(0, 8) + RawSGL.little(key, 8))
            let dword10: UInt32 = NVME_RESERVATION_RREGA_REGISTER_KEY.rawValue | (persist ? 3 << 30 : 0)
            return attached.io[0].send(
                RawCommand(opcode: nvme_cmd_resv_register.rawValue, nsid: 2).with(10, dword10)
                    .with(sgl: attached.host.keyed(offset, 16)))
        }
        let first = register(hosts[0], 1, persist: true)
        try world.wait("the store") { store.waiting.withLock { $0.count } == 1 }
        let others = hosts.dropFirst().map { register($0, 2, persist: false) }
        world.pass(milliseconds: 10)
        #expect(hosts.allSatisfy { $0.io[0].completions.isEmpty })
        let group = world.groups[0]
        _ = group.poll(now: world.network.now)
        let before = allocationsOfThread()
        for _ in 0..<1000 { _ = group.poll(now: world.network.now) }
        #expect(allocationsOfThread() - before == 0)
        hosts[2].host.destroyAll()
        world.pass(milliseconds: 10)
        // The reservation persists: each change is stored.
        for _ in 0..<3 {
            store.release()
            world.pass(milliseconds: 10)
        }
        #expect(hosts[0].io[0].take(first)?.isSuccess == true)
        #expect(hosts[1].io[0].take(others[0])?.isSuccess == true)
        #expect(hosts[3].io[0].take(others[2])?.isSuccess == true)
        let report = try ReservingHost(world: world, attached: hosts[0], nsid: 2).report()
        #expect(report.registrants.map(\.hostID) == [hosts[0], hosts[1], hosts[3]].map(\.host.id))
    }

    /// A mask for all namespaces is so for those that were there, and for no later one.
    @Test func aMaskForAllNamespacesIsForThoseThatAreThere() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let admin = attached.admin
        let mask: UInt32 = 0b0110
        let feature = RawCommand.setFeature(NVME_FEAT_FID_RESV_MASK, mask)
        var all = feature
        all[dword: 1] = 0xFFFF_FFFF
        #expect(try world.execute(admin, all).isSuccess)
        try add(2...2, world)
        func read(_ nsid: UInt32) throws -> UInt32 {
            let get = RawCommand(opcode: nvme_admin_get_features.rawValue, nsid: nsid)
                .with(10, NVME_FEAT_FID_RESV_MASK.rawValue)
            let reply = try world.execute(admin, get)
            guard reply.isSuccess else { throw WorldError("mask: \(reply.status)") }
            return reply.dword0
        }
        #expect(try read(1) == mask && read(2) == 0)
        var one = RawCommand.setFeature(NVME_FEAT_FID_RESV_MASK, 0b1000)
        one[dword: 1] = 2
        #expect(try world.execute(admin, one).isSuccess)
        #expect(try read(1) == mask && read(2) == 0b1000)
    }
}
