import ArgumentParser
import Base
import NVMeInitiator
import Replication
import VolumeDriver
import VolumeRegistry

struct VolumeGrowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grow", abstract: "Enlarge the volume after its three namespaces have been enlarged.",
        discussion: """
            The metadata moves to the namespaces' new ends, so they have to grow by more than it takes. --old-size says \
            where it is now: it is needed until the volume has grown. The new blocks are copied from one member to the others. \
            Namespaces that were made in pools grow by themselves: --size alone is needed then.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(help: ByteCount.help("New size (default: as much as the members hold).")) var size: ByteCount?
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let chosen = try await volume.chosen()
        let sizes: (old: VolumeGeometry, new: VolumeGeometry)
        if let registration = chosen.registration, registration.entry.isPooled, let size {
            let pooled = PooledVolume(
                registration, hostNQN: volume.hostNQN, patience: volume.patience, session.groups[0])
            sizes = try await pooled.grow(to: UInt64(size.value), takeOver, session)
        } else {
            sizes = try await VolumeGrowth(bytes: size.map { UInt64($0.value) }).run(chosen, takeOver, session)
        }
        if json {
            try printJSON(
                GrowResult(
                    blocks: sizes.new.dataBlocks, blockSize: sizes.new.blockSize, regions: sizes.new.regionCount))
        } else {
            print(
                "the volume has \(sizes.new.dataBlocks) blocks of \(sizes.new.blockSize) bytes now, \(sizes.old.dataBlocks) before"
            )
        }
    }
}

/// The growth of a volume whose namespaces have grown.
struct VolumeGrowth {
    /// The new size; `nil` for as much as the members hold.
    var bytes: UInt64?

    /// Attaches the volume, lets it grow, and detaches it; returns what it was and what it is.
    func run(
        _ volume: ChosenVolume, _ takeOver: TakeOver, _ session: Session
    ) async throws -> (old: VolumeGeometry, new: VolumeGeometry) {
        let largest = try await largestVolume(volume, session.groups[0])
        let attached = try await VolumeSession(volume, takeOver, session: session)
        return try await attached.use {
            let sizes = try await grow(attached, largest, volume.registration)
            try await volume.registration?.change { entry in
                entry.size = sizes.new.byteCount
                entry.operation = nil
            }
            return sizes
        }
    }

    /// Grows the attached volume; returns what it was and what it is.
    private func grow(
        _ attached: VolumeSession, _ largest: (VolumeGeometry) -> UInt64, _ registration: Registration?
    ) async throws -> (old: VolumeGeometry, new: VolumeGeometry) {
        try await attached.bringIntoSync()
        let old = await attached.volume.geometry()
        let blocks = bytes.map { $0 / UInt64(old.blockSize) } ?? largest(old)
        guard blocks > old.dataBlocks else {
            throw TercetError(
                .invalid, "the volume has \(old.dataBlocks) blocks already; the members hold \(largest(old)) at most")
        }
        try await registration?.begin(VolumeOperation(.grow))
        guard await attached.volume.grow(dataBlocks: blocks) else {
            try await registration?.change { $0.operation = nil }
            throw TercetError(
                .invalid,
                "the members are too small for \(blocks) blocks, or have grown by less than the metadata takes")
        }
        var clock = StallClock(attached.patience)
        while try attached.outcome().hasGrown == nil { try await attached.check(&clock, "the volume is growing") }
        guard try attached.outcome().hasGrown == true else {
            try await registration?.change { $0.operation = nil }
            throw TercetError(.unavailable, "a member was lost meanwhile; the volume has its old size")
        }
        try await attached.bringIntoSync()
        return (old, await attached.volume.geometry())
    }

    /// The largest volume that the smallest of the members holds.
    private func largestVolume(
        _ volume: ChosenVolume, _ group: InitiatorGroup
    ) async throws -> (VolumeGeometry) -> UInt64 {
        let blocks = try await volume.probe(group) { probe throws(TercetError) in
            volume.members.indices.map { probe.blocks(of: MemberIndex($0)) }.min() ?? 0
        }
        return { geometry in
            MemberLayout.largestVolume(
                memberBlocks: blocks, blockSize: geometry.blockSize, regionSize: geometry.regionSize) ?? 0
        }
    }
}

/// The result of `volume grow --json`.
struct GrowResult: Encodable {
    var blocks: UInt64
    var blockSize: UInt32
    var regions: Int

    enum CodingKeys: String, CodingKey {
        case blocks, regions
        case blockSize = "block_size"
    }
}
