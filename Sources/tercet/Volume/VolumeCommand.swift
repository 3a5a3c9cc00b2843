import ArgumentParser

struct VolumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume", abstract: "One volume on three targets: create, look at, use, measure, heal, change.",
        discussion: """
            A volume keeps every write on three members, each a namespace of its own target, and survives the loss of \
            any one of them. Members are named in their order: --member ADDRESS:PORT/SUBNQN/NSID, three times.
            """,
        subcommands: [
            VolumeCreateCommand.self, VolumeStatusCommand.self, VolumeWriteCommand.self, VolumeReadCommand.self,
            VolumeBenchCommand.self, VolumeExerciseCommand.self, VolumeHealCommand.self,
            VolumeScrubCommand.self, VolumeReplaceCommand.self, VolumeGrowCommand.self, VolumeDetachCommand.self,
            VolumeDestroyCommand.self, VolumeListCommand.self, VolumeExplainCommand.self, VolumeMarkCommand.self,
            VolumeLimitCommand.self,
        ])
}
