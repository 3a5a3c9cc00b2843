import ArgumentParser
import Base
import ControlPlane
import Foundation

struct TargetListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the subsystems of a running target.",
        discussion: "Exit status: 1 where a part is missing, too.")

    @OptionGroup var target: TargetArguments

    func run() throws {
        let state = try target.call(TargetMethod.get, returning: TargetState.self)
        if target.json {
            try printJSON(state.subsystems)
        } else {
            for subsystem in state.subsystems { print(subsystem.line) }
            for missing in state.missing { print("missing: \(missing.part): \(missing.reason)") }
        }
        if !state.missing.isEmpty { throw ExitCode(1) }
    }
}

struct TargetShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a running target, or one of its subsystems.",
        discussion: "With --json and without a subsystem the configuration is there too, as a file would have it.")

    @Argument(help: "The subsystem; all of them if not given.") var nqn: String?
    @OptionGroup var target: TargetArguments

    func run() throws {
        var state = try target.call(TargetMethod.get, returning: TargetState.self)
        if let nqn {
            let known = state.subsystems.map(\.nqn).joined(separator: ", ")
            state.subsystems.removeAll { $0.nqn != nqn }
            guard let subsystem = state.subsystems.first else {
                throw TercetError(
                    .notFound, "there is no subsystem '\(nqn)'; there are: \(known.isEmpty ? "none" : known)")
            }
            if target.json { return try printJSON(subsystem) }
        }
        if target.json { return try printJSON(state) }
        if nqn == nil {
            let file = state.file.isEmpty ? "no configuration file" : "configuration file \(state.file)"
            print("\(file), \(state.isSaved ? "saved" : "NOT saved: changes end with the daemon")")
            let places = state.reactorPlaces.map(\.text).joined(separator: ", ")
            print("reactors: \(state.reactors), on processors \(places)")
            if let devices = state.devices, !devices.isEmpty {
                print("RDMA devices: \(devices.map(\.text).joined(separator: ", "))")
            }
            print("listeners: \(state.listeners.joined(separator: ", "))")
        }
        for subsystem in state.subsystems {
            print(subsystem.line)
            for namespace in subsystem.namespaces { print("  \(namespace.line)") }
            for controller in subsystem.controllers {
                let address = controller.address.isEmpty ? "" : " at \(controller.address)"
                print(
                    "  controller \(controller.id) of \(controller.host)\(address): \(controller.ioQueues) I/O queues")
            }
        }
        if nqn == nil { for missing in state.missing { print("missing: \(missing.part): \(missing.reason)") } }
    }
}

extension TargetState.Subsystem {
    fileprivate var line: String {
        let hosts = Set(controllers.map(\.host)).count
        return "\(nqn): \(namespaces.count) namespaces, \(hosts) hosts, \(controllers.count) controllers"
            + (isDrained ? ", drained" : "")
    }
}

extension TargetState.Namespace {
    fileprivate var line: String {
        let size =
            blocks == 0
            ? "its device has vanished" : "\(ByteSize.format(blocks * UInt64(blockSize))) in blocks of \(blockSize)"
        return "namespace \(nsid): \(device), \(size)" + (failures > 0 ? ", \(failures) failures" : "")
    }
}

struct TargetStatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Print the counters of a running target.",
        discussion: "They count from the start of the daemon, or from when the part was added.")

    @Argument(help: "The subsystem; all of them if not given.") var nqn: String?
    @OptionGroup var target: TargetArguments

    func run() throws {
        let statistics = try target.call(TargetMethod.statistics, returning: TargetStatistics.self)
        let wanted = statistics.subsystems.filter { nqn == nil || $0.nqn == nqn }
        if wanted.isEmpty, let nqn { throw TercetError(.notFound, "there is no subsystem '\(nqn)'") }
        if target.json { return try printJSON(wanted) }
        for subsystem in wanted {
            print("\(subsystem.nqn): \(subsystem.controllers) controllers")
            for host in subsystem.hosts {
                print("  host \(host.host): \(host.commands.line)")
                print(
                    "    99 % of reads within \(format(seconds: host.readLatency.percentile(0.99))), of writes within "
                        + "\(format(seconds: host.writeLatency.percentile(0.99))); waits: "
                        + "\(host.waitsForMemory) for memory, \(host.waitsForReadDepth) for READ depth, "
                        + "\(host.waitsForSendQueue) for the send queue; \(host.protocolErrors) protocol errors, "
                        + "\(host.mediaErrors) media errors")
            }
            for namespace in subsystem.namespaces {
                print(
                    "  namespace \(namespace.nsid): \(namespace.commands.line), \(namespace.deviceFailures) device failures"
                )
            }
        }
    }
}

extension TargetState.ReactorPlace {
    /// For people.
    var text: String { "\(processor)" + (node.map { " of node \($0)" } ?? "") }
}

extension TargetState.Device {
    /// For people.
    var text: String { name + (node.map { " at node \($0)" } ?? "") }
}

extension CommandCounters {
    fileprivate var line: String {
        "\(reads) reads of \(bytesRead) bytes, \(writes) writes of \(bytesWritten) bytes, \(failed) failed"
    }
}

/// A time as people read it.
private func format(seconds: Double?) -> String {
    guard let seconds else { return "-" }
    if seconds < 1e-3 { return String(format: "%.0f us", seconds * 1e6) }
    return seconds < 1 ? String(format: "%.1f ms", seconds * 1e3) : String(format: "%.1f s", seconds)
}

/// The rates of a target, live.
struct TargetTopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Show live what a running target does: for each host, namespace and queue.",
        discussion: """
            A line each interval and host or namespace: reads and writes a second, MiB a second, mean latency, 99th percentile \
            (for hosts), failures, and commands that had to wait for memory, for READ depth or for the send queue. With --queues \
            a line for each queue instead: commands answered a second, commands under way, the queue's entries, and the reactor \
            that serves it. Ctrl-C ends it.
            """)

    @Argument(help: "The subsystem; all of them if not given.") var nqn: String?
    @OptionGroup var looks: LiveLooks
    @Flag(name: .long, help: "Show the queues of the hosts.") var queues = false
    @OptionGroup var target: TargetArguments

    func run() throws {
        let wanted = StatisticsRequest(queues: queues)
        try looks.run {
            try target.call(TargetMethod.statistics, wanted, returning: TargetStatistics.self)
        } show: { before, now in
            let rates = TargetRates(before, now)
            if queues {
                let rows = rates.queues.filter { nqn == nil || $0.subsystem == nqn }
                try show(rows, TargetRates.queueHeader) { $0.line }
            } else {
                let rows = rates.rows.filter { nqn == nil || $0.subsystem == nqn }
                try show(rows, TargetRates.header) { $0.line }
            }
        }
    }

    private func show<Row: Encodable>(_ rows: [Row], _ header: String, line: (Row) -> String) throws {
        if target.json { return try printJSON(rows) }
        LiveLooks.clear()
        print(header)
        for row in rows { print(line(row)) }
    }
}
