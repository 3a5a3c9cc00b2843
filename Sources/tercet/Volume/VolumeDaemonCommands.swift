import ArgumentParser
import ControlPlane

/// The control socket of a volume daemon.
struct DaemonArguments: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Control socket of tercet-volumed.", valueName: "PATH"))
    var socket = "/run/tercet/volumed.sock"

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable, returning type: Result.Type
    ) throws -> Result {
        do {
            return try ControlClient(path: socket).call(method, parameters, returning: type)
        } catch {
            throw CommandFailure("\(error)")
        }
    }
}

/// The volumes of a daemon.
struct VolumeListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the volumes of a running tercet-volumed.")

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let volumes = try daemon.call(VolumeMethod.list, NoParameters(), returning: [VolumeSummary].self)
        if daemon.json { return try printJSON(volumes) }
        for volume in volumes {
            let exports = volume.exports.map { "\"\($0)\"" }.joined(separator: ", ")
            print(
                "\(volume.name): \(volume.phase), \(volume.bytes) bytes, exports: \(exports.isEmpty ? "none" : exports), "
                    + "sessions: \(volume.sessions)" + (volume.uuid.isEmpty ? "" : ", \(volume.uuid)"))
        }
    }
}

/// Why a volume is as it is.
struct VolumeExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a volume of a running tercet-volumed is as it is, since when, and what is needed.",
        discussion: "Exit status: 0 where nothing is needed, 1 where something is, or the daemon cannot be asked.")

    @Argument(help: "The volume's name.")
    var name: String

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let explanation = try daemon.call(
            VolumeMethod.explain, VolumeName(name: name), returning: VolumeExplanation.self)
        if daemon.json {
            try printJSON(explanation)
        } else {
            for line in explanation.lines { print(line) }
        }
        if !explanation.needs.isEmpty { throw ExitCode(1) }
    }
}
