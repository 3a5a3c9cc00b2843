import Base
import ControlPlane
import Metrics
import NVMeTarget
import Reactor
import TargetInterface

/// Metrics and health, by HTTP. The counters are read as they are: no reactor is asked for them.
extension Service {
    /// Answers at an address or a Unix socket.
    func answerMetrics(at text: String) throws(TercetError) {
        let server = try HTTPServer(listen: text) { request in
            switch request.path {
            case "/metrics":
                let facts = await self.metricsFacts
                let text = MetricsText(TargetStatistics(self.target), facts).text
                return HTTPAnswer(status: 200, mediaType: MetricsText.mediaType, body: text)
            case "/livez": return HealthReport([self.reactorCheck]).answer(request)
            case "/readyz": return HealthReport(await self.checks).answer(request)
            default: return HTTPAnswer(status: 404, body: "there are /metrics, /livez, /readyz\n")
            }
        }
        server.start()
        metrics = server
    }

    /// Numbers that are no counters.
    struct MetricsFacts: Sendable {
        var missingParts: Int
        var listeners: Int
        var reactors: Int
        var startSeconds: Double
        var pools: [(nqn: String, state: PoolState)]
    }

    private var metricsFacts: MetricsFacts {
        MetricsFacts(
            missingParts: missing.count, listeners: target.reached.listeners.count, reactors: reactors.count,
            startSeconds: startSeconds,
            pools: pools.map(\.nqn).sorted().compactMap { nqn in poolState(of: nqn).map { (nqn, $0) } })
    }

    private nonisolated var reactorCheck: HealthReport.Check {
        let silent = watch.silent
        return .init("reactors", silent.isEmpty ? nil : "\(silent.joined(separator: ", ")) make no progress")
    }

    /// A part that is missing does not make the others less ready; without a listener no host can come.
    private var checks: [HealthReport.Check] {
        let drained = drained.count
        return [
            reactorCheck,
            .init(
                "listeners",
                target.reached.listeners.isEmpty ? missing.first?.reason ?? "there is none" : nil),
            .init("draining", drained > 0 && drained >= target.subsystems.count ? "all subsystems are drained" : nil),
        ]
    }
}

extension MetricsText {
    init(_ statistics: TargetStatistics, _ facts: Service.MetricsFacts) {
        self.init()
        family("tercet_target_start_time_seconds", .gauge, "Start of the daemon, in seconds since 1970.") {
            $0.sample([], facts.startSeconds)
        }
        family("tercet_target_reactors", .gauge, "Threads that serve.") { $0.sample([], Double(facts.reactors)) }
        family("tercet_target_listeners", .gauge, "Addresses that the target listens at.") {
            $0.sample([], Double(facts.listeners))
        }
        family("tercet_target_missing_parts", .gauge, "Parts that are configured and cannot be served.") {
            $0.sample([], Double(facts.missingParts))
        }
        family("tercet_target_controllers", .gauge, "Controllers that hosts have.") { family in
            for subsystem in statistics.subsystems {
                family.sample([("subsystem", subsystem.nqn)], Double(subsystem.controllers))
            }
        }
        addPools(facts)
        addHosts(statistics)
        addNamespaces(statistics)
    }

    private mutating func addPools(_ facts: Service.MetricsFacts) {
        guard !facts.pools.isEmpty else { return }
        func gauge(_ name: String, _ help: String, _ value: (PoolState) -> UInt64?) {
            family("tercet_target_pool_\(name)", .gauge, help) { family in
                for (nqn, state) in facts.pools {
                    if let value = value(state) { family.sample([("subsystem", nqn)], Double(value)) }
                }
            }
        }
        gauge("capacity_bytes", "Bytes that all namespaces of a pool may have together.") { $0.capacity }
        gauge("unallocated_bytes", "Bytes of a pool's capacity that no namespace has.") { $0.unallocated }
        gauge("free_bytes", "Bytes that are free in a pool's file system.") { $0.free }
        gauge("namespaces", "Namespaces of a pool, attached or not.") { UInt64($0.namespaces.count) }
    }

