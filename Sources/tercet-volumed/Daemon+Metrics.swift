import Base
import ControlPlane
import Metrics
import Reactor
import VolumedConfiguration

/// Metrics and health, by HTTP, from what the control socket tells of each volume.
extension Daemon {
    /// Answers at an address or a Unix socket.
    func answerMetrics(at text: String) throws(TercetError) {
        let server = try HTTPServer(listen: text) { request in
            switch request.path {
            case "/metrics":
                return HTTPAnswer(status: 200, mediaType: MetricsText.mediaType, body: await self.metricsText().text)
            case "/livez": return HealthReport([self.reactorCheck]).answer(request)
            case "/readyz": return HealthReport([self.reactorCheck, await self.volumeCheck]).answer(request)
            default: return HTTPAnswer(status: 404, body: "there are /metrics, /livez, /readyz\n")
            }
        }
        server.start()
        metrics = server
    }

    private nonisolated var reactorCheck: HealthReport.Check {
        let silent = watch.silent
        return .init("reactors", silent.isEmpty ? nil : "\(silent.joined(separator: ", ")) make no progress")
    }

    /// One volume that is away does not make the others less ready.
    private var volumeCheck: HealthReport.Check {
        .init(
            "volumes",
            successor == nil && volumes.isEmpty && !wanted.isEmpty ? "none of \(wanted.count) is attached" : nil)
    }

    private func metricsText() async -> MetricsText {
        let summaries = await list()
        var explanations: [VolumeExplanation] = []
        for volume in volumes {
            if let explanation = try? await explain(volume.entry.name) { explanations.append(explanation) }
        }
        var text = MetricsText()
        text.family("tercet_volume_size_bytes", .gauge, "Size of a volume or device; 0 before it is attached.") {
            for summary in summaries { $0.sample([("volume", summary.name)], summary.bytes) }
        }
        text.family("tercet_volume_phase", .gauge, "1 for the phase that a volume is in.") {
            for summary in summaries { $0.sample([("volume", summary.name), ("phase", summary.phase)], 1 as UInt64) }
        }
        text.family("tercet_volume_sessions", .gauge, "Sessions of NBD clients.") {
            for summary in summaries { $0.sample([("volume", summary.name)], Double(summary.sessions)) }
        }
        text.family("tercet_volume_member_in_sync", .gauge, "1 if a member has every acknowledged write.") {
            for volume in explanations {
                for member in volume.members {
                    $0.sample(
                        [("volume", volume.name), ("member", "\(member.number)")],
                        member.state == "in sync" ? 1 as UInt64 : 0)
                }
            }
        }
        text.family("tercet_volume_member_behind_regions", .gauge, "Regions that a member has still to get.") {
            for volume in explanations {
                for member in volume.members {
                    $0.sample(
                        [("volume", volume.name), ("member", "\(member.number)")], Double(member.behindRegions))
                }
            }
        }
        text.family(
            "tercet_volume_regions_to_make_equal", .gauge,
            "Regions in which members may differ since an attachment ended without a detach."
        ) {
            for volume in explanations { $0.sample([("volume", volume.name)], Double(volume.regionsToMakeEqual)) }
        }
        text.add(await counters())
        await addSuccession(&text)
        return text
    }

    private func addSuccession(_ text: inout MetricsText) async {
        guard let successor else { return }
        var reports: [(volume: String, report: SuccessionReport)] = []
        for name in wanted.keys.sorted() {
            if let report = await successor.ownership(name) { reports.append((name, report)) }
        }
        text.family("tercet_volume_owned", .gauge, "1 if this daemon owns a volume that it shares, and serves it.") {
            for (volume, report) in reports { $0.sample([("volume", volume)], report.isServing ? 1 as UInt64 : 0) }
        }
        text.family(
            "tercet_volume_owner_changes_total", .counter, "Changes of the owner of a shared volume, as seen here."
        ) {
            for (volume, report) in reports { $0.sample([("volume", volume)], UInt64(report.changes)) }
        }
        text.family("tercet_volume_standbys", .gauge, "Daemons that stand by for a shared volume.") {
            for (volume, report) in reports { $0.sample([("volume", volume)], UInt64(report.standbys.count)) }
        }
    }
}
