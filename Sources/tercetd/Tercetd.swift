import ArgumentParser
import Base
import ControlPlane
import Foundation
import Logging
import NVMeTarget
import Reactor
import TargetConfiguration
import TargetInterface
import Terminal
import Trace
import UnixSockets

@main
struct Tercetd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercetd",
        abstract: "Exposes local block devices, files and memory as NVMe namespaces over NVMe-oF/RDMA.",
        discussion: """
            With a configuration file:   tercetd --config /etc/tercet/tercetd.json
            Without one:                 tercetd --listen 192.0.2.1 --export nqn.2026-11.io.example:disk=/dev/nvme0n1

            PATH is a block device, a file, ram:SIZE or null:SIZE. Sizes are in bytes; K, M, G and T, also as KiB, MiB, GiB \
            and TiB, in either case, are powers of 1024. Several --export with one NQN are several namespaces of one \
            subsystem. SIGHUP reads the configuration file again, SIGTERM ends the daemon. SIGUSR1 \
            writes what each thread did last to a file; tercet trace prints it. tercet target changes and shows all of it while \
            the daemon runs.

            Exit status: 0 where a signal ended it in good order, 1 where it could not start, 2 for wrong usage.
            """)

    @Option(name: .long, help: ArgumentHelp("Configuration file, in JSON.", valueName: "FILE"))
    var config: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Address to listen at; IPv6 in brackets when a port follows. Repeatable.", valueName: "ADDRESS[:PORT]"))
    var listen: [String] = []

    @Option(name: .long, help: ArgumentHelp("A namespace to expose. Repeatable.", valueName: "NQN=PATH"))
    var export: [String] = []

    @Option(
        name: .long, help: "Threads that serve, each on a processor of its own; one for each processor where not given."
    )
    var reactors: Int?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Folder for what outlives the daemon: the identity of its namespaces, and reservations that persist through power "
                + "loss; hosts are not offered those without one.",
            valueName: "FOLDER"))
    var stateDirectory: String?

    @Flag(
        name: .long,
        help:
            "End with status 1 where a part cannot be served at the start, instead of serving the rest and trying again."
    )
    var requireAll = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Unix socket for control, as tercet target uses it (default: tercetd.sock in RUNTIME_DIRECTORY, or in /run/tercet "
                + "if that folder is there; none: no socket).",
            valueName: "PATH"))
    var control: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Answer HTTP with /metrics in Prometheus' text form, /livez and /readyz; PATH is a Unix socket.",
            valueName: "ADDRESS:PORT|PATH"))
    var metrics: String?

    @Option(
        name: .long,
        help:
            "Form of the log on standard error; journal: entries of systemd's journal (default: journal under systemd, else text)."
    )
    var logFormat: LogFormat?

    @Option(name: .long, help: "Least level that is logged.")
    var logLevel: Logger.Level = .info
}

