import ArgumentParser
import NodeAgent

struct StatsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Say how much of a volume is used, and whether something is wrong with it.")

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where it is staged or published.", valueName: "PATH"))
    var path: String

    @OptionGroup var call: CallArguments

    func run() async throws {
        try await call.call { agent in
            try await agent.statistics(try VolumeID(volume), path: path)
        } text: { statistics in
            [usage("bytes", statistics.bytes)] + (statistics.inodes.map { [usage("inodes", $0)] } ?? [])
                + ["condition: \(statistics.condition)"]
        }
    }

    private func usage(_ unit: String, _ usage: NodeStatistics.Usage) -> String {
        guard let used = usage.used, let available = usage.available else { return "\(unit): \(usage.total)" }
        return "\(unit): \(usage.total), used: \(used), available: \(available)"
    }
}

struct ExpandCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "expand", abstract: "Make the file system of a volume that has grown as large as the volume.",
        discussion: "The volume itself is grown with tercet volume grow.")

    @Argument(help: "The volume's name in tercet-volumed.")
    var volume: String

    @Option(name: .long, help: ArgumentHelp("Where it is staged or published.", valueName: "PATH"))
    var path: String

    @Option(name: .long, help: ArgumentHelp("Bytes that the volume has to have at least.", valueName: "BYTES"))
    var bytes: UInt64 = 0

    @Flag(name: .long, help: "Say what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var call: CallArguments

    private struct Size: Encodable {
        var volume: String
        var bytes: UInt64
    }

    func run() async throws {
        if dryRun {
            return try await call.change(volume, isDryRun: true) { agent, id in
                try agent.planExpand(id, path: path, requiredBytes: bytes)
            } _: { _, _ in
            }
        }
        try await call.call { agent in
            Size(
                volume: volume, bytes: try await agent.expand(try VolumeID(volume), path: path, requiredBytes: bytes))
        } text: {
            ["\($0.volume): \($0.bytes) bytes"]
        }
    }
}

struct InfoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Say what this host is called, and by what volumes become its devices.")

    @OptionGroup var call: CallArguments

    func run() async throws {
        try await call.call { agent in
            agent.info()
        } text: { info in
            let possible = info.possibleDevices.joined(separator: ", ")
            return [
                "node: \(info.node)", "volumes become devices by: \(info.device ?? "nothing that this host has")",
                "possible here: \(possible.isEmpty ? "none" : possible)",
            ]
        }
    }
}

struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the volumes that are devices of this host, and where they are mounted.")

    @OptionGroup var call: CallArguments

    func run() async throws {
        try await call.call { agent in
            try agent.list()
        } text: { volumes in
            volumes.map {
                "\($0.volume): \($0.phase), \($0.bytes) bytes, \($0.device) by \($0.kind), at: "
                    + ($0.paths.isEmpty ? "nothing" : $0.paths.joined(separator: ", ")) + ", \($0.uuid)"
            }
        }
    }
}
