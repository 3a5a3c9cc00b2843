import Base
import CLibNVMe
import InProcessTransport
import NVMeSpec
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Asynchronous events, the log pages that they point at, and counters.
@Suite struct EventAndLogTests {
    /// A change, another one each time; the bit that asks to be told, the event and its log as NVMe Base and NVMe-oF number them.
    struct Notice: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let bit: UInt32
        let dword0: UInt32
        let log: nvme_cmd_get_log_lid
        var nqn = EngineWorld.nqn
        let change: @Sendable (EngineWorld, SimulatedDisk, _ time: Int) throws -> Void
    }

    private static func namespace(
        _ name: String, _ change: @escaping @Sendable (EngineWorld, SimulatedDisk, Int) throws -> Void
    ) -> Notice {
        Notice(testDescription: name, bit: 8, dword0: 0x0004_0002, log: NVME_LOG_LID_CHANGED_NS, change: change)
    }

    private static func discovery(
        _ name: String, _ change: @escaping @Sendable (inout TargetDefinition, Int) -> Void
    ) -> Notice {
        Notice(
            testDescription: name, bit: 31, dword0: 0x0070_F002, log: NVME_LOG_LID_DISCOVER, nqn: EngineWorld.discovery
        ) { world, _, time in try world.change { change(&$0, time) } }
    }

    /// - Parameter blocks: 0 for a device that is gone.
    private static func resize(_ world: EngineWorld, _ disk: SimulatedDisk, to blocks: UInt64) {
        if blocks == 0 { disk.vanish() } else { disk.resize(toBlocks: blocks) }
        world.target.refreshNamespaces()
    }

    static let notices = [
        namespace("a namespace grows") { resize($0, $1, to: UInt64($2 + 2) * 8192) },
        namespace("a namespace vanishes, and is back") { resize($0, $1, to: $2 % 2 == 0 ? 0 : 8192) },
        namespace("a namespace comes, and goes") { world, _, time in
            let second = EngineWorld.namespace(2, SimulatedDisk.instant())
            try world.change { $0[EngineWorld.nqn]?.namespaces[1...] = time % 2 == 0 ? [second] : [] }
        },
        Notice(testDescription: "an ANA group's state", bit: 11, dword0: 0x000C_0302, log: NVME_LOG_LID_ANA) {
            world, _, time in try world.setANAState(time % 2 == 0 ? .inaccessible : .optimized)
        },
        discovery("a subsystem") { $0.subsystems.append(SubsystemDefinition(nqn: "nqn.2024-01.io.tercet:\($1)")) },
        discovery("who may use a subsystem") { $0[EngineWorld.nqn]?.access = $1 % 2 == 0 ? .hosts([]) : .anyHost },
        discovery("a referral") { $0.referrals = $1 % 2 == 0 ? [EngineWorld.address(8009)] : [] },
        discovery("a listener") { $0.listeners = $1 % 2 == 0 ? [EngineWorld.address(4421)] : [] },
    ]

    private let device = SimulatedDisk.instant()

    @Test(arguments: notices) func aChangeIsToldOnceUntilItsLogIsRead(_ notice: Notice) throws {
        let world = try EngineWorld(device: device)
        let admin = try world.admin(nqn: notice.nqn)
        let ids = (0..<4).map { _ in world.send(.event, on: admin) }
        // Four at a time (Identify Controller, AERL).
        let fifth = try world.execute(.event, on: admin)
        #expect(fifth.status.code == RawStatus.specific(NVME_SC_ASYNC_LIMIT).code)
        try notice.change(world, device, 0)
        #expect(world.answer(to: ids[0], on: admin) == nil, "nobody has asked for it")
        try world.execute(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << notice.bit), on: admin)
        for (time, id) in zip([1, 3], ids) {
            try notice.change(world, device, time)
            #expect(world.answer(to: id, on: admin)?.dword0 == notice.dword0)
            try notice.change(world, device, time + 1)
            #expect(world.answer(to: ids[time == 1 ? 1 : 2], on: admin) == nil, "the log has not been read")
            _ = try world.log(notice.log, 4096, on: admin)
        }
    }

    @Test func theDiscoveryLogNamesWhatAHostMayUse() throws {
        let world = try EngineWorld()
        let admin = try world.admin(nqn: EngineWorld.discovery)
        func log() throws -> [UInt8] { try world.log(NVME_LOG_LID_DISCOVER, 4096, on: admin) }
        // Its port, its subsystem and its address.
        func texts(_ entry: ArraySlice<UInt8>) -> [String] {
            [(32, 32), (256, 256), (512, 256)].map { offset, count in
                let bytes = entry.dropFirst(offset).prefix(count)
                return String(decoding: bytes.prefix { $0 != 0 && $0 != 0x20 }, as: UTF8.self)
            }
        }
        try world.change {
            $0.listeners = [EngineWorld.address(4420)]
            $0.referrals = [EngineWorld.address(8009)]
        }
        let first = try log()
        #expect(first.number(8, 8) == 2, "two records")
        #expect(first.number(16, 2) == 0, "record format 0")
        let (mine, referral) = (first[1024..<2048], first[2048..<3072])
        // Transport 1 (RDMA), IPv4, an NVM subsystem, port 1, any controller, admin queue of at least 32.
        #expect(Array(mine.prefix(3)) == [1, 1, 2])
        #expect(first.number(1024 + 4, 2) == 1 && first.number(1024 + 6, 2) == 0xFFFF)
        #expect(first.number(1024 + 8, 2) >= 32)
        #expect(texts(mine) == ["4420", EngineWorld.nqn, "192.0.2.1"])
        let kind = [NVMF_TRTYPE_RDMA.rawValue, NVMF_ADDR_FAMILY_IP4.rawValue, NVME_NQN_DISC.rawValue]
        #expect(referral.prefix(3).map(UInt32.init) == kind)
        #expect(texts(referral) == ["8009", EngineWorld.discovery, "192.0.2.1"])
        #expect(try log() == first, "the generation counter stands while nothing changes")
        // A subsystem more; then one that the host may not use; then no referral.
        var generation = first.number(0, 8)
        for (records, change) in [
            (3, { $0.subsystems.append(SubsystemDefinition(nqn: "nqn.2024-01.io.tercet:second")) }),
            (2, { $0[EngineWorld.nqn]?.access = .hosts(["nqn.2024-01.io.tercet:friend"]) }),
            (1, { $0.referrals = [] }),
        ] as [(UInt64, (inout TargetDefinition) -> Void)] {
            try world.change(change)
            let page = try log()
            #expect(page.number(8, 8) == records && page.number(0, 8) > generation)
            generation = page.number(0, 8)
        }
    }

    @Test func errorsAreKept() throws {
        let world = try EngineWorld()
        let admin = try world.attach().admin
        let bad = RawCommand(opcode: nvme_admin_get_log_page.rawValue).with(10, 0xEE)
        let refused = try world.execute(bad, on: admin)
        #expect(refused.status.code != 0)
        let errors = try world.log(NVME_LOG_LID_ERROR, 128, on: admin)
        #expect(errors.number(0, 8) == 1 && errors.number(8, 2) == 0)
        #expect(errors.number(10, 2) == UInt64(refused.commandID))
        #expect(refused.status == RawStatus(field: errors.number(12, 2)))
        #expect(errors.number(64, 8) == 0, "one entry")
        #expect(try world.log(NVME_LOG_LID_SMART, 512, on: admin).number(176, 8) == 1, "entries of the error log")
    }

    /// All reactors take on what one is told; the counts of all are added up.
    @Test func everyReactorTakesPart() throws {
        let (world, device) = try EngineWorld.steered(groups: 2)
        let host = try world.attach(ioQueues: 2)
        func expectEach(_ command: RawCommand, _ status: UInt32, _ what: String, _ data: InProcessData = .none) throws {
            for queue in 0..<2 { #expect(try host.execute(command, data, queue: queue).code == status, "\(what)") }
        }
        Self.resize(world, device, to: 16384)
        try world.add(EngineWorld.namespace(2, SimulatedDisk.instant()))
        for changed in [[1, 2], [0, 0]] as [[UInt64]] {
            let list = try world.log(NVME_LOG_LID_CHANGED_NS, 4096, on: host.admin)
            #expect([list.number(0, 4), list.number(4, 4)] == changed && list.number(8, 4) == 0, "it is read once")
        }
        #expect(try world.identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: host.admin).number(0, 8) == 16384)
        try expectEach(.io(nvme_cmd_verify, 16383), 0, "the new blocks")
        try expectEach(.flush(2), 0, "the new namespace")
        try world.setANAState(.inaccessible)
        try expectEach(.flush(2), 0x302, "the group's state")
        try world.setANAState(.optimized)
        try world.change { $0[EngineWorld.nqn]?.namespaces.removeLast() }
        try expectEach(.flush(2), NVME_SC_INVALID_NS.rawValue, "it has been removed")
        let before = world.target.subsystems[0].statistics
        for _ in 0..<50 {
            try expectEach(.io(nvme_cmd_write, 0, 128), 0, "a write", .fromHost(.blocks(128, of: 1)))
            for _ in 0..<2 { try expectEach(.io(nvme_cmd_read, 0, 128), 0, "a read", .toHost(65536)) }
        }
        let page = try world.log(NVME_LOG_LID_SMART, 512, on: host.admin)
        #expect(before.readCommands == 0 && before.writeCommands == 0)
        expectCounters(world)
        // Units of 1000 blocks of 512 bytes, rounded up: 25600 read, 12800 written; then the commands.
        #expect([32, 48, 64, 80].map { page.number($0, 8) } == [26, 13, 200, 100])
        Self.resize(world, device, to: 0)
        for queue in 0..<2 { #expect(host.status(of: host.sendRead(queue: queue), queue: queue) != .success) }
        #expect(host.isThere)
    }

    /// Latency buckets, from their definition: four for each power of two.
    @Test func bucketsFollowEachOther() {
        let bounds = LatencyCounts.upperNanoseconds
        #expect(bounds.count == 96)
        // A microsecond and a quarter, 1.5, 1.75, 2, and so on to 17 seconds.
        #expect(bounds[..<5] == [1279, 1535, 1791, 2047, 2559])
        #expect(bounds.last == 17_179_869_183)
        #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 })
    }

    /// 200 reads and 100 writes of 64 KiB in two queues are those of the one host, and of the one namespace.
    private func expectCounters(_ world: EngineWorld) {
        let counters = world.target.counters[0]
        #expect(counters.hosts.map(\.statistics.readCommands) == [200])
        #expect(counters.hosts.map(\.statistics.writeCommands) == [100])
        #expect([counters.hosts[0].reads, counters.hosts[0].writes].map { $0.counts.reduce(0, +) } == [200, 100])
        #expect(counters.namespaces.map(\.nsid) == [1])
        #expect(counters.namespaces[0].reads.commands == 200 && counters.namespaces[0].reads.bytes == 200 * 65536)
        #expect(counters.namespaces[0].writes.commands == 100 && counters.namespaces[0].writes.bytes == 100 * 65536)
        let host = counters.hosts[0].statistics
        #expect(counters.namespaces[0].reads.nanoseconds == host.readNanoseconds)
        #expect(counters.namespaces[0].writes.nanoseconds == host.writeNanoseconds)
    }
}
