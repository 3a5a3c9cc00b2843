import ControlPlane
import Foundation
import Replication
import Synchronization

/// The last events of a volume, and those that made it and each member what they are.
final class VolumeHistory: Sendable {
    struct Moment: Sendable {
        var time = Date()
        var text: String

        /// RFC 3339.
        var timeText: String { time.formatted(.iso8601) }
    }

    private struct State {
        var phase: Moment
        var members: [Moment]
        var last: [Moment] = []
    }
    private static let capacity = 64
    private let state: Mutex<State>

    init() {
        let beginning = Moment(text: "the daemon was told to attach it")
        state = Mutex(State(phase: beginning, members: Array(repeating: beginning, count: memberCount)))
    }

    func note(_ text: String, member: MemberIndex? = nil, isPhase: Bool = false) {
        let moment = Moment(text: text)
        state.withLock { state in
            state.last.append(moment)
            if state.last.count > Self.capacity { state.last.removeFirst() }
            if let member { state.members[member.number] = moment }
            guard isPhase else { return }
            // The event before a change of the phase is what brought it about.
            let cause = state.last.dropLast().last { !$0.text.hasPrefix("volume:") }
            state.phase = Moment(time: moment.time, text: cause?.text ?? moment.text)
        }
    }

    /// The event that brought about the phase, and those of the members.
    var moments: (phase: Moment, members: [Moment]) { state.withLock { ($0.phase, $0.members) } }

    var events: [VolumeExplanation.Event] {
        state.withLock { $0.last }.map { VolumeExplanation.Event(time: $0.timeText, text: $0.text) }
    }
}
