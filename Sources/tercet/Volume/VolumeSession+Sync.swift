import Base
import Foundation
import Replication
import Terminal
import VolumeDriver

/// How far members have come to be in sync.
struct SyncOutcome {
    /// Regions that are not on all members.
    var left: Int
    /// Members that are not in sync, and why that does not change, a sentence each; empty where all are in sync, or copying
    /// goes on.
    var obstacles: [String]
    var isInSync: Bool
}

extension VolumeSession {
    /// Does what `body` says with the volume, and detaches it, however that ends.
    func use<Result>(_ body: () async throws -> Result) async throws -> Result {
        let result: Result
        do { result = try await body() } catch {
            // The first failure is the one that the operator has to know; a failure to detach comes behind it.
            guard !log.hasFailed else {
                await attachment.abandon()
                throw error
            }
            do { try await detach() } catch let second as TercetError {
                throw TercetError((error as? TercetError)?.code ?? .failed, "\(error); \(second)")
            }
            throw error
        }
        if let left = try await detach() { log.say(left) }
        return result
    }

    /// Runs `body`, which waits for I/O. Where that comes no further for too long the volume is let go, so that all I/O ends,
    /// and this throws what it waited for.
    func watching<Result>(_ body: () async throws -> Result) async throws -> Result {
        let (attachment, log, limit, start) = (attachment, log, patience.seconds, StallClock(patience))
        let watch = Task {
            var clock = start
            var isTold = false
            while (try? await Task.sleep(for: .milliseconds(100))) != nil {
                if clock.isStalled(await attachment.volume.progress()) {
                    let reasons = await attachment.reasons()
                    log.fail("nothing came any further for \(limit): \(reasons)")
                    return attachment.volume.abandon()
                }
                if clock.idleMilliseconds > 3000, !isTold {
                    isTold = true
                    let reasons = await attachment.reasons()
                    log.say("still waiting: \(reasons)")
                }
            }
        }
        defer { watch.cancel() }
        let result: Result
        do { result = try await body() } catch {
            _ = try outcome()
            throw error
        }
        _ = try outcome()
        return result
    }

    /// Waits until all members are in sync, or `end` has come, or nothing has come any further for too long.
    func waitUntilInSync(until end: MonotonicTime = .distantFuture) async throws -> SyncOutcome {
        let progress = ProgressLine()
        defer { progress.clear() }
        var clock = StallClock(patience)
        var isTold = false
        while true {
            let (status, counts) = (await volume.status(), await volume.statistics())
            _ = try outcome()
            let left = status.members.map(\.behindRegions).reduce(0, +) + status.unreconciledRegions
            if status.members.allSatisfy({ $0.isInSync && $0.phase == .active }), status.unreconciledRegions == 0 {
                return SyncOutcome(left: 0, obstacles: [], isInSync: true)
            }
            let isStalled = clock.isStalled(VolumeProgress(status, counts))
            if MonotonicTime.now() >= end || isStalled {
                // A pause is one of something that goes on.
                let isCopying =
                    !isStalled && status.members.allSatisfy { $0.phase == .active }
                    && clock.idleMilliseconds <= 1000 + patience.slackMilliseconds
                let obstacles = await isCopying ? [] : attachment.obstacles()
                return SyncOutcome(left: left, obstacles: obstacles, isInSync: false)
            }
            if clock.idleMilliseconds > 3000, !isTold {
                isTold = true
                progress.clear()
                let reasons = await attachment.reasons()
                log.say("still waiting: \(reasons)")
            } else {
                progress.show("\(left) regions left")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Waits until all members are in sync; throws where they do not come to be.
    func bringIntoSync() async throws {
        let outcome = try await waitUntilInSync()
        guard outcome.isInSync else {
            throw TercetError(
                .unavailable,
                "not all members are in sync, and nothing came any further for \(patience.seconds): "
                    + outcome.obstacles.joined(separator: "; "))
        }
    }

    /// Compares all members, and repairs what differs where a source is given.
    func scrub(repairingFrom source: MemberIndex?) async throws -> ScrubResult {
        let progress = ProgressLine()
        defer { progress.clear() }
        var clock = StallClock(patience)
        let total = await volume.geometry().regionCount
        let before = await volume.statistics().regionsScrubbed
        volume.startScrub()
        var result = ScrubResult()
        while true {
            let outcome = try outcome()
            let counts = await volume.statistics()
            result.compared = Int(counts.regionsScrubbed - before)
            result.differing = outcome.mismatches.map(\.offset)
            progress.show("\(result.compared) of \(total) regions compared, \(result.differing.count) differ")
            if outcome.isScrubFinished { break }
            try await check(&clock, "\(result.compared) of \(total) regions are compared")
        }
        guard let source else { return result }
        // Regions that were quarantined before and could not be compared now stay so.
        let left = max(0, await volume.status().quarantinedRegions - result.differing.count)
        for region in result.differing { volume.repairRegion(RegionIndex(region), from: source) }
        clock.restart()
        while true {
            let status = await volume.status()
            let unrepaired = max(status.quarantinedRegions - left, status.unreconciledRegions)
            result.repaired = result.differing.count - max(0, unrepaired)
            _ = try outcome()
            if unrepaired <= 0 { return result }
            let state = "\(result.repaired) of \(result.differing.count) regions are repaired"
            progress.show(state)
            try await check(&clock, state)
        }
    }

    /// Lets a moment pass; throws where the volume has not come any further for too long.
    func check(_ clock: inout StallClock, _ state: String) async throws {
        if clock.isStalled(await volume.progress()) {
            let reasons = await attachment.reasons()
            throw TercetError(
                .unavailable, "\(state), and nothing came any further for \(patience.seconds): \(reasons)")
        }
        try await Task.sleep(for: .milliseconds(20))
    }
}

extension VolumeAttachment {
    /// Reasons why nothing comes any further, for the end of a sentence.
    fileprivate func reasons() async -> String {
        let found = await obstacles()
        return found.isEmpty ? "the members do not answer" : found.joined(separator: "; ")
    }
}

extension Volume {
    fileprivate func progress() async -> VolumeProgress { VolumeProgress(await status(), await statistics()) }
}
