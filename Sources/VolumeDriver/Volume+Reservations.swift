import Base
import NVMeInitiator
import NVMeSpec
import Replication

/// Fencing of members by NVMe reservations: Write Exclusive, Registrants Only.
extension Volume {
    func reservation(_ link: MemberLink, _ command: ReservationCommand) {
        guard let controller = link.controller else { return }
        let attempt = link.attempt
        let nsid = link.address.nsid
        let instance = options.deliberateDefect == .exchangedNamespaceKept ? nil : link.identity?.instance
        let persists =
            controller.namespace(link.address)?.identify.reservations.contains(.persistThroughPowerLoss) ?? false
        group.spawn { [self] in
            let (answer, problem) = await carryOut(
                command, controller, nsid: nsid, instance: instance, persists: persists)
            group.send {
                // After the end of the association no answer of it follows.
                guard link.attempt == attempt, link.association != 0, !link.isEnding else { return }
                if let problem, link.reservationProblem != problem {
                    link.reservationProblem = problem
                    self.tell(.memberUnreachable(link.index, reason: problem))
                }
                switch answer {
                case .status(let status): self.engine.handle(.reservationDone(link.index, status), now: self.group.now)
                case .report(let report):
                    self.engine.handle(.reservationReport(link.index, report), now: self.group.now)
                case .openedAnew:
                    self.lost(link, attempt, "the device of namespace \(nsid) was opened anew while it was looked at")
                }
            }
        }
    }

    private enum Answer: Sendable {
        case status(MemberStatus)
        case report(ReservationReport)
        /// The namespace is not what the association was made with.
        case openedAnew
    }

    /// - Parameter instance: the opening of the namespace's device that the association was made with, where the target tells.
    private func carryOut(
        _ command: ReservationCommand, _ controller: Controller, nsid: UInt32, instance: UInt64?, persists: Bool
    ) async -> (Answer, problem: String?) {
        let type = ReservationType.writeExclusiveRegistrantsOnly
        do throws(InitiatorError) {
            switch command {
            case .register(let key):
                try await controller.registerReservation(
                    nsid: nsid,
                    ReservationRegisterCommand(
                        .register, ignoresExistingKey: true, powerLossPersistence: persists ? .persist : .noChange),
                    currentKey: 0, newKey: key)
                // A target ends the associations of registered hosts when it opens a device anew. Before, only an event tells of
                // that, which comes on another queue than what is read next: perhaps later.
                if let instance {
                    let page = try await controller.identify(.namespace, nsid: nsid)
                    let found = TercetNamespaceIdentity(identifyNamespace: page)?.instance
                    if found != instance { return (.openedAnew, nil) }
                }
            case .acquire(let key):
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.acquire, type: type), currentKey: key)
            case .preemptAndAbort(let key, let preempted):
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.preemptAndAbort, type: type), currentKey: key,
                    preemptKey: preempted)
            case .preempt(let key, let preempted):
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.preempt, type: type), currentKey: key,
                    preemptKey: preempted)
            case .unregister(let key):
                try await controller.registerReservation(
                    nsid: nsid, ReservationRegisterCommand(.unregister), currentKey: key, newKey: 0)
            case .report:
                let status = try await controller.reservationReport(nsid: nsid)
                return (.report(ReservationReport(status, hostID: options.hostID)), nil)
            }
            return (.status(.success), nil)
        } catch {
            guard case .status(let status, _) = error else { return (.status(.unknown), nil) }
            let answer = MemberStatus(status)
            // Statuses that another host's doings or a busy target explain are no news.
            guard answer == .mediaError else { return (.status(answer), nil) }
            return (.status(answer), "its target refuses a reservation: \(error)")
        }
    }
}

extension ReservationReport {
    init(_ status: ReservationStatus, hostID: UUIDBytes) {
        self.init(
            holderKey: status.registrants.first { $0.holdsReservation }?.key ?? 0,
            keys: status.registrants.map(\.key),
            ownKey: status.registrants.first { $0.hostID == hostID }?.key ?? 0)
    }
}
