import Replication
import Trace

/// The events of a volume that its reactor's trace tells of.
extension Trace {
    /// Records a change of the volume's phase or of a member's part in it.
    func record(_ action: VolumeAction) {
        switch action {
        case .phaseChanged(let phase): record(.volumePhase, 0, UInt64(phase.rawValue))
        case .notice(.memberLost(let member, let reason)):
            record(.memberLost, UInt32(member.number), UInt64(reason.rawValue))
        case .notice(.memberReturning(let member)): record(.memberReturning, UInt32(member.number), 0)
        case .notice(.memberInSync(let member)): record(.memberInSync, UInt32(member.number), 0)
        case .notice(.memberDemoted(let member)): record(.memberDemoted, UInt32(member.number), 0)
        case .connect, .disconnect, .reservation, .notice, .attachFailed: break
        }
    }

    /// Records a write behind the volume's own blocks: a record, or a page of a map.
    @inline(never)
    func record(_ request: MemberRequest) {
        if request.operation == .write { record(.metadataWrite, UInt32(request.member.number), request.start) }
    }
}
