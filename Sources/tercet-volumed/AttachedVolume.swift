import BlockInterface
import Logging
import NBDServer
import Replication
import VolumeDriver
import VolumedConfiguration

/// A volume that is attached.
struct AttachedVolume: Sendable {
    let entry: VolumedConfiguration.VolumeEntry
    /// The reactor that it lives on.
    let place: Int
    let attachment: VolumeAttachment
    let device: VolumeBlockDevice
    /// The same as clients that cannot follow it to another daemon have it.
    let offered: any BlockDevice
}

/// Writes what a volume tells to the log and to its history, as it comes.
struct VolumeObserver: Sendable {
    let name: String
    let members: [MemberAddress]
    let history: VolumeHistory
    let journal: Journal

    func take(_ event: VolumeEvent) {
        guard let line = event.line else { return }
        history.note(line, member: event.member, isPhase: event.isPhase)
        var metadata: Logger.Metadata = ["volume": "\(name)"]
        if let member = event.member { metadata["member"] = "\(members[member])" }
        journal.write(event.level, line, metadata)
    }
}

extension VolumeEvent {
    /// The member that it is about.
    fileprivate var member: MemberIndex? {
        switch self {
        case .memberUnreachable(let member, _): member
        case .notice(let notice):
            switch notice {
            case .memberLost(let member, _), .memberReturning(let member), .memberInSync(let member),
                .memberDemoted(let member), .memberRefused(let member, _), .recordDamaged(let member, _),
                .newerEpoch(let member, _):
                member
            case .waitingFor, .mismatch, .regionUnreadable, .scrubFinished, .grown, .growFailed,
                .contentsMarked:
                nil
            }
        case .phase, .attachFailed: nil
        }
    }

    fileprivate var isPhase: Bool { if case .phase = self { true } else { false } }

    fileprivate var level: Logger.Level {
        switch self {
        case .phase(.deposed), .attachFailed: .error
        case .phase(.suspended), .phase(.recovering), .memberUnreachable: .warning
        case .phase: .notice
        case .notice(let notice):
            switch notice {
            case .memberReturning, .memberInSync, .scrubFinished, .grown, .contentsMarked: .notice
            case .regionUnreadable, .mismatch: .error
            case .memberLost, .memberDemoted, .memberRefused, .recordDamaged, .newerEpoch, .waitingFor, .growFailed:
                .warning
            }
        }
    }
}
