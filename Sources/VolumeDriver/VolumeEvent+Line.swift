import NVMeInitiator
import Replication

extension VolumeEvent {
    /// For people; `nil` for what they need not hear.
    public var line: String? {
        switch self {
        case .memberUnreachable(_, Volume.givenUp): nil
        case .phase(let phase): "volume: \(phase)"
        case .attachFailed(let error): "attach failed: \(error.explanation)"
        case .memberUnreachable(let member, let reason): "member \(member): not reachable: \(reason)"
        case .notice(let notice):
            switch notice {
            case .memberLost(_, .removed): nil
            case .memberLost(let member, let reason):
                "member \(member): lost, \(reason.explanation); going on without it"
            case .memberReturning(let member): "member \(member): back; being brought up to date"
            case .memberInSync(let member): "member \(member): in sync"
            case .memberDemoted(let member): "member \(member): failed writes; it is behind"
            case .memberRefused(_, let error): "\(error)"
            case .recordDamaged(let member, let slot): "member \(member): \(slotDamage(slot))"
            case .newerEpoch(let member, let epoch): "member \(member): has epoch \(epoch), which is newer than ours"
            case .waitingFor(let members, let reason): "waiting for members \(members)\(reason.clause)"
            case .mismatch(let region): "members differ in region \(region)"
            case .regionUnreadable(let region): "region \(region) cannot be read from any member"
            case .scrubFinished(let mismatches): "scrub finished: \(mismatches) regions differ"
            case .grown(let blocks): "grown to \(blocks) blocks"
            case .growFailed: "growing failed"
            case .contentsMarked: nil
            }
        }
    }
}

extension VolumeContents {
    /// For people, and for programs that read words.
    public var words: String {
        switch self {
        case .blank: "blank"
        case .beingFormatted: "being formatted"
        case .written: "written"
        }
    }

    /// The mark that `words` tells of.
    public init?(words: String) {
        guard let found = [.blank, .beingFormatted, .written].first(where: { (mark: Self) in mark.words == words })
        else { return nil }
        self = found
    }
}

extension WaitReason {
    /// For people: what follows the members that are waited for.
    fileprivate var clause: String {
        switch self {
        case .tooFew: ""
        case .lostCaches:
            ": the others have lost what they had not flushed, and these may have kept it; where one is gone for good, replace "
                + "it, and say with --accept-loss that acknowledged writes may be lost"
        }
    }
}

/// The meaning of a damaged slot of a member's record, in words.
public func slotDamage(_ slot: Int) -> String {
    "slot \(slot) of its record is damaged, torn by a crash or rotten; the other is believed, and the next record is written "
        + "in its place"
}
