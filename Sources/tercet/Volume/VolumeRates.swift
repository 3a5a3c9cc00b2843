import ControlPlane
import Foundation

/// The rates of a daemon's volumes and their members between two looks at its counters.
struct VolumeRates {
    struct Member: Encodable {
        var number: Int
        var state: String
        var commandsPerSecond: Double
        var underWay: Int
        var latencySeconds: Double

        var line: String {
            String(
                format: "%9.0f commands/s, %3d under way, %.0f us", commandsPerSecond, underWay, latencySeconds * 1e6)
                + "  member \(number), \(state)"
        }
    }

    struct Row: Encodable {
        var volume: String
        var rates: CommandRates
        /// I/Os of users that have not ended, at the second look.
        var underWay: Int
        /// I/Os that had to wait for an earlier one which they overlap.
        var waitsPerSecond: Double
        /// Commands sent to members again.
        var retriesPerSecond: Double
        var members: [Member]

        private enum CodingKeys: CodingKey { case volume, underWay, waitsPerSecond, retriesPerSecond, members }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(volume, forKey: .volume)
            try container.encode(underWay, forKey: .underWay)
            try container.encode(waitsPerSecond, forKey: .waitsPerSecond)
            try container.encode(retriesPerSecond, forKey: .retriesPerSecond)
            try container.encode(members, forKey: .members)
            try rates.encode(to: encoder)
        }

        var lines: [String] {
            let columns = String(format: "%9d %8.0f %9.0f", underWay, waitsPerSecond, retriesPerSecond)
            return ["\(rates.line) \(columns)  \(volume)"] + members.map { "  \($0.line)" }
        }
    }

    static let header = CommandRates.header + " under way  waits/s retries/s  volume"

    let rows: [Row]

    init(_ before: VolumeCounters, _ now: VolumeCounters) {
        let seconds = max(1e-3, now.uptimeSeconds - before.uptimeSeconds)
        rows = now.volumes.map { volume in
            let former = before.volumes.first { $0.name == volume.name }
            var rates = CommandRates(volume.commands, since: former?.commands ?? .none, seconds)
            rates.setPercentile(
                [volume.readLatency, volume.writeLatency],
                since: former.map { [$0.readLatency, $0.writeLatency] } ?? [])
            return Row(
                volume: volume.name, rates: rates, underWay: volume.underWay,
                waitsPerSecond: CommandRates.rate(volume.waitsForOverlap, former?.waitsForOverlap ?? 0, seconds),
                retriesPerSecond: CommandRates.rate(volume.retries, former?.retries ?? 0, seconds),
                members: volume.members.map { member in
                    let earlier = former?.members.first { $0.number == member.number }
                    return Member(
                        number: member.number, state: member.state,
                        commandsPerSecond: CommandRates.rate(member.commands, earlier?.commands ?? 0, seconds),
                        underWay: member.underWay, latencySeconds: member.latencySeconds)
                })
        }
    }
}
