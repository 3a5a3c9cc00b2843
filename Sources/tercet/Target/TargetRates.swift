import ControlPlane
import Foundation

/// The rates of a target's hosts, namespaces and queues between two looks at its counters.
struct TargetRates {
    struct Row: Encodable {
        var subsystem: String
        /// `host NQN` or `namespace 1`.
        var part: String
        var readsPerSecond: Double
        var writesPerSecond: Double
        var bytesReadPerSecond: Double
        var bytesWrittenPerSecond: Double
        /// Of reads and writes together; none if there were none.
        var meanSeconds: Double?
        /// The same; for hosts only.
        var percentile99Seconds: Double?
        var failedPerSecond: Double
        /// Commands that had to wait, by what for; for hosts only.
        var waitsForMemoryPerSecond: Double?
        var waitsForReadDepthPerSecond: Double?
        var waitsForSendQueuePerSecond: Double?

        var line: String {
            func time(_ seconds: Double?) -> String { seconds.map { String(format: "%9.0f", $0 * 1e6) } ?? "        -" }
            let columns = String(
                format: "%9.0f %9.0f %9.1f %9.1f", readsPerSecond, writesPerSecond, bytesReadPerSecond / 1_048_576,
                bytesWrittenPerSecond / 1_048_576)
            let waits = [waitsForMemoryPerSecond, waitsForReadDepthPerSecond, waitsForSendQueuePerSecond]
                .map { $0.map { String(format: "%7.0f", $0) } ?? "      -" }.joined(separator: " ")
            return "\(columns) \(time(meanSeconds)) \(time(percentile99Seconds)) "
                + String(format: "%8.0f", failedPerSecond) + " \(waits)  \(subsystem) \(part)"
        }
    }

    static let header =
        "                                                                      waits/s for\n"
        + "  reads/s  writes/s    rMiB/s    wMiB/s   mean us    p99 us  fails/s  memory    READ    send"
        + "  subsystem and part"

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
                Self.row(
                    namespace.commands, former?.namespaces.first { $0.nsid == namespace.nsid }?.commands ?? .none,
                    of: subsystem.nqn, "namespace \(namespace.nsid)", seconds)
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
                    commandsPerSecond: Self.rate(queue.answered, earlier?.answered ?? 0, seconds),
                    underWay: queue.underWay, entries: queue.entries)
            }
        }
    }

    private static func row(
        _ host: TargetStatistics.Host, _ former: TargetStatistics.Host?, of subsystem: String, _ seconds: Double
    ) -> Row {
        var row = row(host.commands, former?.commands ?? .none, of: subsystem, "host \(host.host)", seconds)
        let reads = host.readLatency.since(former?.readLatency ?? [])
        let writes = host.writeLatency.since(former?.writeLatency ?? [])
        row.percentile99Seconds = (reads + writes).sorted { $0.seconds < $1.seconds }.percentile(0.99)
        row.waitsForMemoryPerSecond = rate(host.waitsForMemory, former?.waitsForMemory ?? 0, seconds)
        row.waitsForReadDepthPerSecond = rate(host.waitsForReadDepth, former?.waitsForReadDepth ?? 0, seconds)
        row.waitsForSendQueuePerSecond = rate(host.waitsForSendQueue, former?.waitsForSendQueue ?? 0, seconds)
        return row
    }

    private static func row(
        _ now: TargetStatistics.Commands, _ before: TargetStatistics.Commands, of subsystem: String, _ part: String,
        _ seconds: Double
    ) -> Row {
        let commands = Double(now.reads + now.writes) - Double(before.reads + before.writes)
        let time = now.readSeconds + now.writeSeconds - before.readSeconds - before.writeSeconds
        return Row(
            subsystem: subsystem, part: part, readsPerSecond: rate(now.reads, before.reads, seconds),
            writesPerSecond: rate(now.writes, before.writes, seconds),
            bytesReadPerSecond: rate(now.bytesRead, before.bytesRead, seconds),
            bytesWrittenPerSecond: rate(now.bytesWritten, before.bytesWritten, seconds),
            meanSeconds: commands > 0 ? max(0, time) / commands : nil, percentile99Seconds: nil,
            failedPerSecond: rate(now.failed, before.failed, seconds))
    }

    /// A part that was removed and added since begins anew.
    private static func rate(_ now: UInt64, _ before: UInt64, _ seconds: Double) -> Double {
        Double(now >= before ? now - before : now) / seconds
    }
}
