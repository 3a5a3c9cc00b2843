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
        let attached = try await VolumeSession(volume, takeOver, session: session)
        await attached.limitRate(rate)
        let left = try await attached.heal(seconds: seconds)
        let absentees = await attached.absentees()
        let isInSync = left == 0 && absentees.isEmpty
        var result = ScrubResult()
        if scrub, isInSync { result = try await attached.scrub(repairingFrom: nil) }
        let counts = await attached.volume.statistics()
        if json {
            var object: [String: Any] = [
                "bytes_copied": counts.bytesCopied, "regions_copied": counts.regionsCopied, "regions_left": left,
                "in_sync": isInSync,
            ]
            if scrub, isInSync { object.merge(result.object) { old, _ in old } }
            try printJSON(object)
        } else if isInSync {
            print("all members are in sync; \(counts.bytesCopied) bytes were copied")
        } else if absentees.isEmpty {
            print("paused with \(left) regions left; \(counts.bytesCopied) bytes were copied")
        }
        try await attached.detach()
        guard absentees.isEmpty else { throw CommandFailure("not healed: " + absentees.joined(separator: "; ")) }
        try result.check()
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
        let attached = try await VolumeSession(volume, takeOver, session: session)
        _ = try await attached.heal(seconds: nil)
        let result = try await attached.scrub(repairingFrom: source.map { MemberIndex($0) })
        if json {
            try printJSON(result.object)
        } else {
            print(
                "\(result.compared) regions compared, \(result.differing.count) differ, \(result.repaired) repaired"
                    + (result.differing.isEmpty
                        ? "" : ": regions " + result.differing.map(String.init).joined(separator: ", ")))
        }
        try await attached.detach()
        try result.check()
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
        let attached = try await VolumeSession(volume, takeOver, session: session)
        let status = await attached.volume.status()
        try await attached.detach()
        let behind = status.members.indices.filter { !status.members[$0].isInSync }
        if json {
            try printJSON(["epoch": status.epoch, "members_behind": behind])
        } else {
            print(
                "detached"
                    + (behind.isEmpty ? "" : "; behind: members " + behind.map(String.init).joined(separator: ", ")))
        }
    }
}

/// The result of a scrub.
struct ScrubResult {
    var compared = 0
    var differing: [Int] = []
    var repaired = 0

    var object: [String: Any] {
        ["regions_compared": compared, "regions_differing": differing, "regions_repaired": repaired]
    }

    /// Throws where regions differ and have not been repaired.
    func check() throws {
        if differing.count > repaired {
            throw CommandFailure("\(differing.count - repaired) regions differ between members")
        }
    }
}

extension VolumeSession {
    /// Waits until all members are in sync, for `seconds` at most; the result is how many regions are left.
    func heal(seconds: Double?) async throws -> Int {
        let progress = ProgressLine()
        defer { progress.clear() }
        let end = seconds.map { MonotonicTime.now().advanced(byMilliseconds: UInt64($0 * 1000)) } ?? .distantFuture
        var left = 0
        do {
            try await waitUntilHealed(until: end) { regions in
                left = regions
                progress.show("\(regions) regions left")
            }
        } catch {
            // As clean as it can be left; the reason is the one that counts.
            try? await detach()
            throw error
        }
        return left
    }

    /// Compares all members, and repairs what differs where a source is given.
    func scrub(repairingFrom source: MemberIndex?) async throws -> ScrubResult {
        let progress = ProgressLine()
        defer { progress.clear() }
        let total = await volume.geometry().regionCount
        let before = await volume.statistics().regionsScrubbed
        volume.startScrub()
        var result = ScrubResult()
        while true {
            let outcome = try outcome()
            result.compared = Int(await volume.statistics().regionsScrubbed - before)
            result.differing = outcome.mismatches
            progress.show("\(result.compared) of \(total) regions compared, \(result.differing.count) differ")
            if outcome.isScrubFinished { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        guard let source else { return result }
        // Regions that were quarantined before and could not be compared now stay so.
        let left = max(0, await volume.status().quarantinedRegions - result.differing.count)
        for region in result.differing { volume.repairRegion(region, from: source) }
        while true {
            let status = await volume.status()
            let unrepaired = max(status.quarantinedRegions - left, status.unreconciledRegions)
            result.repaired = result.differing.count - max(0, unrepaired)
            _ = try outcome()
            if unrepaired <= 0 { return result }
            progress.show("\(result.repaired) of \(result.differing.count) regions repaired")
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
