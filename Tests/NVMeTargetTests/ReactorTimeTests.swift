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

/// Whatever a host asks for, and however much is configured: what a reactor does for it in one round is little, because the
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
