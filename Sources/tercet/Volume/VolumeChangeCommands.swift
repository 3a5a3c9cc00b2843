import ArgumentParser
import Base
import Foundation
import NVMeInitiator
import Replication
import Terminal
import VolumeDriver
import VolumeRegistry

struct VolumeReplaceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replace", abstract: "Put another namespace in a member's place. ITS CONTENTS ARE LOST.",
        discussion: """
            The old member need not be reached, and is not written; the two others have to be in sync. Everything is \
            copied to the new one. Where the command is interrupted, give it again. Afterwards the new address belongs \
            among the members, in the old one's place; the old one is refused there. An old one that was made in a pool for the volume is \
            deleted at the end; if its pool does not answer then, tercet registry check deletes it.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(name: .customLong("replace"), help: ArgumentHelp("Which: 0, 1 or 2.", valueName: "member")) var member: Int
    @Option(
        name: .customLong("with"), help: ArgumentHelp("The new one.", valueName: "ADDRESS:PORT/SUBNQN/NSID"),
        transform: FabricsFile.member)
    var address: MemberAddress
    @Option(help: ByteCount.help("Copy at most so much in a second."))
    var rate: ByteCount?
    @Flag(help: "Take a namespace that holds a volume all the same.") var overwrite = false
    @Flag(
        help: """
            Go on where the old member alone may have acknowledged writes, because the others have lost their caches. \
            THEY ARE LOST THEN: bring the old member back if that is possible at all.
            """)
    var acceptLoss = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard (0..<memberCount).contains(member) else { throw ValidationError("--replace is 0, 1 or 2") }
    }

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let group = session.groups[0]
        let volume = try await volume.chosen()
        let found = await volume.survey(group)
        try volume.check(found, excluded: [MemberIndex(member)])
        guard let newest = found.compactMap({ try? $0.superblock.get() }).max(by: { $0.stamp < $1.stamp }) else {
            throw TercetError(.unavailable, "no member can be read: see tercet volume status")
        }
        let member = MemberIndex(member)
        for other in MemberSet.all.without(member) where newest.members[other].state != .inSync {
            throw TercetError(
                .unavailable, "member \(other) is behind: bring it into sync first, with tercet volume heal")
        }
        let uuid = try await checkNew(newest, volume, group)
        // A volume of three copies is suspended until it has the new member.
        let attached = try await VolumeSession(
            volume, takeOver, excluded: [member], mayBeSuspended: true, acceptsLoss: acceptLoss, session: session)
        let copied = try await attached.use {
            await attached.limitRate(rate)
            // From here on a check has to find out which of the two is the member.
            try await volume.registration?.begin(
                VolumeOperation(.replace, member: member.number, address: address))
            guard await attached.volume.replaceMember(member, with: address, uuid: uuid) else {
                try await volume.registration?.change { $0.operation = nil }
                throw TercetError(.unavailable, "the other members are not in sync, or \(address) is one of them")
            }
            try await attached.bringIntoSync()
            try await volume.registration?.change { entry in
                entry.replace(member.number, with: address, uuid)
                entry.operation = nil
            }
            return await attached.volume.statistics().bytesCopied
        }
        try await deleteFormer(volume, group)
        if json {
            try printJSON(ReplaceResult(member: member.number, address: "\(address)", bytesCopied: copied))
        } else {
            print("member \(member) is now \(address); \(copied) bytes were copied")
        }
    }

    /// Deletes the namespaces that the volume holds without now. One whose pool does not answer is left to a check.
    private func deleteFormer(_ volume: ChosenVolume, _ group: InitiatorGroup) async throws {
        guard let registration = volume.registration, !registration.entry.replaced.isEmpty else { return }
        do throws(TercetError) {
            let pooled = PooledVolume(
                registration, hostNQN: volume.hostNQN, patience: volume.patience, group)
            _ = try await pooled.removeReplaced()
        } catch {
            writeToStandardError("tercet: \(error); tercet registry check deletes it\n")
        }
    }

    /// Refuses a namespace that does not fit, or that is in use; returns what it is known by.
    private func checkNew(
        _ record: Superblock, _ volume: ChosenVolume, _ group: InitiatorGroup
    ) async throws -> UUIDBytes {
        do { return try await lookAtNew(record, volume, group) } catch var error as TercetError {
            // A look at one namespace calls it the first member.
            error.message = error.message.replacing("member 0 (\(address))", with: "the new member (\(address))")
            throw error
        }
    }

    private func lookAtNew(
        _ record: Superblock, _ volume: ChosenVolume, _ group: InitiatorGroup
    ) async throws -> UUIDBytes {
        try await volume.probe(group, at: [address]) { probe throws(TercetError) in
            try await takeOver.check(probe)
            let (blocks, blockSize) = (probe.blocks(of: 0), probe.blockSize(of: 0))
            let identity = probe.identity(0)
            let superblock = try await probe.superblock(of: 0)
            guard blockSize == record.geometry.blockSize else {
                throw TercetError(
                    .invalid, "\(address) has blocks of \(blockSize) bytes, the volume \(record.geometry.blockSize)")
            }
            let member = MemberIndex(member)
            guard (try? MemberLayout(member: member, memberBlocks: blocks, geometry: record.geometry)) != nil else {
                throw TercetError(
                    .invalid,
                    "\(address) has \(blocks) blocks, too few for the volume's \(record.geometry.dataBlocks) and its metadata"
                )
            }
            for other in MemberSet.all.without(member) where record.members[other].uuid == identity {
                throw TercetError(.inUse, "\(address) is member \(other) of the volume")
            }
            if !overwrite, case .success(let held) = superblock,
                held.volume != record.volume || held.members[member].uuid != record.members[member].uuid
                    || identity != record.members[member].uuid
            {
                throw TercetError(
                    .exists, "\(address) holds volume \(held.volume): say --overwrite if that is to be lost")
            }
            return identity
        }
    }
}

/// The result of `volume replace --json`.
struct ReplaceResult: Encodable {
    var member: Int
    var address: String
    var bytesCopied: UInt64

    enum CodingKeys: String, CodingKey {
        case member, address
        case bytesCopied = "bytes_copied"
    }
}