    private mutating func addHosts(_ statistics: TargetStatistics) {
        let hosts = statistics.subsystems.flatMap { subsystem in
            subsystem.hosts.map {
                (labels: [("subsystem", subsystem.nqn), ("host", $0.host)] as MetricsFamily.Labels, $0)
            }
        }
        family("tercet_target_commands_total", .counter, "I/O commands that succeeded.") { family in
            for (labels, host) in hosts {
                family.sample(labels + [("operation", "read")], host.commands.reads)
                family.sample(labels + [("operation", "write")], host.commands.writes)
                family.sample(labels + [("operation", "other")], host.others)
            }
        }
        family("tercet_target_failed_commands_total", .counter, "I/O commands that failed.") { family in
            for (labels, host) in hosts { family.sample(labels, host.commands.failed) }
        }
        family("tercet_target_transferred_bytes_total", .counter, "Data of reads and writes that succeeded.") {
            family in
            for (labels, host) in hosts {
                family.sample(labels + [("operation", "read")], host.commands.bytesRead)
                family.sample(labels + [("operation", "write")], host.commands.bytesWritten)
            }
        }
        family(
            "tercet_target_command_duration_seconds", .histogram,
            "Time from the arrival of a read or write that succeeded to its answer."
        ) { family in
            for (labels, host) in hosts {
                family.histogram(
                    labels + [("operation", "read")], host.readLatency.octaves, sum: host.commands.readSeconds)
                family.histogram(
                    labels + [("operation", "write")], host.writeLatency.octaves, sum: host.commands.writeSeconds)
            }
        }
        family("tercet_target_waits_total", .counter, "Times that a command had to wait, by what for.") { family in
            for (labels, host) in hosts {
                family.sample(labels + [("cause", "memory")], host.waitsForMemory)
                family.sample(labels + [("cause", "read_depth")], host.waitsForReadDepth)
                family.sample(labels + [("cause", "send_queue")], host.waitsForSendQueue)
            }
        }
        family("tercet_target_protocol_errors_total", .counter, "Connections that ended because of their hosts.") {
            for (labels, host) in hosts { $0.sample(labels, host.protocolErrors) }
        }
        family("tercet_target_media_errors_total", .counter, "Commands that failed at the device.") {
            for (labels, host) in hosts { $0.sample(labels, host.mediaErrors) }
        }
    }

    private mutating func addNamespaces(_ statistics: TargetStatistics) {
        let namespaces = statistics.subsystems.flatMap { subsystem in
            subsystem.namespaces.map {
                (labels: [("subsystem", subsystem.nqn), ("nsid", "\($0.nsid)")] as MetricsFamily.Labels, $0)
            }
        }
        family("tercet_target_namespace_size_bytes", .gauge, "Size of a namespace; 0 if its device has vanished.") {
            for (labels, namespace) in namespaces { $0.sample(labels, namespace.bytes) }
        }
        family("tercet_target_namespace_commands_total", .counter, "Reads and writes that succeeded.") { family in
            for (labels, namespace) in namespaces {
                family.sample(labels + [("operation", "read")], namespace.commands.reads)
                family.sample(labels + [("operation", "write")], namespace.commands.writes)
            }
        }
        family("tercet_target_namespace_failed_commands_total", .counter, "I/O commands that failed.") { family in
            for (labels, namespace) in namespaces { family.sample(labels, namespace.commands.failed) }
        }
        family("tercet_target_namespace_transferred_bytes_total", .counter, "Data of reads and writes.") { family in
            for (labels, namespace) in namespaces {
                family.sample(labels + [("operation", "read")], namespace.commands.bytesRead)
                family.sample(labels + [("operation", "write")], namespace.commands.bytesWritten)
            }
        }
        family(
            "tercet_target_namespace_command_seconds_total", .counter, "Sum of the times of reads and writes."
        ) { family in
            for (labels, namespace) in namespaces {
                family.sample(labels + [("operation", "read")], namespace.commands.readSeconds)
                family.sample(labels + [("operation", "write")], namespace.commands.writeSeconds)
            }
        }
        family(
            "tercet_target_namespace_device_failures_total", .counter, "Failures of the device since it was opened."
        ) { family in
            for (labels, namespace) in namespaces { family.sample(labels, namespace.deviceFailures) }
        }
    }
}
