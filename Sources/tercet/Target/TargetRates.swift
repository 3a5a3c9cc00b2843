import ControlPlane
import Foundation

/// The rates of a target's hosts, namespaces and queues between two looks at its counters.
struct TargetRates {
    struct Row: Encodable {
        var subsystem: String
        /// `host NQN` or `namespace 1`.
        var part: String
        /// With the percentile for hosts only.
        var rates: CommandRates
        var waits: Waits?

        /// Commands that had to wait, by what for; for hosts only.
        struct Waits: Encodable {
            var waitsForMemoryPerSecond: Double
            var waitsForReadDepthPerSecond: Double
            var waitsForSendQueuePerSecond: Double
        }

        private enum CodingKeys: CodingKey { case subsystem, part }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(subsystem, forKey: .subsystem)
            try container.encode(part, forKey: .part)
            try rates.encode(to: encoder)
            try waits?.encode(to: encoder)
        }

        var line: String {
            let columns = waits.map {
                String(
                    format: "%7.0f %7.0f %7.0f", $0.waitsForMemoryPerSecond, $0.waitsForReadDepthPerSecond,
                    $0.waitsForSendQueuePerSecond)
            }
            return "\(rates.line) \(columns ?? "      -       -       -")  \(subsystem) \(part)"
        }
    }

    static let header =
        String(repeating: " ", count: CommandRates.header.count) + " waits a second for\n"
        + CommandRates.header + "  memory    READ    send  subsystem and part"

    /// A queue of a host.
    struct QueueRow: Encodable {
        var subsystem: String
        var host: String
        var controller: UInt16
        var queue: UInt16
        var reactor: Int
        var commandsPerSecond: Double
        /// Commands that have arrived and are not answered, at the second look.
        var underWay: UInt32
        var entries: UInt32

        var line: String {
            String(format: "%10.0f %9d %7d %7d", commandsPerSecond, Int(underWay), Int(entries), reactor)
                + "  \(subsystem) controller \(controller) "
                + (queue == 0 ? "admin queue" : "queue \(queue)") + " of \(host)"
        }
    }

    static let queueHeader = "commands/s under way entries reactor  queue"

    let rows: [Row]
    let queues: [QueueRow]

    init(_ before: TargetStatistics, _ now: TargetStatistics) {
        let seconds = max(1e-3, now.uptimeSeconds - before.uptimeSeconds)
        rows = now.subsystems.flatMap { subsystem -> [Row] in
            let former = before.subsystems.first { $0.nqn == subsystem.nqn }
            let hosts = subsystem.hosts.map { host in
                Self.row(host, former?.hosts.first { $0.host == host.host }, of: subsystem.nqn, seconds)
            }
            let namespaces = subsystem.namespaces.map { namespace in
                let before = former?.namespaces.first { $0.nsid == namespace.nsid }?.commands
                return Row(
                    subsystem: subsystem.nqn, part: "namespace \(namespace.nsid)",
                    rates: CommandRates(namespace.commands, since: before ?? .none, seconds))
            }
            return hosts + namespaces
        }
        queues = now.subsystems.flatMap { subsystem -> [QueueRow] in
            let former = before.subsystems.first { $0.nqn == subsystem.nqn }?.queues ?? []
            return (subsystem.queues ?? []).map { queue in
                let earlier = former.first {
                    ($0.host, $0.controller, $0.queue) == (queue.host, queue.controller, queue.queue)
                }
                return QueueRow(
                    subsystem: subsystem.nqn, host: queue.host, controller: queue.controller, queue: queue.queue,
                    reactor: queue.reactor,
                    commandsPerSecond: CommandRates.rate(queue.answered, earlier?.answered ?? 0, seconds),
                    underWay: queue.underWay, entries: queue.entries)
            }
        }
    }

    private static func row(
        _ host: TargetStatistics.Host, _ former: TargetStatistics.Host?, of subsystem: String, _ seconds: Double
    ) -> Row {
        var rates = CommandRates(host.commands, since: former?.commands ?? .none, seconds)
        rates.setPercentile(
            [host.readLatency, host.writeLatency], since: former.map { [$0.readLatency, $0.writeLatency] } ?? [])
        func rate(_ count: KeyPath<TargetStatistics.Host, UInt64>) -> Double {
            CommandRates.rate(host[keyPath: count], former?[keyPath: count] ?? 0, seconds)
        }
        return Row(
            subsystem: subsystem, part: "host \(host.host)", rates: rates,
            waits: Row.Waits(
                waitsForMemoryPerSecond: rate(\.waitsForMemory), waitsForReadDepthPerSecond: rate(\.waitsForReadDepth),
                waitsForSendQueuePerSecond: rate(\.waitsForSendQueue)))
    }
}
