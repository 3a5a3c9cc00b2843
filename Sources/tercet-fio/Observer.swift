import Glibc

/// Watches the engine's report: how long nothing moved, and how the members were.
struct Observer {
    private let path: String
    /// When the first I/O was seen.
    private(set) var firstIO: Double?
    /// The longest time in which I/O was under way and none completed, in seconds.
    private(set) var longestStall = 0.0
    private var completed: UInt64 = 0
    private var lastProgress = 0.0
    private var members: [Member]

    /// The observations of a member.
    struct Member {
        var state = RunReport.MemberState.inSync
        /// When it was in sync last, and when its state was looked at last.
        var outSince: Double?
        var changed: Double?
        /// Over the whole run, in seconds.
        var secondsOut = 0.0
        var secondsCopying = 0.0
        /// The most that was to be copied at once.
        var mostBehind: UInt64 = 0
    }

    init(path: String, targets: Int) {
        self.path = path
        members = Array(repeating: Member(), count: targets)
    }

    /// - Returns: what has changed, for people.
    mutating func look(_ moment: Double) -> [String] {
        guard let report = RunReport(path: path) else { return [] }
        if firstIO == nil, report.submitted > 0 {
            firstIO = moment
            lastProgress = moment
        }
        if report.completed != completed || report.completed >= report.submitted {
            completed = report.completed
            lastProgress = moment
        } else if firstIO != nil {
            longestStall = max(longestStall, moment - lastProgress)
        }
        var news: [String] = []
        for (index, member) in report.members.enumerated() where index < members.count {
            members[index].mostBehind = max(members[index].mostBehind, member.behindBytes)
            guard member.state != members[index].state else { continue }
            let text = members[index].change(to: member.state, moment)
            if let firstIO { news.append("at \(Observer.time(moment - firstIO)) target \(index + 1) \(text)") }
        }
        return news
    }

    /// The end of the run: what is still going on counts so far.
    mutating func finish(_ moment: Double) {
        for index in members.indices { members[index].addTimes(until: moment) }
    }

    /// The lines for the end of the run.
    var summary: [String] {
        var lines = firstIO == nil ? [] : ["longest time without progress: \(Observer.time(longestStall))"]
        for (index, member) in members.enumerated() where member.secondsOut > 0 {
            lines.append(
                "target \(index + 1) was not in sync for \(Observer.time(member.secondsOut)), of which resync took "
                    + "\(Observer.time(member.secondsCopying)), at most \(member.mostBehind) bytes behind"
                    + (member.state == .inSync ? "" : "; it was not when the run ended"))
        }
        return lines
    }

    static func time(_ seconds: Double) -> String { "\(text(seconds, digits: 3)) s" }
}

extension Observer.Member {
    /// Counts what has been going on since the last change.
    fileprivate mutating func addTimes(until moment: Double) {
        if let since = changed, state != .inSync { secondsOut += moment - since }
        if let since = changed, state == .behind { secondsCopying += moment - since }
        changed = moment
    }

    /// - Returns: what happened, for people.
    fileprivate mutating func change(to new: RunReport.MemberState, _ moment: Double) -> String {
        addTimes(until: moment)
        if state == .inSync { outSince = moment }
        state = new
        return switch new {
        case .inSync: "is in sync, after \(Observer.time(moment - (outSince ?? moment)))"
        case .behind: "is connected, and behind"
        case .away: "is away"
        }
    }
}
