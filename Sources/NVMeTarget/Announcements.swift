/// News for many hosts, told to a few of them in each round: a reactor does others' I/O between two.
///
/// All is told in the order in which it came, and at once as long as a round has time for it.
final class Announcements {
    fileprivate enum Step {
        case tell(Telling)
        case call(() -> Void)
    }

    fileprivate struct Telling {
        let hosts: [KnownHost]
        let subsystem: Subsystem
        let subject: Namespace?
        let body: (Controller) -> Void
        /// The first of `hosts` that has not been told.
        var next = 0
    }

    private var steps: [Step] = []
    /// Hosts that may still be told in this round.
    private var left = Limits.hostsPerRound

    var isEmpty: Bool { steps.isEmpty }

    /// Tells each controller of some hosts.
    ///
    /// - Parameter subject: where the same is to be told of it already, and nobody has been told yet, nothing is to be done.
    func tell(
        _ hosts: [KnownHost], of subsystem: Subsystem, about subject: Namespace? = nil,
        _ body: @escaping (Controller) -> Void
    ) {
        if let subject, steps.contains(where: { $0.isStillToTell(subject) }) { return }
        steps.append(.tell(Telling(hosts: hosts, subsystem: subsystem, subject: subject, body: body)))
        proceed()
    }

    /// Calls `body` when all that came before has been told.
    func afterwards(_ body: @escaping () -> Void) {
        steps.append(.call(body))
        proceed()
    }

    /// A round begins. Returns how much has been done.
    func goOn() -> Int {
        left = Limits.hostsPerRound
        proceed()
        return Limits.hostsPerRound - left
    }

    private func proceed() {
        while let step = steps.first {
            switch step {
            case .tell(var telling):
                let end = min(telling.hosts.count, telling.next + left)
                for host in telling.hosts[telling.next..<end] {
                    for controller in telling.subsystem.controllers(of: host) { telling.body(controller) }
                }
                left -= end - telling.next
                telling.next = end
                steps[0] = .tell(telling)
                guard end == telling.hosts.count else { return }
                steps.removeFirst()
            case .call(let body):
                steps.removeFirst()
                body()
            }
        }
    }
}

extension Announcements.Step {
    fileprivate func isStillToTell(_ subject: Namespace) -> Bool {
        guard case .tell(let telling) = self else { return false }
        return telling.subject === subject && telling.next == 0
    }
}
