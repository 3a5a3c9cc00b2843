import ArgumentParser
import Base
import Foundation
import Replication
import VolumeDriver
import VolumeRegistry

struct RegistryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "registry", abstract: "The registry of volumes: add, remove, check, export, import.",
        discussion: """
            A registry has the names of volumes and their members. It is one SQLite file, or lies in etcd: \
            --registry, or the variable TERCET_REGISTRY, says which. What the members say of a volume is right, whatever the registry says.
            """,
        subcommands: [
            RegistryAddCommand.self, RegistryRemoveCommand.self, RegistryCheckCommand.self, RegistryExportCommand.self,
            RegistryImportCommand.self,
        ])
}

struct RegistryAddCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Enter a volume that is there, as its members describe it. They are not changed.")

    @OptionGroup var volume: VolumeArguments
    @Flag(
        help:
            "Put the entry in the place of one that is there, and keep its labels and exports; also where it is half done."
    ) var replace = false

    func validate() throws {
        guard volume.name != nil, volume.members.count == memberCount else {
            throw ValidationError("a NAME and \(memberCount) members are needed")
        }
    }

    func run() async throws {
        guard let name = volume.name else { return }
        let session = try Session()
        defer { session.end() }
        let chosen = ChosenVolume(volume, volume.members)
        let surveys = await chosen.survey(session.groups[0])
        var records: [Superblock] = []
        for survey in surveys { records.append(try survey.superblock.get()) }
        guard let newest = records.max(by: { $0.stamp < $1.stamp }) else { return }
        let health = VolumeHealth(chosen.members, surveys)
        for (place, record) in records.enumerated()
        where record.volume != newest.volume || record.member != MemberIndex(place)
            || record.members[place].uuid != newest.members[place].uuid
        {
            throw TercetError(.invalid, health.problems.joined(separator: "; ") + ": nothing was entered")
        }
        let entry = VolumeEntry(
            name: name, uuid: newest.volume, state: .ready, size: newest.geometry.byteCount,
            members: zip(chosen.members, newest.members).map { VolumeEntry.Member($0, identity: $1.uuid) },
            regionSize: newest.geometry.regionSize, fencing: newest.fencing == .none ? .none : .reservations,
            minimumCopies: newest.minimumCopies)
        let list = try await volume.registry.open(makes: true)
        let present = try await replace ? Registration.find(name, in: list) : nil
        if let present {
            try await present.change { former in
                former.uuid = entry.uuid
                former.state = .ready
                former.size = entry.size
                former.members = entry.members
                former.regionSize = entry.regionSize
                former.fencing = entry.fencing
                former.minimumCopies = entry.minimumCopies
                former.operation = nil
            }
        } else {
            _ = try await Registration.make(entry, in: list)
        }
        print("volume \(name): \(entry.uuid), \(newest.geometry.byteCount) bytes")
    }
}

struct RegistryRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a volume out of the registry. The volume stays at its members.",
        discussion: "To end a volume, use tercet volume destroy NAME.")

    @Argument(help: "The volume's name.") var name: String
    @OptionGroup var registry: RegistryArguments
    @Flag(help: "Remove an entry that cannot be read, because it is damaged or of a newer release.") var unreadable =
        false

    func run() async throws {
        let list = try await registry.open()
        if unreadable {
            let listing = try await callRegistry { () async throws(RegistryError) in try await list.list() }
            guard let entry = listing.unreadable.first(where: { $0.name == name }) else {
                throw TercetError(
                    .notFound, "volume \(name): the registry has no entry of this name that cannot be read")
            }
            _ = try await callRegistry { () async throws(RegistryError) in
                try await list.delete(name, expecting: entry.revision)
            }
            return
        }
        let registration = try await Registration.find(name, in: list)
        if let operation = registration.entry.operation {
            throw TercetError(
                .inUse, "volume \(name): \(operation.words) is not over: tercet registry check comes first")
        }
        try await registration.remove()
    }
}

/// All of a registry, as it is exported.
struct RegistryExport: Codable {
    static let currentVersion = 1
    var version = RegistryExport.currentVersion
    var revision: Int64
    var volumes: [VolumeEntry]
}

struct RegistryExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Print the whole registry as JSON, for tercet registry import.")

    @OptionGroup var registry: RegistryArguments

    func run() async throws {
        let list = try await registry.open()
        let listing = try await callRegistry { () async throws(RegistryError) in try await list.list() }
        try printJSON(RegistryExport(revision: listing.revision.number, volumes: listing.volumes.map(\.entry)))
        try listing.refuseUnreadable()
    }
}

struct RegistryImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Enter the volumes of an export. Members are not asked.",
        discussion: """
            All entries are checked before any is written. One that is in the registry with other contents is refused, unless \
            --replace is given. A registry that is not there is made.
            """)

    @OptionGroup var registry: RegistryArguments
    @Option(name: [.customShort("f"), .customLong("input")], help: "File to read from; - for the standard input.")
    var input = "-"
    @Flag(help: "Put entries in the place of those that are there.") var replace = false

    func run() async throws {
        let volumes = try read()
        let list = try await registry.open(makes: true)
        var expected: [Revision?] = []
        var unchanged = 0
        for entry in volumes {
            let present = try await callRegistry { () async throws(RegistryError) in try await list.get(entry.name) }
            expected.append(present?.revision)
            if present?.entry == entry { unchanged += 1 }
            guard replace || present == nil || present?.entry == entry else {
                throw TercetError(
                    .exists,
                    "volume \(entry.name): is in the registry with other contents; say --replace if they are to be lost; nothing was "
                        + "entered")
            }
        }
        for (entry, expected) in zip(volumes, expected) {
            let present = try await callRegistry { () async throws(RegistryError) in try await list.get(entry.name) }
            if present?.entry == entry { continue }
            _ = try await callRegistry { () async throws(RegistryError) in
                try await list.put(entry, expecting: expected)
            }
        }
        print("\(volumes.count - unchanged) volumes entered, \(unchanged) were there")
    }

    /// The entries of the file, checked.
    private func read() throws -> [VolumeEntry] {
        let file = try InputFile(input)
        var data = Data()
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { piece.deallocate() }
        while case let count = try file.read(into: piece), count > 0 {
            data.append(contentsOf: UnsafeRawBufferPointer(rebasing: piece[..<count]))
            guard data.count <= 1 << 30 else { throw TercetError(.invalid, "the import is larger than 1 GiB") }
        }
        let export: RegistryExport
        do { export = try JSONDecoder().decode(RegistryExport.self, from: data) } catch {
            throw TercetError(
                .invalid, "the import cannot be read: \(VolumeEntry.problem(error)); nothing was entered")
        }
        guard export.version == RegistryExport.currentVersion else {
            throw TercetError(
                .unsupported,
                "the import has version \(export.version), and this release knows \(RegistryExport.currentVersion); nothing was entered"
            )
        }
        var names: Set<String> = []
        for entry in export.volumes {
            do throws(RegistryError) { try entry.validate() } catch {
                throw TercetError(.invalid, "the import: \(error.message); nothing was entered")
            }
            guard names.insert(entry.name).inserted else {
                throw TercetError(.invalid, "the import has two entries of \(entry.name); nothing was entered")
            }
        }
        return export.volumes
    }
}
