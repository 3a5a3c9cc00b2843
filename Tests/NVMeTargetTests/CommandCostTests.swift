import AllocationProbe
import CLibNVMe
import Glibc
import InProcessTransport
import TargetInterface
import Testing

/// The cost of every fabrics and admin command, and of those for reservations, against the size of the configuration. A
/// reactor does other hosts' I/O between two rounds: the costliest round of a command counts, and it must not grow with the
/// number of subsystems, namespaces and hosts.
@Suite(.serialized) struct CommandCostTests {
    /// The size of a configuration.
    struct Size { var subsystems, namespaces, hosts, registrants: Int }

    /// The cost of a command in its costliest round.
    struct Cost {
        var name: String
        var allocations = 0
        var time = Duration.zero
    }

    /// Allocations tell how many entries were touched and copied. A few more are caches that grow.
    @Test func noCommandCostsMoreWhereMoreIsConfigured() throws {
        try #require(allocationProbeIsActive())
        let few = try costs(Size(subsystems: 300, namespaces: 20, hosts: 4, registrants: 4), rounds: 3)
        let many = try costs(Size(subsystems: 3000, namespaces: 3000, hosts: 40, registrants: 40), rounds: 3)
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
        for cost in costs { print("  \(cost.time / .microseconds(1))  \(cost.name)") }
        #expect(!costs.isEmpty)
    }

    // MARK: Measuring

    /// Lets a command be done; returns its completion, and what the target's costliest round took.
    private func run(
        _ world: EngineWorld, _ queue: InProcessQueue, _ name: String, _ command: RawCommand, _ data: InProcessData
    ) throws -> (completion: RawCompletion, cost: Cost) {
        let id = world.send(command, data, on: queue)
        var cost = Cost(name: name)
        for _ in 0..<1_000_000 {
            if let answer = queue.answer(to: id) { return (RawCompletion(answer.entry), cost) }
            let (before, start) = (allocationsOfThread(), ContinuousClock.now)
            _ = world.poll()
            cost.time = max(cost.time, ContinuousClock.now - start)
            cost.allocations = max(cost.allocations, Int(allocationsOfThread() - before))
        }
        throw WorldError("no answer to \(name); \(world.events.all.suffix(3))")
    }

