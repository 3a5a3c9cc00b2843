import ArgumentParser
import NodeAgent

struct StageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stage",
        abstract: "Make a volume a device of this host, format it if it is blank, and mount it.",
        discussion: """
            The parent of the staging path exists; beside the path lies the state of the stage, .NAME.tercet.json. A volume is \
            formatted only where it is marked as blank, each read of it succeeds, and nothing is found on it. Its file system is \
            looked at before it is mounted, and never repaired. A stage that failed is made again, or undone with unstage.
            """)

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where it is mounted for all pods of this host.", valueName: "PATH"))
    var staging: String

    @Option(name: .long, help: ArgumentHelp("File system, ext4 or xfs.", valueName: "TYPE"))
    var fs: FileSystemType = .ext4

    @Flag(help: "Use the volume as a block device: nothing is formatted or mounted.")
    var block = false

    @Option(
        name: [.customShort("o"), .long], help: ArgumentHelp("Option of mount(8). Repeatable.", valueName: "OPTION"))
    var mountOption: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A member, three times, where tercet-volumed does not have the volume.",
            valueName: "ADDRESS:PORT/SUBNQN/NSID"))
    var member: [String] = []

    @Flag(name: .long, help: "Fence a host that has the volume attached.")
    var takeOver = false

    @Flag(
        name: .long,
        help: "Format anew, where another call began to format and died; no host may be at it. What is there is lost.")
    var continueFormat = false

    @Flag(name: .long, help: "Say what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var call: CallArguments

    func run() async throws {
        func request(_ id: VolumeID) -> StageRequest {
            StageRequest(
                volume: id, stagingPath: staging, capability: block ? .block : .fileSystem(fs, options: mountOption),
                members: member, takesOver: takeOver, continuesFormat: continueFormat)
        }
        try await call.change(volume, isDryRun: dryRun) { agent, id in
            try agent.planStage(request(id))
        } _: { agent, id in
            try await agent.stage(request(id))
        }
    }
}

struct UnstageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unstage",
        abstract: "Undo a stage: unmount the volume, end its device, and detach it where the stage attached it.",
        discussion: "It succeeds only when exactly this volume's device is gone, or the volume is not staged there.")

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where it is staged.", valueName: "PATH"))
    var staging: String

    @Flag(name: .long, help: "Say what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var call: CallArguments

    func run() async throws {
        try await call.change(volume, isDryRun: dryRun) { agent, id in
            try agent.planUnstage(id, stagingPath: staging)
        } _: { agent, id in
            try await agent.unstage(id, stagingPath: staging)
        }
    }
}
