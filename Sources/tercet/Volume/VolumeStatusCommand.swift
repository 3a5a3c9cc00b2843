import ArgumentParser
import Base
import Foundation
import NVMeSpec
import Replication
import VolumeDriver

struct VolumeStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show whether the volume is well, and what each member's superblock says.",
        discussion: """
            Changes nothing, and may be asked while a host has the volume attached. Ends with status 0 where all members can \
            be read and are in sync, and with 1 where something needs care, which the last lines say.

            The data is at the beginning of each member, without an offset, and metadata behind it: a member that is in \
            sync can be read alone, by any NVMe-oF host, as an image of the volume. Do not write to it there.
            """)

    @OptionGroup var volume: VolumeArguments
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let volume = try await volume.chosen()
        let surveys = await volume.survey(session.groups[0])
        let health = VolumeHealth(volume.members, surveys)
        if json {
            try printJSON(StatusResult(volume.members, surveys, health))
        } else {
            show(volume.members, surveys, health)
        }
        try volume.check(surveys)
        guard health.grade == .healthy else { throw ExitCode(1) }
    }

    private func show(_ members: [MemberAddress], _ surveys: [MemberSurvey], _ health: VolumeHealth) {
        for (index, survey) in surveys.enumerated() {
            switch survey.superblock {
            case .failure(let error): print(error)
            case .success(let superblock): show(superblock, index, members[index])
            }
            if let slot = survey.damagedSlot { print("member \(index): \(slotDamage(slot))") }
        }
        if let newest = health.newest {
            if !newest.quarantine.isEmpty {
                print(
                    "members were found to differ in regions "
                        + newest.quarantine.map(\.description).joined(separator: ", ")
                        + ": they are not read until a scrub finds all members in sync equal, or has repaired them "
                        + "(--repair-from)")
            }
            let geometry = newest.geometry
            print(
                "data: bytes 0 to \(geometry.dataBlocks * UInt64(geometry.blockSize) - 1) of each member; "
                    + "\(geometry.dataBlocks) blocks of \(geometry.blockSize) bytes, \(geometry.regionCount) regions of "
                    + "\(geometry.regionSize) bytes")
        }
        for (member, host) in health.hosts {
            print(
                "attached: host \(host.registrant.hostID) has it, or had it "
                    + (host.isCertain ? "until it died a moment ago" : "when it died: its target does not tell")
                    + " (registered at \(member))")
        }
        print("health: \(health.grade.rawValue)")
        for problem in health.problems { print("  \(problem)") }
    }

    private func show(_ superblock: Superblock, _ index: Int, _ address: MemberAddress) {
        let states = superblock.members.map { $0.state == .inSync ? "in sync" : "behind" }
        print(
            "member \(index) (\(address)): volume \(superblock.volume), record \(superblock.stamp), "
                + "\(superblock.isClean ? "clean" : "in use"), members: " + states.joined(separator: ", ")
                + (superblock.fencing == .none ? ", fencing: none" : "")
                + (superblock.contents == .written ? "" : ", contents: \(superblock.contents.words)")
                + (superblock.minimumCopies == 2 ? "" : ", minimum of copies: \(superblock.minimumCopies)"))
    }
}

/// The result of `volume status --json`.
struct StatusResult: Encodable {
    /// `healthy`, `degraded` or `unavailable`.
    var health: String
    var problems: [String]
    /// Hosts that have the volume attached.
    var hosts: [Host]
    var members: [Member]

    struct Host: Encodable {
        var hostID: String
        /// The address of a member that tells.
        var member: String
        /// In hexadecimal.
        var key: String
        /// The member's target tells when a host is gone; where this is false, this one may have died.
        var isCertain: Bool

        enum CodingKeys: String, CodingKey {
            case member, key
            case hostID = "host_id"
            case isCertain = "certain"
        }
    }

    struct Member: Encodable {
        var address: String
        var error: String?
        var volume: String?
        var epoch: UInt64?
        var version: UInt64?
        var clean: Bool?
        var fencing: String?
        var blocks: UInt64?
        var blockSize: UInt32?
        var dataOffset: Int?
        var regionSize: UInt32?
        var minimumCopies: Int?
        /// The states of the members by this member's record: `in sync` or `behind`.
        var members: [String]?
        var quarantinedRegions: [Int]?
        /// `blank`, `being formatted` or `written`.
        var contents: String?
        var damagedSlot: Int?

        enum CodingKeys: String, CodingKey {
            case address, error, volume, epoch, version, clean, fencing, blocks, members, contents
            case blockSize = "block_size"
            case dataOffset = "data_offset"
            case regionSize = "region_size"
            case minimumCopies = "minimum_copies"
            case quarantinedRegions = "quarantined_regions"
            case damagedSlot = "damaged_slot"
        }

        init(_ address: MemberAddress, _ survey: MemberSurvey) {
            self.address = "\(address)"
            damagedSlot = survey.damagedSlot
            switch survey.superblock {
            case .failure(let error): self.error = error.description
            case .success(let superblock):
                volume = "\(superblock.volume)"
                epoch = superblock.stamp.epoch
                version = superblock.stamp.version
                clean = superblock.isClean
                fencing = superblock.fencing == .none ? "none" : "reservations"
                blocks = superblock.geometry.dataBlocks
                blockSize = superblock.geometry.blockSize
                dataOffset = 0
                regionSize = superblock.geometry.regionSize
                minimumCopies = superblock.minimumCopies
                members = superblock.members.map { $0.state == .inSync ? "in sync" : "behind" }
                contents = superblock.contents.words
                if !superblock.quarantine.isEmpty { quarantinedRegions = superblock.quarantine.map(\.offset) }
            }
        }
    }

    init(_ addresses: [MemberAddress], _ surveys: [MemberSurvey], _ health: VolumeHealth) {
        self.health = health.grade.rawValue
        problems = health.problems
        hosts = health.hosts.map {
            Host(
                hostID: "\($0.host.registrant.hostID)", member: "\($0.member)",
                key: String($0.host.registrant.key, radix: 16), isCertain: $0.host.isCertain)
        }
        members = zip(addresses, surveys).map(Member.init)
    }
}
