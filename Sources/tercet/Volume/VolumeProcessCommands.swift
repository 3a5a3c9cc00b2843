import ArgumentParser
import ControlPlane

/// Follows the events of a volume daemon.
struct VolumeWatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Print what happens at a running tercet-volumed, as it happens.",
        discussion: "The lines of its log, from now on. Ends when the daemon does, with exit status 0.")

    @OptionGroup var daemon: DaemonArguments

    func run() throws { try printEvents(ofDaemonAt: daemon.path, json: daemon.json) }
}

/// Has a volume daemon write its trace.
struct VolumeTraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Let a running tercet-volumed write what each of its threads did last to a file.",
        discussion: "tercet trace FILE prints it.")

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let file = try daemon.call(VolumeMethod.dumpTrace, NoParameters(), returning: TraceFileName.self)
        if daemon.json { return try printJSON(file) }
        print(file.path)
    }
}

/// Ends a volume daemon.
struct VolumeShutdownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shutdown", abstract: "End a running tercet-volumed in good order, as SIGTERM does.",
        discussion: "Its clients get the answers to what is under way, and its volumes are detached.")

    @OptionGroup var daemon: DaemonArguments

    func run() throws { _ = try daemon.call(VolumeMethod.shutdown, NoParameters(), returning: NoParameters.self) }
}
