import ArgumentParser
import Base
import ControlPlane

/// The rates of both daemons of a machine, live.
struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Show live what the daemons of this machine do: tercetd and tercet-volumed.",
        discussion: """
            What `tercet target top` and `tercet volume top` show, of whichever of the two daemons answers at its control \
            socket. A daemon that starts meanwhile is shown from then on. Status 1 where neither answers. Ctrl-C ends it.
            """)

    @OptionGroup var looks: LiveLooks

    @Option(name: .long, help: ArgumentHelp("Control socket of tercetd.", valueName: "PATH"))
    var targetSocket = TargetArguments.usualSocket

    @Option(name: .long, help: ArgumentHelp("Control socket of tercet-volumed.", valueName: "PATH"))
    var volumeSocket = DaemonArguments.usualSocket

    @Flag(name: .long, help: "Print JSON: an object each interval, with the daemons that answer.")
    var json = false

    /// The counters of the daemons that answer, and the reasons of those that do not.
    private struct Look {
        var target: Result<TargetStatistics, TercetError>
        var volumes: Result<VolumeCounters, TercetError>
    }

    private struct Rates: Encodable {
        var target: [TargetRates.Row]?
        var volumes: [VolumeRates.Row]?
    }

    func run() throws {
        try looks.run(look: look) { before, now in
            if json {
                return try printJSON(
                    Rates(target: rates(before.target, now.target), volumes: rates(before.volumes, now.volumes)))
            }
            LiveLooks.clear()
            show("tercetd", now.target, TargetRates.header, rates(before.target, now.target)?.map(\.line))
            print("")
            show(
                "tercet-volumed", now.volumes, VolumeRates.header,
                rates(before.volumes, now.volumes)?.flatMap(\.lines))
        }
    }

    private func look() throws -> Look {
        let look = Look(
            target: answer(targetSocket) {
                try $0.call(
                    TargetMethod.statistics, StatisticsRequest(queues: false), returning: TargetStatistics.self)
            },
            volumes: answer(volumeSocket) {
                try $0.call(VolumeMethod.statistics, NoParameters(), returning: VolumeCounters.self)
            })
        if case (.failure(let target), .failure(let volumes)) = (look.target, look.volumes) {
            throw TercetError(
                .unavailable,
                "neither daemon answers here. tercetd: \(target). tercet-volumed: \(volumes). Sockets elsewhere are named by "
                    + "--target-socket and --volume-socket")
        }
        return look
    }

    private func answer<Counters>(
        _ socket: String, _ call: (ControlClient) throws -> Counters
    ) -> Result<Counters, TercetError> {
        do throws(TercetError) { return .success(try withDaemon(at: socket, call)) } catch { return .failure(error) }
    }

    /// Of a daemon that answered both times.
    private func rates(
        _ before: Result<TargetStatistics, TercetError>, _ now: Result<TargetStatistics, TercetError>
    ) -> [TargetRates.Row]? {
        guard case (.success(let before), .success(let now)) = (before, now) else { return nil }
        return TargetRates(before, now).rows
    }

    private func rates(
        _ before: Result<VolumeCounters, TercetError>, _ now: Result<VolumeCounters, TercetError>
    ) -> [VolumeRates.Row]? {
        guard case (.success(let before), .success(let now)) = (before, now) else { return nil }
        return VolumeRates(before, now).rows
    }

    private func show<Counters>(
        _ daemon: String, _ now: Result<Counters, TercetError>, _ header: String, _ lines: [String]?
    ) {
        if case .failure(let error) = now { return print("\(daemon) does not answer: \(error)") }
        print("\(daemon)\n\(header)")
        for line in lines ?? [] { print(line) }
    }
}
