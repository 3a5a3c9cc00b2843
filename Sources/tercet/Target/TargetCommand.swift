import ArgumentParser
import Base
import ControlPlane
import Foundation
import JSON
import Terminal

/// A running target: what it is, and what it is to be.
struct TargetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "target", abstract: "Look at a running tercetd, and change it.",
        discussion: """
            Changes take effect at once, and hosts go on with their I/O. A change that fails leaves the target as it was, or the \
            error says what was done. They last until the daemon ends; tercet target save writes them to the configuration \
            file.

            Exit status: 0 where all went well, 1 where something failed or the daemon cannot be asked, 2 for wrong usage.
            """,
        subcommands: [
            TargetListCommand.self, TargetShowCommand.self, TargetAddCommand.self, TargetRemoveCommand.self,
            TargetSetCommand.self, TargetPoolCommand.self, TargetDrainCommand.self, TargetStatsCommand.self,
            TargetTopCommand.self,
            TargetWatchCommand.self, TargetTraceCommand.self, TargetSaveCommand.self, TargetReloadCommand.self,
            TargetShutdownCommand.self, TargetImportCommand.self,
        ])
}

/// The control socket of a target's daemon.
struct TargetArguments: ParsableArguments {
    static let usualSocket = "/run/tercet/tercetd.sock"

    @Option(name: .long, help: ArgumentHelp("Control socket of tercetd.", valueName: "PATH"))
    var socket = usualSocket

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable = NoParameters(), returning type: Result.Type
    ) throws -> Result {
        try withDaemon(at: socket) { try $0.call(method, parameters, returning: type) }
    }

    /// Makes a change, and prints what it has done.
    func change(_ method: String, _ parameters: [String: JSONValue?]) throws {
        let report = try call(
            method, JSONValue.object(parameters.compactMapValues { $0 }), returning: ChangeReport.self)
        if json { return try printJSON(report) }
        if report.done.isEmpty { print("nothing has changed") }
        for line in report.done { print(line) }
        for missing in report.missing {
            writeToStandardError("tercet: \(missing.part) is missing, as before: \(missing.reason)\n")
        }
    }
}

extension JSONValue {
    /// An address with or without a port, as the configuration has it.
    static func address(_ text: String) throws -> [String: JSONValue] {
        guard let address = SocketAddress(text, defaultPort: 4420) else {
            throw ValidationError(
                "'\(text)' is no address; allowed: ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT, in numbers")
        }
        return ["address": .text(address.host), "port": .integer(Int64(address.port))]
    }

    /// `KEY=VALUE` pairs. A value is JSON, or text if it is no JSON or the key takes text.
    static func settings(_ pairs: [String]) throws -> [String: JSONValue] {
        let texts = [
            "nqn", "serial", "model", "backing", "uuid", "nguid", "eui64", "identifiers", "stateDirectory", "logLevel",
        ]
        var settings: [String: JSONValue] = [:]
        for pair in pairs {
            guard let separator = pair.firstIndex(of: "="), separator != pair.startIndex else {
                throw ValidationError("'\(pair)': no '='; allowed: KEY=VALUE")
            }
            let (key, text) = (String(pair[..<separator]), String(pair[pair.index(after: separator)...]))
            let value = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
            let isText = texts.contains(key) && value != .null
            if settings.updateValue(isText ? .text(text) : value ?? .text(text), forKey: key) != nil {
                throw ValidationError("'\(key)' is given twice")
            }
        }
        return settings
    }
}

/// Follows the events of a target.
struct TargetWatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Print what happens at the target, as it happens.",
        discussion: "The lines of its log, from now on. Ends when the daemon does, with exit status 0.")

    @OptionGroup var target: TargetArguments

    func run() throws {
        try printEvents(ofDaemonAt: target.socket, json: target.json)
    }
}

struct TargetTraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Let the target write what each of its threads did last to a file.",
        discussion: "tercet trace FILE prints it.")

    @OptionGroup var target: TargetArguments

    func run() throws {
        let file = try target.call(TargetMethod.dumpTrace, returning: TraceFileName.self)
        if target.json { return try printJSON(file) }
        print(file.path)
    }
}

struct TargetSaveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Write the configuration, with all changes, to its file or another one.",
        discussion: "What was not changed keeps its order. After a power loss there is the old file or the new one.")

    @Option(name: .long, help: ArgumentHelp("Another file, on the target's machine.", valueName: "PATH"))
    var to: String?

    @OptionGroup var target: TargetArguments

    func run() throws {
        let saved = try target.call(TargetMethod.save, SaveRequest(path: to), returning: SaveRequest.self)
        if target.json { return try printJSON(saved) }
        print("saved to \(saved.path ?? "")")
    }
}

struct TargetReloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Let the target read its configuration file again.",
        discussion: "As SIGHUP does. Changes that were not saved are replaced by what the file says.")

    @OptionGroup var target: TargetArguments

    func run() throws { try target.change(TargetMethod.reload, [:]) }
}

struct TargetShutdownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shutdown", abstract: "End the target's daemon in good order, as SIGTERM does.")

    @OptionGroup var target: TargetArguments

    func run() throws { _ = try target.call(TargetMethod.shutdown, returning: NoParameters.self) }
}

/// Lets hosts go to other paths.
struct TargetDrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Send hosts to their other paths, before the target is stopped.",
        discussion: """
            All namespaces become inaccessible (ANA), and the command waits until no read or write has succeeded for a second. \
            A host that has no other path waits until they are back. It is no part of the configuration: the next daemon begins \
            without.

            Exit status: 0 where it is quiet, 1 where hosts go on after --seconds, or it failed.
            """)

    @Argument(help: "The subsystem; all of them if not given.")
    var nqn: String?

    @Flag(name: .long, help: "Let hosts come back.")
    var back = false

    @Option(name: .long, help: "How long to wait.")
    var seconds = 30.0

    @OptionGroup var target: TargetArguments

    func run() throws {
        let report = try target.call(
            TargetMethod.drain, DrainRequest(subsystem: nqn, isDrained: !back, seconds: seconds),
            returning: DrainReport.self)
        if target.json {
            try printJSON(report)
        } else {
            print("drained: \(report.drained.isEmpty ? "none" : report.drained.joined(separator: ", "))")
            if !back {
                let time = String(format: "%.1f", report.seconds)
                print(report.isQuiet ? "quiet after \(time) s" : "not quiet after \(time) s")
            }
        }
        if !back, !report.isQuiet { throw ExitCode(1) }
    }
}
