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
    let log: EventLog
    /// How long nothing may come any further.
    private(set) var patience: Patience

    /// Shows what the volume tells, and keeps what of it a command asks for.
    final class EventLog: Sendable {
        private struct State {
            var failure: String?
            var outcome = VolumeOutcome()
        }
        private let state = Mutex(State())
        private let start = Date()

        func take(_ event: VolumeEvent) {
            let isNews = state.withLock { state in
                switch event {
                // The command that has let the volume go says why itself.
                case .phase(.deposed) where state.failure != nil: return false
                case .phase(.deposed): state.failure = "another host has attached the volume: this one is deposed"
                case .notice(let notice): state.outcome.take(notice)
                case .phase, .attachFailed, .memberUnreachable: break
                }
                return true
            }
            if isNews, let line = event.line { say(line) }
        }

        /// The command cannot go on.
        func fail(_ reason: String) { state.withLock { $0.failure = $0.failure ?? reason } }

        var hasFailed: Bool { state.withLock { $0.failure != nil } }

        func say(_ line: String) {
            let seconds = String(format: "%7.3f s", Date().timeIntervalSince(start))
            writeToStandardError("\(seconds)  \(line)\n")
        }

        /// The outcome of scrubs and growth so far; throws if the volume has failed.
        func outcome() throws -> VolumeOutcome {
            try state.withLock { state in
                if let failure = state.failure { throw TercetError(.failed, failure) }
                return state.outcome
            }
        }
    }

    /// Attaches the volume, without the members in `excluded`, unless another host has it and is not to be fenced. Returns
    /// when it is served, or where it `mayBeSuspended` when it is only waiting for enough members.
    init(
        _ chosen: ChosenVolume, _ takeOver: TakeOver, depth: Int = 64, excluded: MemberSet = [],
        mayBeSuspended: Bool = false, acceptsLoss: Bool = false, session: Session
    ) async throws {
        self.session = session
        patience = chosen.patience
        let host = chosen.host
        var options = VolumeAttachmentOptions(members: chosen.members, hostNQN: host.nqn, hostID: host.id)
        options.expected = chosen.registration?.expected
        options.takesOver = takeOver.isAsked
        options.queueDepth = depth
        options.excluded = excluded
        options.acceptsLoss = acceptsLoss
        options.formattedBytes = UInt64(chosen.oldSize?.value ?? 0)
        options.mayBeSuspended = mayBeSuspended
        options.patienceMilliseconds = chosen.patience.milliseconds
        let log = EventLog()
        self.log = log
        let waiting = Task {
            guard (try? await Task.sleep(for: .seconds(3))) != nil else { return }
            log.say("still waiting for members to answer")
        }
        defer { waiting.cancel() }
        do throws(VolumeError) {
            attachment = try await VolumeAttachment.open(
                options, group: session.groups[0], host: session.reactors[0]
            ) { log.take($0) }
        } catch {
            let occupant = error.cause as? VolumeOccupant
            throw TercetError(error.code.kind, occupant?.objection(consent: "say --take-over") ?? error.message)
        }
    }

    /// Lets copying take so many bytes a second at most: a region may then take longer than the patience.
    func limitRate(_ rate: ByteCount?) async {
        guard let rate else { return }
        volume.setResyncRate(UInt64(rate.value))
        patience.slackMilliseconds = UInt64(await volume.geometry().regionSize) * 2000 / UInt64(max(rate.value, 1))
    }

    func outcome() throws -> VolumeOutcome { try log.outcome() }

    /// Detaches in order: the volume is clean afterwards. Where too few members can be reached for that, the volume is let
    /// go as a crash would leave it, and the error says so. Returns what stays at the members, for people; `nil` for nothing.
    @discardableResult func detach() async throws -> String? {
        let keepsReservations = await volume.keepsReservations()
        do throws(VolumeError) { try await attachment.detach() } catch {
            throw TercetError(error.code.kind, error.message)
        }
        return keepsReservations
            ? "the reservation stays at the members, because a host was fenced less than a minute ago and might still write; it "
                + "holds until the next command takes it over, which needs --take-over where targets do not tell who is there"
            : nil
    }
}

/// The outcome of the operations that an operator starts, as the volume has told it.
struct VolumeOutcome: Sendable {
    /// Regions in which a scrub found members to differ.
    var mismatches: [RegionIndex] = []
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

extension VolumeError.Code {
    /// The kind of error that it is to the command.
    fileprivate var kind: TercetError.Code {
        switch self {
        case .inUse, .deposed: .inUse
        case .noMember: .unavailable
        case .timedOut: .timedOut
        case .notAttachable, .notClean: .failed
        case .noMemory: .exhausted
        case .invalid: .invalid
        }
    }
}
