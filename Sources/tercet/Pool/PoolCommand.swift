import ArgumentParser
import Base
import NVMeInitiator
import VolumeDriver
import VolumeRegistry

struct PoolCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool", abstract: "The pools of a registry, of which volumes are made.",
        discussion: """
            A pool is a subsystem of a tercetd with "pool" in its configuration, which names this host among its managers. tercet volume \
            create NAME --size BYTES makes a volume of namespaces in three of them.
            """,
        subcommands: [PoolAddCommand.self, PoolListCommand.self, PoolRemoveCommand.self])
}

extension PoolSpread: ExpressibleByArgument {}

/// The options of all commands on pools.
struct PoolArguments: ParsableArguments {
    @OptionGroup var registry: RegistryArguments
    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?
    @OptionGroup var patience: Patience

    mutating func validate() throws { hostNQN = try FabricsFile.hostNQN(given: hostNQN) }

    /// Lets `body` use pools of a registry.
    func use(
        _ names: Set<String>?, of list: any Registry, _ body: (OpenPools) async throws -> Void
    ) async throws {
        let session = try Session()
        defer { session.end() }
        let pools = try await OpenPools.open(
            names, in: list, as: HostIdentity(nqn: hostNQN, id: .random()), session.groups[0],
            milliseconds: min(patience.milliseconds, 3000))
        do { try await body(pools) } catch {
            await pools.close()
            throw error
        }
        await pools.close()
    }
}

struct PoolAddCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Enter a pool, or change the entry of one. It has to answer.")

    @Argument(help: "A name for the pool.") var name: String
    @Option(
        name: [.customShort("a"), .customLong("address")],
        help: ArgumentHelp("A listener of its target; several are tried in their order.", valueName: "ADDRESS:PORT"))
    var addresses: [String]
    @Option(name: [.customShort("n"), .customLong("nqn")], help: "NQN of its subsystem.") var subsystem: String
    @Option(
        help: "What fails with it as one: pools of one domain share a machine, a rack or a room (default: its name).")
    var domain: String?
    @OptionGroup var arguments: PoolArguments

    func run() async throws {
        let list = try await arguments.registry.open(makes: true)
        let pool = PoolEntry(name: name, addresses: addresses, subsystem: subsystem, domain: domain ?? name)
        let present = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
        let changed = present.pools.filter { $0.name != name } + [pool]
        let revision = try await callRegistry { () async throws(RegistryError) in
            try await list.put(pools: changed, expecting: present.revision)
        }
        do {
            try await arguments.use([name], of: list) { pools in
                _ = try pools.connection(name)
                try await pools.note(in: list)
                if let facts = pools.facts(name) { print(pool.line(facts)) }
            }
        } catch {
            // The former entry stays.
            _ = try await callRegistry { () async throws(RegistryError) in
                try await list.put(pools: present.pools, expecting: revision)
            }
            throw error
        }
    }
}

struct PoolListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the pools, and what they have.",
        discussion: "Exit status: 0 where all of them answer, 1 where one does not; it is listed as it was last seen.")

    @OptionGroup var arguments: PoolArguments
    @Flag(help: "Print JSON, as last seen.") var json = false

    func run() async throws {
        let list = try await arguments.registry.open()
        var troubles = 0
        try await arguments.use(nil, of: list) { pools in
            try await pools.note(in: list)
            troubles = pools.problems.count
            if json {
                let now = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
                return try printJSON(now.pools)
            }
            for pool in pools.registered.pools {
                print(pool.line(pools.facts(pool.name)))
                if let problem = pools.problems[pool.name] { print("  \(problem)") }
            }
        }
        if troubles > 0 { throw ExitCode(1) }
    }
}

struct PoolRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a pool out of the registry. Nothing changes at its target.",
        discussion: "A pool in which a volume of the registry lies stays: its namespaces are deleted with the volume.")

    @Argument(help: "The pool's name.") var name: String
    @OptionGroup var registry: RegistryArguments

    func run() async throws {
        let list = try await registry.open()
        let present = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
        guard present[name] != nil else {
            throw TercetError(
                .notFound, "pool \(name): there is none in the registry; tercet pool list shows those that are")
        }
        let listing = try await callRegistry { () async throws(RegistryError) in try await list.list() }
        if let user = listing.volumes.first(where: { $0.entry.members.contains { $0.pool == name } }) {
            throw TercetError(
                .inUse, "pool \(name): volume \(user.entry.name) lies in it: replace its member, or destroy it")
        }
        _ = try await callRegistry { () async throws(RegistryError) in
            try await list.put(pools: present.pools.filter { $0.name != name }, expecting: present.revision)
        }
    }
}

extension OpenPools {
    /// Writes down what pools have. Another program may have changed them meanwhile: then the next look does it.
    func note(in list: any Registry) async throws(TercetError) {
        let seen = registered.pools.map { pool in
            var pool = pool
            if let facts = facts(pool.name) { (pool.capacity, pool.unallocated) = (facts.capacity, facts.unallocated) }
            return pool
        }
        guard seen != registered.pools else { return }
        do throws(RegistryError) { try await list.put(pools: seen, expecting: registered.revision) } catch {
            if case .conflict = error.code { return }
            throw TercetError(error)
        }
    }
}

extension PoolEntry {
    /// For people: as it is, or as it was last seen.
    func line(_ facts: PoolConnection.Facts?) -> String {
        let room = (facts?.capacity ?? capacity).map { capacity in
            "\(ByteSize.format(facts?.unallocated ?? unallocated ?? 0)) of \(ByteSize.format(capacity)) not allocated"
        }
        let seen = facts == nil ? (room.map { "\($0) when last seen" } ?? "never seen") : room ?? ""
        return "\(name): domain \(domain), \(seen), \(addresses.joined(separator: " "))/\(subsystem)"
    }
}
