import ArgumentParser
import Base
import Foundation
import Logging
import NVMeTarget
import TargetConfiguration
import TargetInterface
import Terminal
import Trace

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
            writes what each thread did last to a file; tercet trace prints it.

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

    @Option(name: .long, help: "Form of the log on standard error.")
    var logFormat: LogFormat = .text

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

    private func configuration() throws(TercetError) -> Configuration {
        if let config {
            guard listen.isEmpty, export.isEmpty, reactors == nil, stateDirectory == nil else {
                throw TercetError(
                    .invalid,
                    "--config is given with --listen, --export, --reactors or --state-directory; allowed: all of it in "
                        + "the file, or nothing")
            }
            return try Configuration(contentsOf: config)
        }
        var configuration = try Configuration(listen: listen, exports: export)
        configuration.stateDirectory = stateDirectory
        if let reactors { configuration.reactors = .count(reactors) }
        return configuration
    }

    /// Serves until it is told to stop; returns the exit status.
    @MainActor
    private func serve(_ signals: Signals) async -> Int32 {
        let level = logLevel
        let format = logFormat
        var logger = Logger(label: "tercetd") { _ in LineLogHandler(format: format) }
        logger.logLevel = level

        var current: Configuration
        do {
            current = try configuration()
        } catch {
            writeToStandardError("tercetd: \(error.description)\n")
            return config == nil ? 2 : 1
        }
        TraceDump.prepare(program: "tercetd", folder: current.stateDirectory ?? TraceDump.temporaryFolder)
        TraceDump.catchTraps()
        let service: Service
        do {
            service = try Service(current, logger: logger)
            for warning in ResourceCheck(current).warnings { logger.warning("\(warning)") }
            try service.start()
            _ = try await service.apply(current)
            try accept(service, current)
        } catch {
            writeToStandardError("tercetd: \(error)\n")
            return 1
        }
        for remark in current.remarks { logger.warning("\(remark)") }
        for missing in service.missing { logger.error("\(missing.part) is missing: \(missing.reason)") }
        logger.notice(
            "serving",
            metadata: [
                "subsystems": "\(service.target.reached.subsystems.count)", "missing": "\(service.missing.count)",
            ])
        var retryAt = ContinuousClock.now + Self.retryInterval
        var reloads = 0
        while true {
            switch signals.wait(milliseconds: 1000) {
            case SIGTERM, SIGINT:
                logger.notice("stopping")
                await service.stop()
                return 0
            case SIGHUP:
                reloads += 1
                current = await reload(service, current, number: reloads, logger)
            case SIGUSR1:
                dumpTrace(logger)
                continue
            default:
                service.refresh()
                if service.missing.isEmpty || ContinuousClock.now < retryAt { continue }
                await retry(service, current, logger)
            }
            retryAt = ContinuousClock.now + Self.retryInterval
        }
    }

    private func dumpTrace(_ logger: Logger) {
        var path = ""
        let failure = TraceDump.write { path = String(cString: $0) }
        if failure == 0 {
            logger.notice("trace written", metadata: ["path": "\(path)"])
        } else {
            logger.error("the trace cannot be written: \(String(cString: strerror(failure)))")
        }
    }

    /// How often what is missing is tried again.
    private static let retryInterval = Duration.seconds(10)

    /// Whether the daemon goes on with what it has: a part that is missing is tried again, but without any address to listen
    /// at, or where the operator wants all or nothing, it does not begin.
    @MainActor
    private func accept(_ service: Service, _ configuration: Configuration) throws(TercetError) {
        guard let first = service.missing.first else { return }
        if requireAll || configuration.requiresAll { throw TercetError(.unavailable, first.reason) }
        if service.target.reached.listeners.isEmpty {
            let listener = service.missing.first {
                if case .listener = $0.part { true } else { false }
            }
            throw TercetError(.unavailable, (listener ?? first).reason)
        }
    }

    /// Tries what is missing again; says what has been added since, and what is missing for another reason than before.
    @MainActor
    private func retry(_ service: Service, _ current: Configuration, _ logger: Logger) async {
        let before = service.missing
        do {
            for line in try await service.apply(current) { logger.notice("tried again: \(line)") }
        } catch {
            logger.error("tried again: \(error)")
        }
        for missing in service.missing where !before.contains(missing) {
            logger.error("\(missing.part) is missing: \(missing.reason)")
        }
    }

    /// Reads the configuration file again; one with an error changes nothing. Namespaces whose devices had vanished or
    /// fail are opened anew. What has been done is told when it is done, and then that the reload is over. Returns what the
    /// target is to be from now on.
    @MainActor
    private func reload(
        _ service: Service, _ current: Configuration, number: Int, _ logger: Logger
    ) async -> Configuration {
        let start = ContinuousClock.now
        var desired = current
        do {
            let new = try configuration()
            for remark in new.remarks { logger.warning("reload: \(remark)") }
            let returned = service.returnedNamespaces(new.definition)
            let lines = try await service.apply(new, reopening: returned)
            desired = new
            for part in returned {
                logger.notice("reload: \(part): its device had vanished or failed, and has been opened anew")
            }
            for line in lines { logger.notice("reload: \(line)") }
            if lines.isEmpty && returned.isEmpty { logger.notice("reload: nothing has changed") }
            for missing in service.missing {
                logger.error("reload: \(missing.part) is missing; it is tried again: \(missing.reason)")
            }
            let milliseconds = (ContinuousClock.now - start) / .milliseconds(1)
            logger.log(
                level: service.missing.isEmpty ? .notice : .error, "reload over",
                metadata: [
                    "number": "\(number)", "changes": "\(lines.count + returned.count)",
                    "failed": "\(service.missing.count)",
                    "missing": "\(service.missing.map(\.part.description).joined(separator: ", "))",
                    "milliseconds": "\(Int(milliseconds))",
                ])
        } catch {
            logger.error("reload: \(error); nothing was changed")
            logger.error(
                "reload over", metadata: ["number": "\(number)", "changes": "0", "failed": "1", "missing": "all of it"])
        }
        return desired
    }
}
