import ArgumentParser
import Foundation
import Logging
import TargetConfiguration
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
            "Folder for reservations that persist through power loss; hosts are not offered that without one.",
            valueName: "FOLDER"))
    var stateDirectory: String?

    @Option(name: .long, help: "Form of the log on standard error.")
    var logFormat: LogFormat = .text

    @Option(name: .long, help: "Least level that is logged.")
    var logLevel: Logger.Level = .info
}

extension LogFormat: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}

extension Tercetd {
    @MainActor
    static func main() async {
        let signals = Signals()
        let command = parseOrExit()
        Foundation.exit(await command.serve(signals))
    }

    private func configuration() throws(ConfigurationError) -> Configuration {
        if let config {
            guard listen.isEmpty, export.isEmpty, reactors == nil, stateDirectory == nil else {
                throw ConfigurationError(
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
        let service = Service(current, logger: logger)
        do {
            try await service.start(current)
        } catch {
            writeToStandardError("tercetd: \(error.description)\n")
            return 1
        }
        logger.notice("serving", metadata: ["subsystems": "\(current.subsystems.count)"])
        while true {
            switch signals.wait(seconds: 1) {
            case SIGTERM, SIGINT:
                logger.notice("stopping")
                await service.stop()
                return 0
            case SIGHUP:
                current = await reload(service, current, logger)
            case SIGUSR1:
                dumpTrace(logger)
            default:
                service.refresh()
            }
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

    /// Reads the configuration file again; one with an error changes nothing. Namespaces whose devices had vanished
    /// are opened anew. Returns what the target has now: what could not be added is not in it, so that the next reload tries
    /// again.
    @MainActor
    private func reload(_ service: Service, _ current: Configuration, _ logger: Logger) async -> Configuration {
        do {
            let new = try configuration()
            let returned = service.returnedNamespaces(new)
            let change = try ConfigurationChange(from: current.leavingOut(returned), to: new)
            for part in returned { logger.notice("reload: \(part): its device had vanished, and is opened anew") }
            await service.remove(returned)
            for line in change.lines { logger.notice("reload: \(line)") }
            if change.isEmpty { logger.notice("reload: nothing has changed") }
            let missing = await service.apply(change)
            for part in missing { logger.error("reload: \(part) is missing; the next reload tries again") }
            return new.leavingOut(missing)
        } catch {
            logger.error("reload: \(error.description); nothing was changed")
            return current
        }
    }
}
