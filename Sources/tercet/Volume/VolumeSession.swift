import Base
import Foundation
import NVMeInitiator
import NVMeSpec
import Reactor
import Replication
import Synchronization
import Terminal
import VolumeDriver

/// An attached volume, for the length of one command: attaches, tells what happens on standard error, detaches.
final class VolumeSession {
    let session: Session
    let volume: Volume
    private let log: EventLog

    /// What the volume has told, and who waits to hear it.
    final class EventLog: Sendable {
        private struct State {
            var phase = VolumePhase.detached
            var failure: String?
            var outcome = VolumeOutcome()
            var waiters: [CheckedContinuation<Void, Never>] = []
            var isMuted = false
        }
        private let state = Mutex(State())
        private let start = Date()

        func take(_ event: VolumeEvent) {
            let (waiters, isMuted) = state.withLock { state in
                switch event {
                case .phase(let phase):
                    state.phase = phase
                    if phase == .deposed { state.failure = "another host has attached the volume: this one is deposed" }
                case .attachFailed(let error): state.failure = "the volume cannot be attached: \(error.explanation)"
                case .notice(let notice): state.outcome.take(notice)
                case .memberUnreachable: break
                }
                defer { state.waiters = [] }
                return (state.waiters, state.isMuted)
            }
            if !isMuted, let line = event.line { say(line) }
            for waiter in waiters { waiter.resume() }
        }

        /// Tells nothing any more: the volume is being let go, and its user knows.
        func mute() { state.withLock { $0.isMuted = true } }

        private func say(_ line: String) {
            let seconds = String(format: "%7.3f s", Date().timeIntervalSince(start))
            writeToStandardError("\(seconds)  \(line)\n")
        }

        /// What has been told of scrubs and growth; throws when the volume has failed.
        func outcome() throws -> VolumeOutcome {
            try state.withLock { state in
                if let failure = state.failure { throw CommandFailure(failure) }
                return state.outcome
            }
        }

        /// The volume's phase; throws when it has failed.
        func phase() throws -> VolumePhase {
            let (current, failure) = state.withLock { ($0.phase, $0.failure) }
            if let failure { throw CommandFailure(failure) }
            return current
        }

        /// Waits until the volume is in one of `phases`; throws when it has failed.
        func wait(for phases: Set<VolumePhase>) async throws {
            while true {
                let current = try phase()
                if phases.contains(current) { return }
                await withCheckedContinuation { continuation in
                    let isLate = state.withLock { state in
                        if state.phase != current || state.failure != nil { return true }
                        state.waiters.append(continuation)
                        return false
                    }
                    if isLate { continuation.resume() }
                }
            }
        }
    }

    /// Attaches the volume, without the members in `excluded`, unless another host has it and is not to be fenced. Returns
    /// when it is served, or where it `mayBeSuspended` when it is only waiting for enough members.
    init(
        _ arguments: VolumeArguments, _ takeOver: TakeOver, depth: Int = 64, excluded: MemberSet = [],
        mayBeSuspended: Bool = false, session: Session
    ) async throws {
        self.session = session
        let group = session.groups[0]
        var surveys: [MemberSurvey] = []
        let objection = await takeOver.objection(arguments.members) {
            surveys = await arguments.survey(group)
            return surveys.map(\.presentHosts)
        }
        if let objection { throw CommandFailure(objection) }
        let found = surveys.map(\.superblock)
        guard let superblock = found.compactMap({ try? $0.get() }).max(by: { $0.stamp < $1.stamp }) else {
            let problems = found.compactMap { result -> String? in
                if case .failure(let error) = result { return error.description }
                return nil
            }
            throw CommandFailure("no member can be read: " + problems.joined(separator: "; "))
        }
        var configuration = VolumeConfiguration(volume: superblock.volume, blockSize: superblock.geometry.blockSize)
        configuration.queueDepth = depth
        configuration.formattedBlocks = superblock.members.map(\.blocks)
        configuration.excluded = excluded
        let host = arguments.host
        let log = EventLog()
        self.log = log
        do {
            volume = try Volume(
                VolumeOptions(
                    members: arguments.members, hostNQN: host.nqn, hostID: host.id, configuration: configuration),
                group: group
            ) { log.take($0) }
        } catch {
            throw CommandFailure("memory for the volume: \(error)")
        }
        let reactor = session.reactors[0]
        let volume = volume
        await group.run { reactor.add(volume) }
        volume.attach(nonce: UInt32.random(in: 1...UInt32.max))
        try await log.wait(for: mayBeSuspended ? [.serving, .suspended] : [.serving])
    }

