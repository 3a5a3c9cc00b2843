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
    let attachment: VolumeAttachment
    var volume: Volume { attachment.volume }
    private let log: EventLog
    private let members: [MemberAddress]
    /// Time that one region may take beside, in milliseconds, where copying is slowed down.
    private var slackMilliseconds: UInt64 = 0

    /// How long the volume may go on without coming any further, in milliseconds.
    private static let patienceMilliseconds: UInt64 = 30_000

    /// Shows what the volume tells, and keeps what of it a command asks for.
    private final class EventLog: Sendable {
        private struct State {
            var failure: String?
            var outcome = VolumeOutcome()
        }
        private let state = Mutex(State())
        private let start = Date()

        func take(_ event: VolumeEvent) {
            state.withLock { state in
                switch event {
                case .phase(.deposed): state.failure = "another host has attached the volume: this one is deposed"
                case .notice(let notice): state.outcome.take(notice)
                case .phase, .attachFailed, .memberUnreachable: break
                }
            }
            guard let line = event.line else { return }
            let seconds = String(format: "%7.3f s", Date().timeIntervalSince(start))
            writeToStandardError("\(seconds)  \(line)\n")
        }

        /// The outcome of scrubs and growth so far; throws if the volume has failed.
        func outcome() throws -> VolumeOutcome {
            try state.withLock { state in
                if let failure = state.failure { throw CommandFailure(failure) }
                return state.outcome
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
        members = arguments.members
        let host = arguments.host
        var options = VolumeAttachmentOptions(members: arguments.members, hostNQN: host.nqn, hostID: host.id)
        options.takesOver = takeOver.isAsked
        options.queueDepth = depth
        options.excluded = excluded
        options.formattedBytes = UInt64(arguments.oldSize?.value ?? 0)
        options.mayBeSuspended = mayBeSuspended
        options.patienceMilliseconds = Self.patienceMilliseconds
        let log = EventLog()
        self.log = log
        do throws(VolumeError) {
            attachment = try await VolumeAttachment.open(
                options, group: session.groups[0], host: session.reactors[0]
            ) { log.take($0) }
        } catch {
            let occupant = error.cause as? VolumeOccupant
            throw CommandFailure(occupant?.objection(consent: "say --take-over") ?? error.message)
        }
    }

    /// Members that are not in sync, and to which nothing is copied either, a sentence each.
    func absentees() async -> [String] {
        let status = await volume.status()
        let absent = status.members.indices.filter { index in
            let member = status.members[index]
            return member.phase != .active || !member.isInSync && member.behindRegions == 0
        }
        guard !absent.isEmpty else { return [] }
        let attachment = attachment
        let problem = await session.groups[0].run { attachment.lastProblem }
        return absent.map { "member \($0) (\(members[$0])) is not in sync" } + (problem.isEmpty ? [] : [problem])
    }

    /// Waits until all members are in sync, or `end` has come; `progress` hears how many regions are left. Throws where
    /// nothing comes any further for too long.
    func waitUntilHealed(
        until end: MonotonicTime = .distantFuture, progress: (Int) -> Void = { _ in }
    ) async throws {
        var least = Int.max
        var since = MonotonicTime.now()
        while true {
            let status = await volume.status()
            guard status.phase != .deposed else { throw CommandFailure("the volume was taken over by another host") }
            if status.members.allSatisfy({ $0.isInSync && $0.phase == .active }) && status.unreconciledRegions == 0 {
                return progress(0)
            }
            let left = status.members.map(\.behindRegions).reduce(0, +) + status.unreconciledRegions
            progress(left)
            let now = MonotonicTime.now()
            if now >= end { return }
            if left < least {
                least = left
                since = now
            }
            if now.nanoseconds(since: since) >= (Self.patienceMilliseconds + slackMilliseconds) * 1_000_000 {
                let reasons = await absentees()
                throw CommandFailure(
                    "not all members are in sync, and nothing came any further for "
                        + "\((Self.patienceMilliseconds + slackMilliseconds) / 1000) s, with \(left) regions left"
                        + (reasons.isEmpty ? "" : ": " + reasons.joined(separator: "; ")))
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Lets copying take so many bytes a second at most; `nil` for no limit.
    func limitRate(_ rate: ByteCount?) async {
        volume.setResyncRate(UInt64(rate?.value ?? 0))
        guard let rate else { return }
        slackMilliseconds = UInt64(await volume.geometry().regionSize) * 2000 / UInt64(rate.value)
    }

    func outcome() throws -> VolumeOutcome { try log.outcome() }

    /// Detaches in order: the volume is clean afterwards. Where too few members can be reached for that, the volume is let
    /// go as a crash would leave it, and the error says so.
    func detach() async throws {
        do throws(VolumeError) { try await attachment.detach() } catch { throw CommandFailure(error.message) }
    }
}

/// The outcome of the operations that an operator starts, as the volume has told it.
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
