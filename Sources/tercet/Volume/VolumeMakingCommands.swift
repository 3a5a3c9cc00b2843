import ArgumentParser
import Base
import Replication
import Terminal
import VolumeDriver

struct VolumeCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Format three namespaces as one volume. THEIR CONTENTS ARE LOST.",
        discussion:
            "Where a host has one of them reserved and is connected to it, nothing is changed unless --take-over is given."
    )

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
    @Flag(help: "Print JSON.") var json = false

    enum Fencing: String, ExpressibleByArgument, CaseIterable {
        case reservations, none
    }

    func validate() throws {
        if let uuid, UUIDBytes(uuid) == nil { throw ValidationError("\"\(uuid)\" is not a UUID") }
        guard (1...memberCount).contains(minimumCopies) else { throw ValidationError("--minimum-copies is 1, 2 or 3") }
        guard regionSize.value <= 1 << 30 else { throw ValidationError("--region-size is at most 1g") }
    }

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let identifier = uuid.flatMap { UUIDBytes($0) } ?? .random()
        var creation = VolumeCreation(
            volume: identifier, regionSize: UInt32(regionSize.value), byteCount: size.map { UInt64($0.value) },
            fencing: fencing == .none ? .none : .reservations, minimumCopies: minimumCopies, overwrite: overwrite)
        creation.overwriteConsent = "say --overwrite"
        let geometry = try await volume.probe(session.groups[0]) { probe throws(TercetError) in
            let progress = ProgressLine()
            defer { progress.clear() }
            try await takeOver.check(probe)
            return try await probe.create(creation) { progress.show("formatting: \(Int($0 * 100)) %") }
        }
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
        commandName: "destroy", abstract: "Wipe the volume's metadata from its members; their data stays.",
        discussion: "Where a host has the volume attached, nothing is changed unless --take-over is given.")

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        try await volume.probe(session.groups[0]) { probe throws(TercetError) in
            try await takeOver.check(probe)
            try await probe.destroy()
        }
    }
}
