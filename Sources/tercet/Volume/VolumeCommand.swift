import ArgumentParser

struct VolumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume", abstract: "One volume on three targets: create, look at, use, measure, heal, change.",
        discussion: """
            A volume keeps every write on three members, each a namespace of its own target, and survives the loss of \
            any one of them. Members are named in their order: --member ADDRESS:PORT/SUBNQN/NSID, three times. With a \
            registry (--registry, or the variable TERCET_REGISTRY) a volume has a NAME, which takes their place.
            """,
        subcommands: [
            VolumeCreateCommand.self, VolumeStatusCommand.self, VolumeWriteCommand.self, VolumeReadCommand.self,
            VolumeBenchCommand.self, VolumeExerciseCommand.self, VolumeHealCommand.self,
            VolumeScrubCommand.self, VolumeReplaceCommand.self, VolumeGrowCommand.self, VolumeDetachCommand.self,
            VolumeDestroyCommand.self, VolumeListCommand.self, VolumeShowCommand.self, VolumeExplainCommand.self,
            VolumeHandOverCommand.self, VolumeStateCommand.self,
            VolumeMarkCommand.self,
            VolumeLimitCommand.self, VolumeTopCommand.self, VolumeWatchCommand.self, VolumeTraceCommand.self,
            VolumeShutdownCommand.self,
        ])
}
