import Base
import NVMeInitiator
import Replication

/// The events of a volume, and the tasks that wait for more. On the group's thread.
final class VolumeNews: @unchecked Sendable {
    // Unchecked: the volume's observer is Sendable; it is called on the group's thread only.
    private let group: InitiatorGroup
    private(set) var failure: AttachError?
    /// Another host has taken the volume over.
    private(set) var isDeposed = false
    private(set) var losses: UInt64 = 0
    private(set) var lastProblem = ""
    private(set) var troubles = MemberTroubles()
    private var waiting: [SleepToken] = []
    /// The volume is being let go: its user knows what it would tell.
    var isMuted = false

    init(_ group: InitiatorGroup) { self.group = group }

    func take(_ event: VolumeEvent) {
        troubles.take(event)
        switch event {
        case .phase(let phase): isDeposed = isDeposed || phase == .deposed
        case .attachFailed(let error): failure = error
        case .notice(.memberLost(let member, let reason)):
            losses += 1
            lastProblem = "member \(member): lost, \(reason.explanation)"
        case .notice(.memberRefused(let member, let error)): lastProblem = "member \(member): \(error)"
        case .notice, .memberUnreachable(_, Volume.givenUp): break
        case .memberUnreachable(let member, let reason): lastProblem = "member \(member): \(reason)"
        }
        guard !waiting.isEmpty else { return }
        for token in waiting { token.cancel() }
        waiting = []
        // So that the group's next round looks at who sleeps.
        group.send {}
    }

    /// Waits until the volume tells something, or the time has come.
    func next(before end: MonotonicTime) async {
        let token = SleepToken(group)
        waiting.append(token)
        await group.sleep(until: end, token)
        waiting.removeAll { $0 === token }
    }
}
