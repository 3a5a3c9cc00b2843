import AllocationProbe
import Base
import BlockInterface
import CLibNVMe
import FabricInterface
import Glibc
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The cost of every fabrics and admin command, and of those for reservations, against the size of the configuration. A
/// reactor does other hosts' I/O between two rounds: the costliest round of a command counts, and it must not grow with the
/// number of subsystems, namespaces and hosts.
@Suite(.serialized) struct CommandCostTests {
    /// The size of a configuration.
    struct Size {
        var subsystems: Int
        var namespaces: Int
        var hosts: Int
        var registrants: Int
    }

    /// The cost of a command in its costliest round.
    struct Cost {
        var name: String
        var allocations = 0
        var nanoseconds: UInt64 = 0
    }

    /// Allocations tell how many entries were touched and copied. A few more are caches that grow.
    @Test func noCommandCostsMoreWhereMoreIsConfigured() throws {
        try #require(allocationProbeIsActive())
        let few = try costs(Size(subsystems: 20, namespaces: 20, hosts: 4, registrants: 4), rounds: 3)
        let many = try costs(Size(subsystems: 1000, namespaces: 3000, hosts: 40, registrants: 40), rounds: 3)
        #expect(few.map(\.name) == many.map(\.name))
        for (little, much) in zip(few, many) {
            // A report names each registrant, and a change tells each of them.
            let slack = little.name.hasPrefix("Reservation") ? 8 + 3 * 36 : 8
            #expect(
                much.allocations <= little.allocations + slack,
                "\(much.name): \(little.allocations) allocations where little is configured, \(much.allocations) where much is"
            )
        }
    }

    /// Prints how long the costliest round of each command took, for `Tools/bench --only commands`: times are no test's matter.
    @Test(.enabled(if: getenv("TERCET_COMMAND_COSTS") != nil)) func printsWhatCommandsCost() throws {
        let size = Size(subsystems: 10_000, namespaces: 65_536, hosts: 1000, registrants: 60)
        let costs = try costs(size, rounds: 15)
        print(
            "costliest round in microseconds, median of 15, at \(size.subsystems) subsystems, \(size.namespaces) namespaces, "
                + "\(size.hosts) hosts, \(size.registrants) registrants")
        for cost in costs { print("  \(cost.nanoseconds / 1000).\(cost.nanoseconds % 1000 / 100)  \(cost.name)") }
        #expect(!costs.isEmpty)
    }

    // MARK: Measuring

    private static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Lets a command be done; returns its completion, and what the target's costliest round took.
    private func run(
        _ world: TargetWorld, _ queue: RawQueue, _ name: String, _ command: RawCommand
    ) throws -> (completion: RawCompletion, cost: Cost) {
        let id = queue.send(command)
        var cost = Cost(name: name)
        for _ in 0..<1_000_000 {
            _ = queue.host.poll(now: world.network.now)
            if let completion = queue.take(id) { return (completion, cost) }
            let (before, start) = (allocationsOfThread(), Self.nanoseconds())
            _ = world.groups[0].poll(now: world.network.now)
            cost.nanoseconds = max(cost.nanoseconds, Self.nanoseconds() - start)
            cost.allocations = max(cost.allocations, Int(allocationsOfThread() - before))
            world.network.run(until: world.network.now.advanced(byNanoseconds: 1000))
        }
        throw WorldError("no answer to \(name); \(world.events.all.suffix(3))")
    }

    /// The median of a few runs of each command.
    private func costs(_ size: Size, rounds: Int) throws -> [Cost] {
        let world = try world(size)
        try register(size, world)
        let host = world.addHost()
        let scratch = host.allocate(1 << 20)
        var table: [Cost] = []
        func measure(_ name: String, _ queue: RawQueue, succeeds: Bool = true, _ make: () throws -> RawCommand) throws {
            var costs: [Cost] = []
            for _ in 0..<rounds {
                let (completion, cost) = try run(world, queue, name, make())
                #expect(completion.isSuccess == succeeds, "\(name): \(completion.status)")
                costs.append(cost)
            }
            var median = Cost(name: name)
            median.nanoseconds = costs.map(\.nanoseconds).sorted()[rounds / 2]
            median.allocations = costs.map(\.allocations).sorted()[rounds / 2]
            table.append(median)
        }
        let admin = try world.open(host)
        let (connected, adminCost) = try run(world, admin, "Connect, admin queue", RawConnect(host).command)
        #expect(connected.isSuccess)
        try world.enable(admin)
        let id = UInt16(truncatingIfNeeded: connected.dword0)
        #expect(try world.execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        var options = RawQueueOptions()
        options.queueID = 1
        let io = try world.open(host, options)
        let (second, ioCost) = try run(
            world, io, "Connect, I/O queue", RawConnect(host, controllerID: id, queueID: 1).command)
        #expect(second.isSuccess)
        table += [adminCost, ioCost]
        for row in rows(host, scratch) { try measure(row.name, admin, succeeds: row.succeeds, row.command) }
        let (discovery, _) = try world.admin(world.addHost(), nqn: TargetWorld.discovery, keepAlive: 100_000)
        let place = discovery.host.allocate(1 << 20)
        for bytes in [1024, 4096, 1 << 18] {
            let dwords = UInt32(bytes / 4 - 1)
            try measure("Get Log Page 70h, \(bytes) bytes", discovery) {
                RawCommand(opcode: nvme_admin_get_log_page.rawValue)
                    .with(10, NVME_LOG_LID_DISCOVER.rawValue | dwords << 16).with(11, dwords >> 16)
                    .with(12, 1024).with(sgl: discovery.host.keyed(place, bytes))
            }
        }
        for (name, opcode, dword10, keys, bytes) in Self.reservations {
            UnsafeMutableRawBufferPointer(rebasing: host.memory[scratch..<scratch + 16])
                .copyBytes(from: RawSGL.little(keys.0, 8) + RawSGL.little(keys.1, 8))
            let command = RawCommand(opcode: opcode, nsid: 1).with(10, dword10).with(11, bytes == 4096 ? 1 : 0)
                .with(sgl: host.keyed(scratch, bytes))
            let (completion, cost) = try run(world, io, name, command)
            #expect(completion.isSuccess, "\(name): \(completion.status)")
            table.append(cost)
        }
        return table
    }

    /// Opcode, dword 10, current and new key, bytes of data.
    private static let reservations: [(String, UInt32, UInt32, (UInt64, UInt64), Int)] = [
        ("Reservation Register", nvme_cmd_resv_register.rawValue, 0, (0, 5), 16),
        ("Reservation Acquire", nvme_cmd_resv_acquire.rawValue, 1 << 8, (5, 0), 16),
        ("Reservation Report, 4096 bytes", nvme_cmd_resv_report.rawValue, 1023, (0, 0), 4096),
        ("Reservation Release", nvme_cmd_resv_release.rawValue, 1 << 8, (5, 0), 8),
    ]

    // MARK: What is configured

    /// A device that is nothing but there.
    private final class Stub: BlockDevice {
        let geometry = BlockGeometry(blockSize: 512, blockCount: 8, hasVolatileWriteCache: false)
        var name: String { "stub" }
        var identity: BlockIdentity { BlockIdentity() }
        func refresh() -> BlockDeviceChange { .unchanged }
        func openChannel(depth: Int) throws(TercetError) -> BlockChannel { Channel() }

        private final class Channel: BlockChannel {
            override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { 0 }
            override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int { 0 }
            override var running: Int { 0 }
        }
    }

    private func world(_ size: Size) throws -> TargetWorld {
        var options = TargetWorld.smallOptions
        options.maxNamespaces = 65536
        options.controlMemory = 4 << 20
        let world = try TargetWorld(options: options)
        let stub = Stub()
        try world.change { definition in
            definition.subsystems += (0..<size.subsystems).map {
                SubsystemDefinition(nqn: "nqn.2024-01.io.tercet:cost-\(1_000_000 + $0)", serialNumber: "C")
            }
            definition[TargetWorld.nqn]?.namespaces += (2...UInt32(size.namespaces)).map { nsid in
                NamespaceDefinition(
                    nsid: nsid, backing: .device(stub),
                    identity: BlockIdentity(uuid: RawSGL.little(UInt64(nsid), 8) + [UInt8](repeating: 9, count: 8)),
                    anaGroup: nsid % 16 + 1)
            }
        }
        var crowd: RawHost?
        for number in 0..<size.hosts {
            if number % 200 == 0 {
                let name = "crowd-\(number)"
                let device = world.network.makeDevice(name, addresses: ["192.0.2.\(200 + number / 200)"])
                let host = RawHost(name, device, memoryBytes: 600_000 * min(200, size.hosts) + (1 << 20))
                world.simulation.add(host)
                crowd = host
            }
            guard let crowd else { break }
            let queue = try world.open(crowd)
            let name = "nqn.2014-08.org.nvmexpress:uuid:crowd-\(number)"
            let connect = RawConnect(crowd, hostNQN: name, hostID: RawSGL.little(UInt64(number + 1), 16)).command
            #expect(try world.execute(queue, connect).isSuccess)
        }
        return world
    }

    /// Hosts that are registered with the first namespace, and are gone.
    private func register(_ size: Size, _ world: TargetWorld) throws {
        for number in 0..<size.registrants {
            let attached = try world.attach()
            try attached.join(UInt64(1000 + number), world)
            attached.host.destroyAll()
        }
        world.pass(milliseconds: 500)
    }

    private struct Row {
        var name: String
        var command: () -> RawCommand
        var succeeds = true
    }

    private func rows(_ host: RawHost, _ scratch: Int) -> [Row] {
        func data(_ command: RawCommand, _ bytes: Int) -> RawCommand { command.with(sgl: host.keyed(scratch, bytes)) }
        var rows: [Row] = []
        let lists: [UInt32] = [2, 7, 0x10]
        for structure in [0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13, 0x1C] as [UInt32] {
            let nsid: UInt32 = lists.contains(structure) ? 0 : 1
            let command = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: nsid).with(10, structure)
            rows.append(Row(name: "Identify CNS \(String(structure, radix: 16))h", command: { data(command, 4096) }))
        }
        for (page, bytes) in [
            (NVME_LOG_LID_SUPPORTED_LOG_PAGES, 1024), (NVME_LOG_LID_ERROR, 64), (NVME_LOG_LID_SMART, 512),
            (NVME_LOG_LID_FW_SLOT, 512), (NVME_LOG_LID_CHANGED_NS, 4096), (NVME_LOG_LID_CMD_EFFECTS, 4096),
            (NVME_LOG_LID_ANA, 4096), (NVME_LOG_LID_ANA, 256 << 10), (NVME_LOG_LID_RESERVATION, 64),
        ] as [(nvme_cmd_get_log_lid, Int)] {
            rows.append(
                Row(name: "Get Log Page \(String(page.rawValue, radix: 16))h, \(bytes) bytes") {
                    let dwords = UInt32(bytes / 4 - 1)
                    return data(
                        RawCommand(opcode: nvme_admin_get_log_page.rawValue, nsid: 0xFFFF_FFFF)
                            .with(10, page.rawValue | dwords << 16).with(11, dwords >> 16), bytes)
                })
        }
        var everywhere = RawCommand.setFeature(NVME_FEAT_FID_RESV_MASK, 2)
        everywhere[dword: 1] = 0xFFFF_FFFF
        let mask = everywhere
        rows += [
            Row(name: "Set Features, Reservation Notification Mask, all") { mask },
            Row(name: "Set Features, Asynchronous Event Configuration") {
                .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 0x100)
            },
            Row(
                name: "Get Features, Volatile Write Cache",
                command: {
                    RawCommand(opcode: nvme_admin_get_features.rawValue).with(10, NVME_FEAT_FID_VOLATILE_WC.rawValue)
                }, succeeds: false),
            Row(name: "Keep Alive") { RawCommand(opcode: nvme_admin_keep_alive.rawValue) },
            Row(name: "Abort") { RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, 0xFFFF_0000) },
            Row(name: "Property Get") { .getProperty(NVME_REG_CSTS) },
            Row(name: "Property Set") { .configure(0x0046_0001) },
        ]
        return rows
    }
}
