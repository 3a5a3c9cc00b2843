import ArgumentParser
import NodeAgent

struct PublishCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish", abstract: "Make a staged volume visible to a pod.",
        discussion:
            "The parent of the target path exists. A block device is mounted on a file, a file system on a folder.")

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where it is staged.", valueName: "PATH"))
    var staging: String

    @Option(name: .long, help: ArgumentHelp("Where the pod finds it.", valueName: "PATH"))
    var target: String

    @Flag(name: .long, help: "The pod may not write.")
    var readOnly = false

    @Flag(name: .long, help: "Refuse where another pod has the volume.")
    var exclusive = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Make all files those of a group, by its number, which may write them.", valueName: "NUMBER"))
    var group: UInt32?

    @Flag(name: .long, help: "Say what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var call: CallArguments

    func run() async throws {
        func request(_ id: VolumeID) -> PublishRequest {
            PublishRequest(
                volume: id, stagingPath: staging, targetPath: target, isReadOnly: readOnly, isExclusive: exclusive,
                group: group)
        }
        try await call.change(volume, isDryRun: dryRun) { agent, id in
            try agent.planPublish(request(id))
        } _: { agent, id in
            try await agent.publish(request(id))
        }
    }
}

struct UnpublishCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpublish", abstract: "Take a volume away from a pod, and remove what was made for it.")

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where the pod finds it.", valueName: "PATH"))
    var target: String

    @Flag(name: .long, help: "Say what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var call: CallArguments

    func run() async throws {
        try await call.change(volume, isDryRun: dryRun) { agent, id in
            try agent.planUnpublish(id, targetPath: target)
        } _: { agent, id in
            try await agent.unpublish(id, targetPath: target)
        }
    }
}
