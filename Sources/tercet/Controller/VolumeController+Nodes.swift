import ControllerCalls
import VolumeRegistry

/// Nodes, and the volumes that they have.
extension VolumeController {
    func publish(_ name: String, _ node: String) async throws -> VolumeEntry {
        let found = try await ready(name)
        if let present = found.entry.labels[Label.node], present != node {
            try await checkIsThere(node)
            throw Failure(
                .failedPrecondition,
                "volume \(name) is published to node \(present); a volume is one node's: unpublish it there first")
        }
        guard found.entry.labels[Label.node] != node else { return found.entry }
        try await checkIsThere(node)
        try await change { try await found.change { $0.labels[Label.node] = node } }
        return found.entry
    }

    /// Throws `notFound` for a node that has not entered itself. Where none has, any name is taken.
    private func checkIsThere(_ node: String) async throws {
        let list = registry
        let nodes = try await callRegistry { () async throws(RegistryError) in try await list.pools() }.nodes
        guard nodes.isEmpty || nodes.contains(where: { $0.name == node }) else {
            throw Failure(
                .notFound,
                "there is no node \(node.prefix(140)) in the registry: tercet-node serve with --registry enters it there, and \"tercet node "
                    + "list\" shows those that are")
        }
    }

    /// A node that had the volume is remembered: the next one fences it, for it may be away and still have writes on their way.
    func unpublish(_ name: String, _ node: String) async throws {
        guard VolumeEntry.isName(name), let found = try await find(name), let present = found.entry.labels[Label.node],
            node.isEmpty || present == node
        else { return }
        try await change {
            try await found.change { entry in
                entry.labels[Label.node] = nil
                entry.labels[Label.formerNode] = present
            }
        }
    }

    /// Changes limits of a volume. The node that stages it next sets them; one that has it would not hear of them.
    func modify(_ name: String, _ limits: LimitParameters) async throws {
        let found = try await ready(name)
        let merged = limits.over(Label.limits(of: found.entry))
        guard merged != Label.limits(of: found.entry) else { return }
        if let node = found.entry.labels[Label.node] {
            throw Failure(
                .failedPrecondition,
                "volume \(name) is published to node \(node): its limits change while no node has it; until then, \"tercet volume limit\" "
                    + "changes them there")
        }
        try await change { try await found.change { $0.labels.merge(Label.of(merged)) { $1 } } }
    }

    /// Enters a node, or changes its entry.
    func enter(_ node: NodeEntry) async throws {
        let list = registry
        // Others enter themselves at the same time.
        for _ in 0..<Self.mostAttempts {
            let present = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
            guard !present.nodes.contains(node) else { return }
            let nodes = present.nodes.filter { $0.name != node.name } + [node]
            do throws(RegistryError) {
                try await list.put(pools: present.pools, nodes: nodes, expecting: present.revision)
                return
            } catch {
                guard case .conflict = error.code else { throw Failure(.unavailable, error.message) }
                try? await Task.sleep(for: .milliseconds(Int.random(in: 1...100)))
            }
        }
        throw Failure(.aborted, "other nodes enter themselves in the registry all the time: try again")
    }

    private static let mostAttempts = 64
}