extension Tercetd {
    @MainActor
    static func main() async {
        let signals = Signals([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        let command = parseOrExit()
        Foundation.exit(await command.serve(signals))
    }

    private func configuration() throws(TercetError) -> WrittenConfiguration {
        if let config {
            guard listen.isEmpty, export.isEmpty, reactors == nil, stateDirectory == nil else {
                throw TercetError(
                    .invalid,
                    "--config is given with --listen, --export, --reactors or --state-directory; allowed: all of it in "
                        + "the file, or nothing")
            }
            return try WrittenConfiguration(file: config)
        }
        var configuration = try Configuration(listen: listen, exports: export)
        configuration.stateDirectory = stateDirectory
        if let reactors { configuration.reactors = .count(reactors) }
        return WrittenConfiguration(commandLine: configuration)
    }

    /// Serves until it is told to stop; returns the exit status.
    @MainActor
    private func serve(_ signals: Signals) async -> Int32 {
        let format = logFormat ?? .usual
        let threshold = LogThreshold(logLevel)
        let events = ControlBroadcast(method: DaemonEvent.notification)
        let logger = Logger(label: "tercetd") { _ in
            LineLogHandler("tercetd", format: format, threshold: threshold) { line in events.tell { DaemonEvent(line) }
            }
        }
        let notification = ServiceNotification()

        let written: WrittenConfiguration
        do {
            written = try configuration()
        } catch {
            writeToStandardError("tercetd: \(error.description)\n")
            return config == nil ? 2 : 1
        }
        let configuration = written.configuration
        TraceDump.prepare(program: "tercetd", folder: configuration.stateDirectory ?? TraceDump.temporaryFolder)
        TraceDump.catchTraps()
        let service: Service
        do {
            service = try Service(written, logger: logger, threshold: threshold)
            for warning in ResourceCheck(configuration).warnings { logger.warning("\(warning)") }
            try await service.start()
            try await service.begin()
            try await accept(service, configuration)
            try await openControl(service, events)
            if let metrics { try await service.answerMetrics(at: metrics) }
        } catch {
            writeToStandardError("tercetd: \(error)\n")
            return 1
        }
        for remark in configuration.remarks { logger.warning("\(remark)") }
        let missing = await service.missing
        for missing in missing { logger.error("\(missing.part) is missing: \(missing.reason)") }
        logger.notice(
            "serving",
            metadata: [
                "subsystems": "\(service.target.reached.subsystems.count)", "missing": "\(missing.count)",
            ])
        notification.ready(await service.statusLine)
        await goOn(service, signals, notification)
        return 0
    }

    /// Does what signals say, and what is due from time to time, until one says that it is over.
    @MainActor
    private func goOn(_ service: Service, _ signals: Signals, _ notification: ServiceNotification) async {
        var retryAt = ContinuousClock.now + Self.retryInterval
        if notification.watchdogMilliseconds != nil || metrics != nil { Self.watch(service.watch, notification) }
        while true {
            switch signals.wait(milliseconds: 1000) {
            case SIGTERM, SIGINT:
                notification.stopping()
                service.logger.notice("stopping")
                return await service.stop()
            case SIGHUP:
                notification.reloading()
                // Its failure is in the log.
                _ = try? await service.reload()
                notification.ready(await service.statusLine)
            case SIGUSR1:
                // The same.
                _ = try? await service.dumpTrace()
                continue
            default:
                await service.refresh()
                if await service.missing.isEmpty || ContinuousClock.now < retryAt { continue }
                await service.retry()
                notification.status(await service.statusLine)
            }
            retryAt = ContinuousClock.now + Self.retryInterval
        }
    }

    /// Asks the reactors for progress as long as the process lives, and feeds the service manager's watchdog with it: on a thread
    /// of its own, because a device may keep the main thread waiting while the others are served.
    private static func watch(_ reactors: ReactorWatch, _ notification: ServiceNotification) {
        let interval = min(1000, notification.watchdogMilliseconds ?? 1000)
        Thread {
            while true {
                if reactors.ask().isEmpty { notification.beat() }
                Thread.sleep(forTimeInterval: Double(interval) / 1000)
            }
        }.start()
    }

    /// Opens the control socket, or takes the one that a service manager listens at. Without one the daemon serves as well: one that
    /// was not asked for is left out if it is taken.
    @MainActor
    private func openControl(_ service: Service, _ events: ControlBroadcast) async throws(TercetError) {
        let inherited = try UnixListener.inherited()
        guard inherited.count < 2 else {
            throw TercetError(
                .invalid, "the service manager passes \(inherited.count) sockets: tercetd takes one, for control")
        }
        if let (_, listener) = inherited.first {
            await service.answer(at: listener, events: events)
            return
        }
        if let control {
            if control != "none" {
                await service.answer(at: try UnixListener(path: control, mode: 0o600), events: events)
            }
            return
        }
        guard let path = UnixListener.runtimePath("tercetd.sock") else { return }
        do throws(TercetError) {
            await service.answer(at: try UnixListener(path: path, mode: 0o600), events: events)
        } catch {
            service.logger.warning("there is no control socket: \(error)")
        }
    }

    /// How often what is missing is tried again.
    private static let retryInterval = Duration.seconds(10)

    /// Whether the daemon goes on with what it has: a part that is missing is tried again, but without any address to listen
    /// at, or where the operator wants all or nothing, it does not begin.
    @MainActor
    private func accept(_ service: Service, _ configuration: Configuration) async throws(TercetError) {
        let missing = await service.missing
        guard let first = missing.first else { return }
        if requireAll || configuration.requiresAll { throw TercetError(.unavailable, first.reason) }
        if service.target.reached.listeners.isEmpty {
            let listener = missing.first {
                if case .listener = $0.part { true } else { false }
            }
            throw TercetError(.unavailable, (listener ?? first).reason)
        }
    }
}

extension Service {
    /// In a sentence, for a service manager.
    var statusLine: String {
        let count = target.reached.subsystems.count
        let missing = missing.count
        return "serving \(count) subsystem\(count == 1 ? "" : "s")"
            + (missing > 0 ? ", \(missing) parts are missing" : "")
    }
}

extension DaemonEvent {
    init(_ line: LogLine) {
        self.init(time: line.time, level: line.level.rawValue, message: line.message, details: line.details)
    }
}
