import AllocationProbe
import CLibNVMe
import Glibc
import InProcessTransport
import Simulation
import TargetInterface
import Testing

/// The cost of every fabrics and admin command, and of those for reservations, against the size of the configuration. A
/// reactor does other hosts' I/O between two rounds: the costliest round of a command counts, and it must not grow with the
/// number of subsystems, namespaces and hosts.
@Suite(.serialized) struct CommandCostTests {
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
        let many = try costs(Size(subsystems: 3000, namespaces: 3000, hosts: 40, registrants: 1000), rounds: 3)
        #expect(few.map(\.name) == many.map(\.name))
        for (little, much) in zip(few, many) {
            // A change tells some hosts in each round.
            let slack = little.name.hasPrefix("Reservation") ? 8 + 3 * 16 : 8
            #expect(
                much.allocations <= little.allocations + slack,
                "\(much.name): \(little.allocations) allocations where little is configured, \(much.allocations) where much is"
            )
        }
    }

    /// Prints how long the costliest round of each command took, for `Tools/bench --only commands`: times are no test's matter.
    @Test(.enabled(if: getenv("TERCET_COMMAND_COSTS") != nil)) func printsWhatCommandsCost() throws {
        let size = Size(subsystems: 10_000, namespaces: 65_536, hosts: 1000, registrants: 4096)
        let costs = try costs(size, rounds: 15)
        print(
            "costliest round in microseconds, median of 15, at \(size.subsystems) subsystems, \(size.namespaces) namespaces, "
                + "\(size.hosts) hosts, \(size.registrants) registrants")
        for cost in costs { print("  \(cost.time / .microseconds(1))  \(cost.name)") }
        #expect(!costs.isEmpty)
    }

    /// Lets a command be done; returns its answer, and what the target's costliest round took.
    private func run(
        _ world: EngineWorld, _ queue: InProcessQueue, _ row: Row
    ) throws -> (answer: InProcessAnswer, cost: Cost) {
        let id = world.send(row.command, row.data, on: queue)
        var cost = Cost(name: row.name)
        for _ in 0..<1_000_000 {
            if let answer = queue.answer(to: id) { return (answer, cost) }
            let (before, start) = (allocationsOfThread(), ContinuousClock.now)
            _ = world.poll()
            cost.time = max(cost.time, ContinuousClock.now - start)
            cost.allocations = max(cost.allocations, Int(allocationsOfThread() - before))
        }
        throw WorldError("no answer to \(row.name); \(world.events.all.suffix(3))")
    }

    private func costs(_ size: Size, rounds: Int) throws -> [Cost] {
        let world = try world(size)
        var table: [Cost] = []
        /// The median of so many runs.
        @discardableResult
        func measure(_ row: Row, _ queue: InProcessQueue, runs: Int) throws -> InProcessAnswer {
            let runs = try (0..<runs).map { _ in try run(world, queue, row) }
            #expect(runs.allSatisfy { $0.answer.isSuccess }, "\(row.name): \(runs[0].answer.status)")
            let allocations = runs.map(\.cost.allocations).sorted()[runs.count / 2]
            let time = runs.map(\.cost.time).sorted()[runs.count / 2]
            table.append(Cost(name: row.name, allocations: allocations, time: time))
            return runs[0].answer
        }
        let admin = world.open()
        var connect = RawConnect()
        let reply = try measure(
            Row("Connect, admin queue", connect.command, .fromHost(connect.data)), admin, runs: 1)
        try world.execute(.enable, on: admin)
        try world.execute(.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0), on: admin)
        let io = world.open(queueID: 1)
        connect = RawConnect(controllerID: UInt16(reply.dword0), queueID: 1)
        try measure(Row("Connect, I/O queue", connect.command, .fromHost(connect.data)), io, runs: 1)
        for row in rows { try measure(row, admin, runs: rounds) }
        let discovery = try world.admin(nqn: EngineWorld.discovery, keepAlive: 100_000)
        for (place, bytes) in [(0, 4096), (1024, 1024), (4096, 4096), (40960, 4096), (1024, 1 << 18)] {
            let command = RawCommand.getLog(NVME_LOG_LID_DISCOVER, bytes: bytes, nsid: 0).with(12, UInt32(place))
            let row = Row("Get Log Page 70h, \(bytes) bytes at \(place)", command, .toHost(bytes))
            try measure(row, discovery, runs: rounds)
        }
        for (name, opcode, dword10, keys) in [
            ("Register", nvme_cmd_resv_register, 0, [0, 5]), ("Acquire", nvme_cmd_resv_acquire, 1 << 8, [5, 0]),
            ("Report, 4096 bytes", nvme_cmd_resv_report, 1023, []),
            ("Report, 262208 bytes", nvme_cmd_resv_report, 65551, []),
            ("Register, another key", nvme_cmd_resv_register, 2, [5, 6]),
            ("Release", nvme_cmd_resv_release, 1 << 8, [6]),
            // All registrants hold it; those with key 1 are preempted, then all others; then nobody is registered any more.
            ("Acquire, all registrants", nvme_cmd_resv_acquire, 6 << 8, [6, 0]),
            ("Acquire, preempt half", nvme_cmd_resv_acquire, 1 | 6 << 8, [6, 1]),
            ("Acquire, preempt and abort all", nvme_cmd_resv_acquire, 2 | 6 << 8, [6, 0]),
            ("Release, clear", nvme_cmd_resv_release, 1 | 6 << 8, [6]),
        ] as [(String, nvme_io_opcode, UInt32, [UInt64])] {
            // A report has a structure of its own (EDS, bit 0 of dword 11), and is read.
            let command = RawCommand(opcode: opcode.rawValue, nsid: 1).with(10, dword10).with(11, keys.isEmpty ? 1 : 0)
            let isReport = keys.isEmpty
            let data: InProcessData =
                isReport ? .toHost(Int(dword10 + 1) * 4) : .fromHost(keys.flatMap { little($0, 8) })
            try measure(Row("Reservation \(name)", command, data), io, runs: isReport ? rounds : 1)
        }
        return table
    }

    private func world(_ size: Size) throws -> EngineWorld {
        // A reactor of RDMA has 1,024 connections; this one has all hosts'.
        let world = try EngineWorld(
            .small { ($0.maxNamespaces, $0.controlMemory) = (65536, 4 << 20) }, connections: 2048)
        let device = SimulatedDisk.instant()
        try world.change { definition in
            definition.listeners = [EngineWorld.address(4420)]
            // Subsystems that let in any host, and such as name the host that asks.
            definition.subsystems += (0..<size.subsystems).map {
                SubsystemDefinition(
                    nqn: "nqn.2024-01.io.tercet:cost-\(1_000_000 + $0)", serialNumber: "C",
                    access: $0 % 2 == 0 ? .anyHost : .hosts([HostName.plain]))
            }
            definition[EngineWorld.nqn]?.namespaces += (2...UInt32(size.namespaces)).map {
                var namespace = EngineWorld.namespace($0, device)
                namespace.anaGroup = $0 % 16 + 1
                return namespace
            }
        }
        // Hosts that are registered with the first namespace; most are gone, and some of those in the middle are there. One more is
        // to register.
        let present = size.registrants / 2..<size.registrants / 2 + min(20, size.registrants - 1)
        for number in 0..<size.registrants - 1 {
            let name = HostName(nqn: "\(HostName.plain)-registered-\(number)", number: 5000 + number)
            let host = try world.attach(host: name)
            try ReservingHost(host).join(UInt64(number % 2 + 1))
            if !present.contains(number) { host.leave() }
            // The target gives the places of connections that have ended back once in a while.
            if number % 200 == 0 { world.pass(milliseconds: 300) }
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

        init(_ name: String, _ command: RawCommand, _ data: InProcessData = .none) {
            (self.name, self.command, self.data) = (name, command, data)
        }
    }

    private var rows: [Row] {
        let mask = RawCommand.setFeature(NVME_FEAT_FID_RESV_MASK, 2).with(1, 0xFFFF_FFFF)
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
                Row("Set Features, Reservation Notification Mask, all", mask),
                Row("Set Features, Asynchronous Event Configuration", .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 0x100)),
                Row("Get Features, Volatile Write Cache", .getFeature(NVME_FEAT_FID_VOLATILE_WC)),
                Row("Keep Alive", .keepAlive), Row("Abort", .abort(0xFFFF, sq: 0)),
                Row("Property Get", .getProperty(NVME_REG_CSTS)), Row("Property Set", .enable),
            ]
    }
}
