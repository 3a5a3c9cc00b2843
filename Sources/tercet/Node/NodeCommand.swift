import ArgumentParser
import Base
import VolumeRegistry

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "The nodes of a registry, to which a controller publishes volumes.",
        discussion: """
            A node enters itself: tercet-node serve, with the registry. Where there is one, volumes are published to no other names.
            """,
        subcommands: [NodeListCommand.self, NodeRemoveCommand.self])
}

struct NodeListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the nodes.")

    @OptionGroup var registry: RegistryArguments
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let list = try await registry.open()
        let nodes = try await callRegistry { () async throws(RegistryError) in try await list.pools() }.nodes
            .sorted { $0.name < $1.name }
        if json { return try printJSON(nodes) }
        for node in nodes { print(node.name + (node.domain.map { ": domain \($0)" } ?? "")) }
    }
}

struct NodeRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a node out of the registry: no volume is published to it any more.",
        discussion:
            "Volumes that it has stay its own until they are unpublished. If it is still there, it enters itself when it starts."
    )

    @Argument(help: "The node's name.") var name: String
    @OptionGroup var registry: RegistryArguments

    func run() async throws {
        let list = try await registry.open()
        let present = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
        guard present.nodes.contains(where: { $0.name == name }) else {
            throw TercetError(
                .notFound, "node \(name): there is none in the registry; tercet node list shows those that are")
        }
        let nodes = present.nodes.filter { $0.name != name }
        _ = try await callRegistry { () async throws(RegistryError) in
            try await list.put(pools: present.pools, nodes: nodes, expecting: present.revision)
        }
    }
}
