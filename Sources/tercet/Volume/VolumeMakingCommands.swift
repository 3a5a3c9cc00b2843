import ArgumentParser
import Base
import NVMeInitiator
import Replication
import Terminal
import VolumeDriver
import VolumeRegistry

struct VolumeCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Format three namespaces as one volume. THEIR CONTENTS ARE LOST.",
        discussion: """
            Where a host has one of them reserved and is connected to it, nothing is changed unless --take-over is given.

            With a NAME the volume is entered in the registry, which is made if it is not there. Without members it is made of \
            namespaces in three pools of that registry, which tercet pool list shows; volume destroy deletes them. Where the command \
            dies, tercet registry check finishes what it has begun, or removes it.
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(help: "UUID of the volume (default: a new one).") var uuid: String?
    @Option(help: ByteCount.help("Size of the volume (default: as much as the members hold).")) var size: ByteCount?
    @Option(
        name: .customLong("region-size"),
        help: ByteCount.help(
            "What is tracked and copied as one: a power of two from 4K, or a block where that is larger, to 1G."))
    var regionSize = ByteCount(1 << 20)
    @Option(
        name: .customLong("minimum-copies"),
        help: ArgumentHelp(
            "Copies that hold a write before it is acknowledged: 1, 2 or 3. I/O needs two members that can be reached in any "
                + "case. With 3 it waits while one cannot be; with 1 a write is acknowledged that one member alone could take.",
            valueName: "number"))
    var minimumCopies = 2
    @Option(
        help: "What keeps other hosts out. With none, for targets without reservations, nothing stops a second writer.")
    var fencing = Fencing.reservations
    @Flag(help: "Format members that hold a volume all the same.") var overwrite = false
    @Option(
        help: "How members lie in pools: in three failure domains (required), or in as many as there are (preferred).")
    var spread: PoolSpread?
    @Option(
        name: .customLong("pool"),
        help: ArgumentHelp("Use this pool; several times for several (default: all).", valueName: "pool"))
    var pools: [String] = []
    @Option(
        name: .customLong("label"), help: ArgumentHelp("A label of the entry in the registry.", valueName: "key=value"))
    var labels: [String] = []
    @Flag(help: "Print JSON.") var json = false

    enum Fencing: String, ExpressibleByArgument, CaseIterable {
        case reservations, none
    }

    func validate() throws {
        if let uuid, UUIDBytes(uuid) == nil { throw ValidationError("\"\(uuid)\" is not a UUID") }
        guard (1...memberCount).contains(minimumCopies) else { throw ValidationError("--minimum-copies is 1, 2 or 3") }
        guard regionSize.value <= 1 << 30 else { throw ValidationError("--region-size is at most 1g") }
        if isPooled {
            guard size != nil else {
                throw ValidationError("--size is needed where no members are given: so much is taken of three pools")
            }
        } else {
            guard volume.members.count == memberCount else {
                throw ValidationError("\(volume.members.count) members are given; a volume has \(memberCount)")
            }
            guard spread == nil, pools.isEmpty else {
                throw ValidationError("--spread and --pool choose pools; members are given")
            }
        }
        _ = try labelValues()
    }

    /// The members' namespaces are made in pools.
    private var isPooled: Bool { volume.members.isEmpty && volume.name != nil }

    private func labelValues() throws -> [String: String] {
        var values: [String: String] = [:]
        for label in labels {
            guard let split = label.firstIndex(of: "="), split > label.startIndex else {
                throw ValidationError("--label \(label): allowed: KEY=VALUE")
            }
            values[String(label[..<split])] = String(label[label.index(after: split)...])
        }
        guard values.isEmpty || volume.name != nil else {
            throw ValidationError("--label belongs to a NAME in a registry")
        }
        return values
    }

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let identifier = uuid.flatMap { UUIDBytes($0) } ?? .random()
        var creation = VolumeCreation(
            volume: identifier, regionSize: UInt32(regionSize.value), byteCount: size.map { UInt64($0.value) },
            fencing: fencing == .none ? .none : .reservations, minimumCopies: minimumCopies, overwrite: overwrite)
        creation.overwriteConsent = "say --overwrite"
        let geometry = try await create(creation, session.groups[0])
        if fencing == .none { warn("fencing is none: see to it that one host alone attaches the volume") }
        if json {
            return try printJSON(
                CreateResult(
                    volume: "\(identifier)", blocks: geometry.dataBlocks, blockSize: geometry.blockSize,
                    regions: geometry.regionCount, regionSize: geometry.regionSize, fencing: fencing.rawValue,
                    minimumCopies: minimumCopies))
        }
        print(
            "volume \(identifier): \(geometry.dataBlocks) blocks of \(geometry.blockSize) bytes, "
                + "\(geometry.regionCount) regions of \(geometry.regionSize) bytes")
    }

    /// Makes the volume, and its entry if it has a name: as being created, before anything is written, and then as ready.
    private func create(_ creation: VolumeCreation, _ group: InitiatorGroup) async throws -> VolumeGeometry {
        let labels = try labelValues()
        if isPooled, let name = volume.name {
            return try await createInPools(name, labels, creation, group)
        }
        let list = volume.name == nil ? nil : try await volume.registry.open(makes: true)
        var registration: Registration?
        do throws(TercetError) {
            return try await ChosenVolume(volume, volume.members).probe(group) { probe throws(TercetError) in
                let progress = ProgressLine()
                defer { progress.clear() }
                try await takeOver.check(probe)
                let geometry = try await probe.create(creation) { () async throws(TercetError) in
                    guard let list, var entry = newEntry(creation, probe) else { return }
                    entry.labels = labels
                    registration = try await Registration.make(entry, in: list)
                } progress: {
                    progress.show("formatting: \(Int($0 * 100)) %")
                }
                try await registration?.change { entry in
                    entry.size = geometry.byteCount
                    entry.state = .ready
                    entry.operation = nil
                }
                return geometry
            }
        } catch {
            guard let registration else { throw error }
            throw TercetError(
                error.code,
                "\(error.message); the registry has \(registration.entry.name) as being created: tercet registry check finishes or "
                    + "removes it", cause: error.cause)
        }
    }

    private func createInPools(
        _ name: String, _ labels: [String: String], _ creation: VolumeCreation, _ group: InitiatorGroup
    ) async throws -> VolumeGeometry {
        let progress = ProgressLine()
        defer { progress.clear() }
        return try await PooledMaking(
            name: name, leastBytes: creation.byteCount ?? 0, creation: creation, spread: spread ?? .required,
            pools: pools.isEmpty ? nil : Set(pools), labels: labels, hostNQN: volume.hostNQN, patience: volume.patience
        ).make(in: try await volume.registry.open(), group) {
            progress.show("formatting: \(Int($0 * 100)) %")
        }.geometry
    }

    private func newEntry(_ creation: VolumeCreation, _ probe: MemberProbe) -> VolumeEntry? {
        guard let name = volume.name else { return nil }
        let members = volume.members.enumerated().map { place, address in
            VolumeEntry.Member(address, identity: probe.identity(MemberIndex(place)))
        }
        var entry = VolumeEntry(
            name: name, uuid: creation.volume, state: .creating, members: members, regionSize: creation.regionSize,
            fencing: creation.fencing == .none ? .none : .reservations, minimumCopies: creation.minimumCopies)
        entry.operation = VolumeOperation(.create)
        return entry
    }

    private func warn(_ text: String) {
        writeToStandardError("warning: \(text)\n")
    }
}

/// The result of `volume create --json`.
struct CreateResult: Encodable {
    var volume: String
    var blocks: UInt64
    var blockSize: UInt32
    var regions: Int
    var regionSize: UInt32
    var fencing: String
    var minimumCopies: Int

    enum CodingKeys: String, CodingKey {
        case volume, blocks, regions, fencing
        case blockSize = "block_size"
        case regionSize = "region_size"
        case minimumCopies = "minimum_copies"
    }
}

struct VolumeDestroyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "destroy", abstract: "End a volume: wipe its metadata from its members.",
        discussion: """
            The members' data stays, unless their namespaces were made in pools: these are deleted. Where a host has the volume \
            attached, nothing is changed unless --take-over is given. A volume that is named leaves the registry, too.
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let arguments = volume
        let volume = try await volume.chosen([.ready, .deleting])
        let registration = volume.registration
        if let registration, registration.entry.isPooled {
            return try await PooledVolume(
                registration, hostNQN: arguments.hostNQN, patience: arguments.patience, session.groups[0]
            ).destroy(takeOver)
        }
        try volume.check(await volume.survey(session.groups[0]))
        try await volume.probe(session.groups[0]) { probe throws(TercetError) in
            try await takeOver.check(probe)
            try await probe.destroy { () async throws(TercetError) in
                try await registration?.begin(VolumeOperation(.destroy), state: .deleting)
            }
        }
        try await registration?.remove()
    }
}