    /// The median of a few runs of each command.
    private func costs(_ size: Size, rounds: Int) throws -> [Cost] {
        let world = try world(size)
        var table: [Cost] = []
        @discardableResult func once(
            _ name: String, _ queue: InProcessQueue, _ command: RawCommand, _ data: InProcessData
        ) throws -> RawCompletion {
            let (completion, cost) = try run(world, queue, name, command, data)
            #expect(completion.isSuccess, "\(name): \(completion.status)")
            table.append(cost)
            return completion
        }
        func measure(_ row: Row, _ queue: InProcessQueue) throws {
            let costs = try (0..<rounds).map { _ in
                let (completion, cost) = try run(world, queue, row.name, row.command, row.data)
                #expect(completion.isSuccess == row.succeeds, "\(row.name): \(completion.status)")
                return cost
            }
            table.append(
                Cost(
                    name: row.name, allocations: costs.map(\.allocations).sorted()[rounds / 2],
                    time: costs.map(\.time).sorted()[rounds / 2]))
        }
        let admin = world.open()
        var connect = RawConnect()
        let id = UInt16(try once("Connect, admin queue", admin, connect.command, .fromHost(connect.data)).dword0)
        try world.execute(.configure(0x0046_0001), on: admin)
        try world.execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0), on: admin)
        let io = world.open(queueID: 1)
        connect = RawConnect(controllerID: id, queueID: 1)
        try once("Connect, I/O queue", io, connect.command, .fromHost(connect.data))
        for row in rows { try measure(row, admin) }
        let discovery = try world.admin(nqn: EngineWorld.discovery, keepAlive: 100_000)
        for (place, bytes) in [(0, 4096), (1024, 1024), (4096, 4096), (40960, 4096), (1024, 1 << 18)] {
            let command = RawCommand.getLog(NVME_LOG_LID_DISCOVER, bytes: bytes, nsid: 0).with(12, UInt32(place))
            try measure(Row("Get Log Page 70h, \(bytes) bytes at \(place)", command, .toHost(bytes)), discovery)
        }
        for (name, opcode, dword10, keys) in Self.reservations {
            let command = RawCommand(opcode: opcode.rawValue, nsid: 1).with(10, dword10)
            // A report has a structure of its own (EDS), and is read.
            let data: InProcessData = keys.isEmpty ? .toHost(4096) : .fromHost(keys.flatMap { RawSGL.little($0, 8) })
            try once(name, io, command.with(11, keys.isEmpty ? 1 : 0), data)
        }
        return table
    }

    /// Opcode, dword 10, current and new key.
    private static let reservations: [(String, nvme_io_opcode, UInt32, [UInt64])] = [
        ("Reservation Register", nvme_cmd_resv_register, 0, [0, 5]),
        ("Reservation Acquire", nvme_cmd_resv_acquire, 1 << 8, [5, 0]),
        ("Reservation Report, 4096 bytes", nvme_cmd_resv_report, 1023, []),
        ("Reservation Release", nvme_cmd_resv_release, 1 << 8, [5]),
    ]

    // MARK: What is configured

    private func world(_ size: Size) throws -> EngineWorld {
        let world = try EngineWorld(.small { ($0.maxNamespaces, $0.controlMemory) = (65536, 4 << 20) })
        let device = IdleDevice()
        try world.change { definition in
            definition.listeners = [EngineWorld.address(4420)]
            // Subsystems that let in any host, and such as name the host that asks.
            definition.subsystems += (0..<size.subsystems).map {
                SubsystemDefinition(
                    nqn: "nqn.2024-01.io.tercet:cost-\(1_000_000 + $0)", serialNumber: "C",
                    access: $0 % 2 == 0 ? .anyHost : .hosts([HostName.plain]))
            }
            definition[EngineWorld.nqn]?.namespaces += (2...UInt32(size.namespaces)).map {
                var namespace = EngineWorld.numbered($0, device)
                namespace.anaGroup = $0 % 16 + 1
                return namespace
            }
        }
        // Hosts that are registered with the first namespace, and are gone.
        for number in 0..<size.registrants {
            let host = try world.attach(host: HostName(nqn: "\(HostName.plain)-gone-\(number)", number: 5000 + number))
            try ReservingHost(host).join(UInt64(1000 + number))
            host.leave()
        }
        world.pass(milliseconds: 500)
        for number in 0..<size.hosts {
            let host = HostName(nqn: "\(HostName.plain)-crowd-\(number)", number: number + 1)
            #expect(try world.connect(RawConnect(host: host), on: world.open()).isSuccess)
        }
        return world
    }

    private struct Row {
        let name: String
        let command: RawCommand
        let data: InProcessData
        let succeeds: Bool

        init(_ name: String, _ command: RawCommand, _ data: InProcessData = .none, succeeds: Bool = true) {
            (self.name, self.command, self.data, self.succeeds) = (name, command, data, succeeds)
        }
    }

    private var rows: [Row] {
        let lists: [UInt32] = [2, 7, 0x10]
        let structures = [0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13, 0x1C] as [UInt32]
        let logs = [
            (NVME_LOG_LID_SUPPORTED_LOG_PAGES, 1024), (NVME_LOG_LID_ERROR, 64), (NVME_LOG_LID_SMART, 512),
            (NVME_LOG_LID_FW_SLOT, 512), (NVME_LOG_LID_CHANGED_NS, 4096), (NVME_LOG_LID_CMD_EFFECTS, 4096),
            (NVME_LOG_LID_ANA, 4096), (NVME_LOG_LID_ANA, 256 << 10), (NVME_LOG_LID_RESERVATION, 64),
        ]
        return structures.map { structure in
            let nsid: UInt32 = lists.contains(structure) ? 0 : 1
            let command = RawCommand.identify(nvme_identify_cns(structure), nsid: nsid)
            return Row("Identify CNS \(String(structure, radix: 16))h", command, .toHost(4096))
        }
            + logs.map { page, bytes in
                let name = "Get Log Page \(String(page.rawValue, radix: 16))h, \(bytes) bytes"
                return Row(name, .getLog(page, bytes: bytes), .toHost(bytes))
            } + [
                Row(
                    "Set Features, Reservation Notification Mask, all",
                    .setFeature(NVME_FEAT_FID_RESV_MASK, 2).with(1, 0xFFFF_FFFF)),
                Row("Set Features, Asynchronous Event Configuration", .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 0x100)),
                Row("Get Features, Volatile Write Cache", .getFeature(NVME_FEAT_FID_VOLATILE_WC), succeeds: false),
                Row("Keep Alive", .keepAlive),
                Row("Abort", .abort(0xFFFF, sq: 0)),
                Row("Property Get", .getProperty(NVME_REG_CSTS)),
                Row("Property Set", .configure(0x0046_0001)),
            ]
    }
}
