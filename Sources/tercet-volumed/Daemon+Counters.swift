import Base
import BlockInterface
import ControlPlane
import Metrics
import Replication
import VolumeDriver
import VolumedConfiguration

/// Counters of the volumes, for the control socket and for metrics.
extension Daemon {
    /// Asks each volume's reactor.
    func counters() async -> VolumeCounters {
        let uptime = MonotonicTime.now().nanoseconds(since: started)
        var counters: [VolumeCounters.Volume] = []
        for volume in volumes.sorted(by: { $0.entry.name < $1.entry.name }) {
            counters.append(
                VolumeCounters.Volume(volume.entry.name, await volume.attachment.volume.currentLoad()))
        }
        return VolumeCounters(uptimeSeconds: Double(uptime) / 1e9, volumes: counters)
    }
}

extension VolumeCounters.Volume {
    init(_ name: String, _ load: VolumeLoad) {
        self.init(
            name: name, frontEnds: load.users.map { VolumeCounters.FrontEnd($0) }, underWay: load.underWay,
            waitsForOverlap: load.statistics.overlapsHeld, retries: load.statistics.retries,
            readFailovers: load.statistics.readFailovers,
            members: zip(load.status.members, load.members).enumerated().map { number, member in
                VolumeCounters.Member(
                    number: number, state: member.0.words, commands: member.1.commands, underWay: member.1.underWay,
                    latencySeconds: Double(member.0.latency) / 1e9)
            })
    }
}

extension VolumeCounters.FrontEnd {
    fileprivate init(_ load: VolumeLoad.User) {
        self.init(
            name: load.user.name,
            commands: CommandCounters(
                reads: load.reads.commands, writes: load.writes.commands, bytesRead: load.reads.bytes,
                bytesWritten: load.writes.bytes, failed: load.failed,
                readSeconds: Double(load.reads.nanoseconds) / 1e9, writeSeconds: Double(load.writes.nanoseconds) / 1e9),
            others: load.others, readLatency: [LatencyBucket](load.readLatency),
            writeLatency: [LatencyBucket](load.writeLatency))
    }
}

extension MemberStatusReport {
    /// The member's state, for operators.
    var words: String { phase != .active ? "away" : isInSync ? "in sync" : "behind" }
}

extension MetricsText {
    mutating func add(_ counters: VolumeCounters) {
        addFrontEnds(counters)
        let volumes = counters.volumes.map { (labels: [("volume", $0.name)] as MetricsFamily.Labels, $0) }
        family("tercet_volume_commands_under_way", .gauge, "I/Os of a volume's users that have not ended.") { family in
            for (labels, volume) in volumes { family.sample(labels, Double(volume.underWay)) }
        }
        family("tercet_volume_waits_total", .counter, "Times that an I/O had to wait, by what for.") { family in
            for (labels, volume) in volumes { family.sample(labels + [("cause", "overlap")], volume.waitsForOverlap) }
        }
        family("tercet_volume_retries_total", .counter, "Commands sent to members again.") { family in
            for (labels, volume) in volumes { family.sample(labels, volume.retries) }
        }
        family("tercet_volume_read_failovers_total", .counter, "Reads that another member answered.") { family in
            for (labels, volume) in volumes { family.sample(labels, volume.readFailovers) }
        }
        addMembers(counters)
    }

    /// The front ends that a volume has had, so that labels are few.
    private mutating func addFrontEnds(_ counters: VolumeCounters) {
        let ends = counters.volumes.flatMap { volume in
            (volume.frontEnds ?? []).map {
                (labels: [("volume", volume.name), ("front_end", $0.name)] as MetricsFamily.Labels, $0)
            }
        }
        family("tercet_volume_commands_total", .counter, "I/Os of a volume's users that succeeded.") { family in
            for (labels, end) in ends {
                family.sample(labels + [("operation", "read")], end.commands.reads)
                family.sample(labels + [("operation", "write")], end.commands.writes)
                family.sample(labels + [("operation", "other")], end.others)
            }
        }
        family("tercet_volume_failed_commands_total", .counter, "I/Os of a volume's users that failed.") { family in
            for (labels, end) in ends { family.sample(labels, end.commands.failed) }
        }
        family("tercet_volume_transferred_bytes_total", .counter, "Data of reads and writes that succeeded.") {
            family in
            for (labels, end) in ends {
                family.sample(labels + [("operation", "read")], end.commands.bytesRead)
                family.sample(labels + [("operation", "write")], end.commands.bytesWritten)
            }
        }
        family(
            "tercet_volume_command_duration_seconds", .histogram,
            "Time from a user's read or write that succeeded to its end."
        ) { family in
            for (labels, end) in ends {
                family.histogram(
                    labels + [("operation", "read")], end.readLatency.octaves, sum: end.commands.readSeconds)
                family.histogram(
                    labels + [("operation", "write")], end.writeLatency.octaves, sum: end.commands.writeSeconds)
            }
        }
    }

    private mutating func addMembers(_ counters: VolumeCounters) {
        let members = counters.volumes.flatMap { volume in
            volume.members.map {
                (labels: [("volume", volume.name), ("member", "\($0.number)")] as MetricsFamily.Labels, $0)
            }
        }
        family("tercet_volume_member_commands_total", .counter, "Commands that a member has completed.") { family in
            for (labels, member) in members { family.sample(labels, member.commands) }
        }
        family("tercet_volume_member_commands_under_way", .gauge, "Commands that a member has not completed.") {
            family in
            for (labels, member) in members { family.sample(labels, Double(member.underWay)) }
        }
        family("tercet_volume_member_latency_seconds", .gauge, "A moving average of a member's latency.") { family in
            for (labels, member) in members { family.sample(labels, member.latencySeconds) }
        }
    }
}