    /// Waits until all members are in sync, or `end` has come; `progress` hears how many regions are left.
    func waitUntilHealed(
        until end: MonotonicTime = .distantFuture, progress: (Int) -> Void = { _ in }
    ) async throws {
        while true {
            let status = await volume.status()
            guard status.phase != .deposed else { throw CommandFailure("the volume was taken over by another host") }
            if status.members.allSatisfy({ $0.isInSync && $0.phase == .active }) && status.unreconciledRegions == 0 {
                return progress(0)
            }
            progress(status.members.map(\.behindRegions).reduce(0, +) + status.unreconciledRegions)
            if MonotonicTime.now() >= end { return }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    func outcome() throws -> VolumeOutcome { try log.outcome() }

    /// How long a detach may take, as with `tercet_close` of the C interface; the same again for connections to end.
    private static let detachSeconds: UInt64 = 10

    /// Detaches in order: the volume is clean afterwards. Where too few members can be reached for that, the volume is let
    /// go as a crash would leave it, and the error says so.
    func detach() async throws {
        var end = MonotonicTime.now().advanced(byMilliseconds: Self.detachSeconds * 1000)
        while MonotonicTime.now() < end {
            // Again and again: where members are lost on the way, the volume may come back, and is served then.
            volume.detach()
            if try log.phase() == .detached { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        let status = await volume.status()
        if status.phase == .detached { return }
        let missing = MemberSet(MemberSet.all.filter { status.members[$0].phase != .active })
        log.mute()
        volume.abandon()
        end = MonotonicTime.now().advanced(byMilliseconds: Self.detachSeconds * 1000)
        while await !volume.hasDisconnected(), MonotonicTime.now() < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        throw CommandFailure(
            "the volume was not detached within \(Self.detachSeconds) s"
                + (missing == [] ? "" : ": members \(missing) could not be used")
                + "; it is left as after a crash of this host, and the next attach makes its members equal")
    }
}

/// What a volume has told of the operations that an operator starts.
struct VolumeOutcome: Sendable {
    /// Regions in which a scrub found members to differ.
    var mismatches: [Int] = []
    var isScrubFinished = false
    /// Whether growing ended well; `nil` until it has ended.
    var hasGrown: Bool?

    mutating func take(_ notice: VolumeNotice) {
        switch notice {
        case .mismatch(let region): mismatches.append(region)
        case .scrubFinished: isScrubFinished = true
        case .grown: hasGrown = true
        case .growFailed: hasGrown = false
        default: break
        }
    }
}

extension VolumeEvent {
    /// For people; `nil` for what they need not hear.
    var line: String? {
        switch self {
        case .memberUnreachable(_, Volume.givenUp): nil
        case .phase(let phase): "volume: \(phase)"
        case .attachFailed(let error): "attach failed: \(error.explanation)"
        case .memberUnreachable(let member, let reason): "member \(member): not reachable: \(reason)"
        case .notice(let notice):
            switch notice {
            case .memberLost(_, .removed): nil
            case .memberLost(let member, let reason): "member \(member): lost (\(reason)); going on without it"
            case .memberReturning(let member): "member \(member): back; being brought up to date"
            case .memberInSync(let member): "member \(member): in sync"
            case .memberDemoted(let member): "member \(member): failed writes; it is behind"
            case .memberRefused(_, let error): "\(error)"
            case .recordDamaged(let member, let slot): "member \(member): \(slotDamage(slot))"
            case .newerEpoch(let member, let epoch): "member \(member): has epoch \(epoch), which is newer than ours"
            case .waitingFor(let members): "waiting for members \(members)"
            case .mismatch(let region): "members differ in region \(region)"
            case .regionUnreadable(let region): "region \(region) cannot be read from any member"
            case .scrubFinished(let mismatches): "scrub finished: \(mismatches) regions differ"
            case .grown(let blocks): "grown to \(blocks) blocks"
            case .growFailed: "growing failed"
            }
        }
    }
}

/// What a damaged slot of a member's record means, for people.
func slotDamage(_ slot: Int) -> String {
    "slot \(slot) of its record is damaged, torn by a crash or rotten; the other is believed, and the next record is written "
        + "in its place"
}
