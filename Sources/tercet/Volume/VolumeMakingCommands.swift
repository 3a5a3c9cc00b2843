import ArgumentParser
import Base
import Foundation
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
        let name = uuid ?? UUID().uuidString.lowercased()
        guard let identifier = UUIDBytes(name) else { throw CommandFailure("\"\(name)\" is not a UUID") }
        let creation = VolumeCreation(
            volume: identifier, regionSize: UInt32(regionSize.value), byteCount: size.map { UInt64($0.value) },
            fencing: fencing == .none ? .none : .reservations, minimumCopies: minimumCopies, overwrite: overwrite)
        let geometry = try await volume.probe(session.groups[0]) { probe throws(VolumeCreationError) in
            let progress = ProgressLine()
            defer { progress.clear() }
            try await takeOver.check(probe)
            return try await probe.create(creation) { progress.show("formatting: \(Int($0 * 100)) %") }
        }
        if fencing == .none { warn("fencing is none: see to it that one host alone attaches the volume") }
        if json {
            return try printJSON([
                "volume": "\(identifier)", "blocks": geometry.dataBlocks, "block_size": geometry.blockSize,
                "regions": geometry.regionCount, "region_size": geometry.regionSize, "fencing": fencing.rawValue,
                "minimum_copies": minimumCopies,
            ])
        }
        print(
            "volume \(identifier): \(geometry.dataBlocks) blocks of \(geometry.blockSize) bytes, "
                + "\(geometry.regionCount) regions of \(geometry.regionSize) bytes")
    }

    private func warn(_ text: String) {
        writeToStandardError("warning: \(text)\n")
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
        try await volume.probe(session.groups[0]) { probe throws(VolumeCreationError) in
            try await takeOver.check(probe)
            try await probe.destroy()
        }
    }
}

struct VolumeStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show what each member's superblock says; changes nothing.",
        discussion: """
            The data is at the beginning of each member, without an offset, and metadata behind it: a member that is in \
            sync can be read alone, by any NVMe-oF host, as an image of the volume. Do not write to it there.
            """)

    @OptionGroup var volume: VolumeArguments
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let surveys = await volume.survey(session.groups[0])
        if json { return try printJSON(["members": zip(volume.members, surveys).map(object)]) }
        for (index, survey) in surveys.enumerated() {
            switch survey.superblock {
            case .failure(let error): print("member \(index) (\(volume.members[index])): \(error)")
            case .success(let superblock):
                let states = superblock.members.map { $0.state == .inSync ? "in sync" : "behind" }
                print(
                    "member \(index) (\(volume.members[index])): volume \(superblock.volume), record \(superblock.stamp), "
                        + "\(superblock.isClean ? "clean" : "in use"), members: " + states.joined(separator: ", ")
                        + (superblock.fencing == .none ? ", fencing: none" : "")
                        + (superblock.minimumCopies == 2 ? "" : ", minimum of copies: \(superblock.minimumCopies)"))
                if let slot = survey.damagedSlot { print("member \(index): \(slotDamage(slot))") }
            }
        }
        guard let newest = surveys.compactMap({ try? $0.superblock.get() }).max(by: { $0.stamp < $1.stamp }) else {
            return
        }
        if !newest.quarantine.isEmpty {
            print(
                "members were found to differ in regions " + newest.quarantine.map(String.init).joined(separator: ", ")
                    + ": they are not read until a scrub finds all members in sync equal, or has repaired them "
                    + "(--repair-from)")
        }
        let geometry = newest.geometry
        print(
            "data: bytes 0 to \(geometry.dataBlocks * UInt64(geometry.blockSize) - 1) of each member; "
                + "\(geometry.dataBlocks) blocks of \(geometry.blockSize) bytes, \(geometry.regionCount) regions of "
                + "\(geometry.regionSize) bytes")
    }

    private func object(_ address: MemberAddress, _ survey: MemberSurvey) -> [String: Any] {
        switch survey.superblock {
        case .failure(let error): return ["address": "\(address)", "error": error.description]
        case .success(let superblock):
            var object: [String: Any] = [
                "address": "\(address)", "volume": "\(superblock.volume)", "epoch": superblock.stamp.epoch,
                "version": superblock.stamp.version, "clean": superblock.isClean,
                "fencing": superblock.fencing == .none ? "none" : "reservations",
                "blocks": superblock.geometry.dataBlocks, "block_size": superblock.geometry.blockSize,
                "data_offset": 0, "region_size": superblock.geometry.regionSize,
                "minimum_copies": superblock.minimumCopies,
                "members": superblock.members.map { $0.state == .inSync ? "in sync" : "behind" },
            ]
            if !superblock.quarantine.isEmpty { object["quarantined_regions"] = superblock.quarantine }
            if let slot = survey.damagedSlot { object["damaged_slot"] = slot }
            return object
        }
    }
}
