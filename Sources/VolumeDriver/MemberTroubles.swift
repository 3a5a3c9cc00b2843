import Replication

/// The last problem of each member of a volume that is attached.
struct MemberTroubles: Sendable {
    /// By member; `nil` where nothing is wrong.
    private var problems: [String?] = Array(repeating: nil, count: memberCount)
    /// Why the volume waits for members, where it is not only that they are too few.
    private var wait: String?

    mutating func take(_ event: VolumeEvent) {
        switch event {
        case .phase(.serving): wait = nil
        case .notice(.waitingFor(_, let reason)): wait = reason == .tooFew ? nil : event.line
        case .memberUnreachable(_, Volume.givenUp): break
        case .memberUnreachable(let member, let reason): problems[member] = reason
        case .notice(.memberRefused(let member, let error)): problems[member] = error.description
        // Another namespace may be in its place.
        case .notice(.memberLost(let member, .removed)): problems[member] = nil
        // A problem that was told before says more.
        case .notice(.memberLost(let member, let reason)):
            problems[member] = problems[member] ?? reason.explanation
        case .notice(.memberDemoted(let member)): problems[member] = "it fails writes"
        case .notice(.memberReturning(let member)), .notice(.memberInSync(let member)): problems[member] = nil
        default: break
        }
    }

    /// Reasons why members are not in sync, or the volume is not served, a sentence each; empty where all is well.
    ///
    /// - Parameter addresses: by member.
    func obstacles(_ status: VolumeStatusReport, _ addresses: [MemberAddress]) -> [String] {
        let ofMembers = status.members.indices.compactMap { index -> String? in
            let (member, name) = (status.members[index], "member \(index) (\(addresses[index]))")
            let reason = problems[index].map { ": \($0)" } ?? ""
            switch member.phase {
            case .disconnected, .connecting, .disconnecting, .refused:
                return "\(name) is not \(status.phase == .serving ? "in sync" : "there")\(reason)"
            case .draining: return "\(name) may still do commands of an earlier connection"
            case .active where member.isInSync: return nil
            case .active where member.behindRegions == 0: return "\(name) is not in sync\(reason)"
            case .active: return "\(name) lacks \(member.behindRegions) regions\(reason)"
            // One that waits for the others is in nobody's way.
            case .surveyed, .ready: return nil
            case .surveying, .fencing, .reading, .joining: return "\(name) is being taken in\(reason)"
            }
        }
        return (wait.map { [$0] } ?? []) + ofMembers
    }
}

extension MemberLossReason {
    /// For people, as a clause that follows the member's name.
    public var explanation: String {
        switch self {
        case .disconnected: "its connection ended"
        case .timedOut: "it did not answer in time"
        case .outcomeUnknown: "a command may or may not have been done"
        case .metadataFailed: "it could not write the volume's record, or flush"
        case .slow: "it was far slower than the others"
        case .removed: "it was removed"
        case .joinFailed: "it could not be taken in"
        }
    }
}
