import ArgumentParser
import Base
import Foundation
import Replication
import VolumeDriver

struct VolumeHealCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "heal", abstract: "Bring all members into sync.",
        discussion: """
            What has been copied need not be copied again: where the command is interrupted, or ends after --for, the \
            next one goes on from there.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(help: ByteCount.help("Copy at most so much in a second."))
    var rate: ByteCount?
    @Option(name: .customLong("for"), help: ArgumentHelp("Pause and detach after so long.", valueName: "seconds"))
    var seconds: Double?
    @Flag(help: "Compare all members afterwards, as scrub does.") var scrub = false
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let attached = try await VolumeSession(try await volume.chosen(), takeOver, session: session)
        try await attached.use {
            await attached.limitRate(rate)
            let end = seconds.map { MonotonicTime.now().advanced(byMilliseconds: UInt64($0 * 1000)) } ?? .distantFuture
            let outcome = try await attached.waitUntilInSync(until: end)
            let compared = try await scrub && outcome.isInSync ? attached.scrub(repairingFrom: nil) : nil
            let counts = await attached.volume.statistics()
            if json {
                try printJSON(HealResult(counts, outcome, compared))
            } else if outcome.isInSync {
                print("all members are in sync; \(counts.bytesCopied) bytes were copied")
                if let compared { compared.show() }
            } else if outcome.obstacles.isEmpty {
                print("paused with \(outcome.left) regions left; \(counts.bytesCopied) bytes were copied")
            }
            guard outcome.obstacles.isEmpty else {
                throw TercetError(.failed, "not healed: " + outcome.obstacles.joined(separator: "; "))
            }
            try compared?.check()
        }
    }
}

/// The result of `volume heal --json`.
struct HealResult: Encodable {
    var bytesCopied: UInt64
    var regionsCopied: UInt64
    var regionsLeft: Int
    /// All members hold every acknowledged write.
    var isInSync: Bool
    /// Why members are not in sync that will not come to be; left out where there is nothing in the way.
    var obstacles: [String]?
    var compared: ScrubResult?

    enum CodingKeys: String, CodingKey {
        case obstacles
        case bytesCopied = "bytes_copied"
        case regionsCopied = "regions_copied"
        case regionsLeft = "regions_left"
        case isInSync = "in_sync"
    }

    init(_ counts: VolumeStatistics, _ outcome: SyncOutcome, _ compared: ScrubResult?) {
        bytesCopied = counts.bytesCopied
        regionsCopied = counts.regionsCopied
        regionsLeft = outcome.left
        isInSync = outcome.isInSync
        obstacles = outcome.obstacles.isEmpty ? nil : outcome.obstacles
        self.compared = compared
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(bytesCopied, forKey: .bytesCopied)
        try container.encode(regionsCopied, forKey: .regionsCopied)
        try container.encode(regionsLeft, forKey: .regionsLeft)
        try container.encode(isInSync, forKey: .isInSync)
        try container.encodeIfPresent(obstacles, forKey: .obstacles)
        try compared?.encode(to: encoder)
    }
}

struct VolumeScrubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scrub", abstract: "Compare the members, region by region.",
        discussion: """
            All members are brought into sync first. Nothing tells which of two members is right in a region in which \
            they differ: such regions are named, and the command ends with status 1; with --repair-from the named member \
            is declared right, and they are copied from it.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(
        name: .customLong("repair-from"),
        help: ArgumentHelp("Copy regions that differ from this member: 0, 1 or 2.", valueName: "member"))
    var source: Int?
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        if let source, !(0..<memberCount).contains(source) { throw ValidationError("--repair-from is 0, 1 or 2") }
    }

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let attached = try await VolumeSession(try await volume.chosen(), takeOver, session: session)
        try await attached.use {
            try await attached.bringIntoSync()
            let result = try await attached.scrub(repairingFrom: source.map { MemberIndex($0) })
            if json { try printJSON(result) } else { result.show() }
            try result.check()
        }
    }
}

struct VolumeDetachCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "detach",
        abstract: "Leave the volume clean that a host had when it died.",
        discussion: """
            Members that are behind stay so; heal brings them into sync.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let attached = try await VolumeSession(try await volume.chosen(), takeOver, session: session)
        let status = await attached.volume.status()
        let left = try await attached.detach()
        let behind = status.members.indices.filter { !status.members[$0].isInSync }
        if json {
            try printJSON(DetachResult(epoch: status.epoch, membersBehind: behind))
        } else {
            print(
                "detached"
                    + (behind.isEmpty ? "" : "; behind: members " + behind.map(String.init).joined(separator: ", "))
                    + (left.map { "; \($0)" } ?? ""))
        }
    }
}

/// The result of `volume detach --json`.
struct DetachResult: Encodable {
    var epoch: UInt64
    var membersBehind: [Int]

    enum CodingKeys: String, CodingKey {
        case epoch
        case membersBehind = "members_behind"
    }
}

/// The result of a scrub, as `volume scrub --json` prints it.
struct ScrubResult: Encodable {
    var compared = 0
    var differing: [Int] = []
    var repaired = 0

    enum CodingKeys: String, CodingKey {
        case compared = "regions_compared"
        case differing = "regions_differing"
        case repaired = "regions_repaired"
    }

    func show() {
        print(
            "\(compared) regions compared, \(differing.count) differ, \(repaired) repaired"
                + (differing.isEmpty ? "" : ": regions " + differing.map(String.init).joined(separator: ", ")))
    }

    /// Throws where regions differ and have not been repaired.
    func check() throws {
        if differing.count > repaired {
            throw TercetError(.damaged, "\(differing.count - repaired) regions differ between members")
        }
    }
}
