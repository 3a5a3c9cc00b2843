import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface

/// Reservation commands (NVMe Base, "Reservations").
///
/// A command that changes something goes through three steps before it is answered: it is stored, where the reservation
/// persists; every reactor takes on who may read and write; and with "preempt and abort" the commands of those who lost
/// their registration have ended everywhere. So no host that was told that another is fenced can meet its writes later.
///
/// One that takes registrations away looks at a few registrants in each round before, and gives a few places up in each round
/// behind. Nobody sees anything of it meanwhile: it has the claim, and reactors take it on as a whole.
final class ReservationCommands {
    private let target: Target
    private let engines: EngineTable
    private let announcements: Announcements
    private let rounds = RegistrantRounds()

    init(_ target: Target, _ engines: EngineTable, _ announcements: Announcements) {
        self.target = target
        self.engines = engines
        self.announcements = announcements
    }

    private var here: GroupHandle { target.group(engines.group) }

    /// Registrants are still to be looked at.
    var isBusy: Bool { !rounds.isEmpty }
    /// A round has something to begin with.
    @inline(__always)
    var isDue: Bool { rounds.isDue }

    /// A round begins. Returns how much has been done.
    func goOn() -> Int { rounds.goOn() }

    func reply(to command: IOCommand, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        guard !target.options.omissions.contains(.reservations) else { return .refused(.invalidOpcode) }
        guard let namespace = controller.subsystem.namespace(request.nsid) else {
            return .refused(.invalidNamespaceOrFormat)
        }
        switch command {
        case .reservationReport(let report): return self.report(report, namespace, request)
        case .invalid(let status): return .refused(status)
        default: break
        }
        // One change at a time for a namespace; the others wait their turn.
        let waiter = ReservationWaiter(group: engines.group, ticket: engines.ticket(of: request.reference))
        switch namespace.reservation.withLock({ $0.begin(orWait: waiter) }) {
        case .begun: return change(command, namespace, request)
        case .waits:
            request.reference.hold()
            return .later
        // Somebody's store hangs, and many wait for it: the host may try again.
        case .refused: return .refused(.commandInterrupted)
        }
    }

    /// A command that waited has the claim now.
    func turn(_ command: IOCommand, _ namespace: Namespace, _ request: ControlRequest) -> ControlReply {
        // The namespace may have gone meanwhile.
        guard request.controller.subsystem.namespace(request.nsid) === namespace else {
            endChange(of: namespace)
            return .refused(.invalidNamespaceOrFormat)
        }
        return change(command, namespace, request)
    }

    /// A change is over: the command that has waited longest has its turn.
    func endChange(of namespace: Namespace) {
        guard let next = namespace.reservation.withLock({ $0.finish() }) else { return }
        target.group(next.group).send { $0.takeTurn(next.ticket, of: namespace) }
    }

    /// Makes a change of the reservation, which the command has claimed.
    private func change(_ command: IOCommand, _ namespace: Namespace, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        var next = namespace.reservation.withLock { $0.current }
        let effect: Reservation.Effect
        do throws(ReservationRefusal) {
            if case .reservationRegister(let register) = command, register.powerLossPersistence == .persist,
                namespace.definition.store == nil
            {
                throw .invalid
            }
            effect = try perform(command, on: &next, request.reference.data, controller.host)
        } catch {
            endChange(of: namespace)
            return .refused(error.status)
        }
        request.reference.hold()
        var aborts = false
        if case .reservationAcquire(let acquire) = command { aborts = acquire.action == .preemptAndAbort }
        let claim = ReservationClaim(
            namespace: namespace, controller: controller, ticket: engines.ticket(of: request.reference), aborts: aborts)
        switch effect {
        case .done(let outcome):
            // A place is a registrant's before its command is stored, while its controller surely keeps it, and another's only
            // after every reactor has taken the change on: `takenOn`.
            if outcome.hasJoined { controller.subsystem.register(controller.host.index) }
            store(ReservationChange(claim: claim, next: next, outcome: outcome))
        case .removes(var removal):
            rounds.add { _ in
                removal.advance()
            } finish: { [unowned self] in
                conclude(removal, claim)
            }
        }
        return .later
    }

    /// All registrants have been looked at.
    private func conclude(_ removal: Reservation.Removal, _ claim: ReservationClaim) {
        // The namespace may have gone meanwhile.
        guard claim.controller.subsystem.namespace(claim.namespace.nsid) === claim.namespace else {
            return refuse(claim, .invalidNamespaceOrFormat)
        }
        do throws(ReservationRefusal) {
            let (next, outcome) = try removal.result()
            store(ReservationChange(claim: claim, next: next, outcome: outcome))
        } catch { refuse(claim, error.status) }
    }

    private func refuse(_ claim: ReservationClaim, _ status: Status) {
        endChange(of: claim.namespace)
        finish(claim, .refused(status))
    }

    private func perform(
        _ command: IOCommand, on reservation: inout Reservation, _ data: UnsafeRawBufferPointer, _ host: KnownHost
    ) throws(ReservationRefusal) -> Reservation.Effect {
        switch command {
        case .reservationRegister(let register):
            guard let keys = try? ReservationRegisterData(decoding: data) else { throw .invalid }
            return .done(try reservation.register(register, data: keys, host: host))
        case .reservationAcquire(let acquire):
            guard let keys = try? ReservationAcquireData(decoding: data) else { throw .invalid }
            return try reservation.acquire(acquire, data: keys, host: host)
        case .reservationRelease(let release):
            guard let keys = try? ReservationReleaseData(decoding: data) else { throw .invalid }
            return try reservation.release(release, data: keys, host: host)
        default:
            throw .invalid
        }
    }

    private func report(_ command: ReservationReportCommand, _ namespace: Namespace, _ request: ControlRequest)
        -> ControlReply
    {
        let subsystem = request.controller.subsystem
        // Host identifiers are 128 bits over fabrics: only the extended structure has room for them.
        guard command.isExtended else { return .refused(.hostIdentifierInconsistentFormat) }
        guard command.byteCount <= UInt64(target.options.maxTransferSize) else {
            return .refused(.invalidField)
        }
        let reservation = namespace.reservation.withLock { $0.current }
        let (status, registrants) = (reservation.status, reservation.registrants)
        // A registrant's controller has to be looked for.
        let page = DataPage(byteCount: status.byteCount(isExtended: true), bytesPerRound: 4096) { window in
            subsystem.state.withLock { state in
                status.write(to: window, isExtended: true) { place in
                    let (host, key) = (registrants[place].host, registrants[place].key)
                    return ReservationStatus.Registrant(
                        controllerID: state.controllers.controllers(of: host).first?.id
                            ?? ReservationStatus.Registrant.anyController,
                        holdsReservation: reservation.isHeld(by: host), hostID: host.id, key: key)
                }
            }
        }
        return .page(page, offset: 0, length: Int(command.byteCount))
    }

    /// Step one: what persists is stored before anybody acts on it.
    private func store(_ change: ReservationChange) {
        let persisted = change.namespace.reservation.withLock { $0.current.persistsThroughPowerLoss }
        guard let store = change.namespace.definition.store,
            change.next.persistsThroughPowerLoss || persisted || store.keepsAll
        else { return apply(change) }
        if target.options.deliberateDefect == .reservationBelievedBeforeStored {
            store.save(
                change.stored,
                subsystem: change.subsystem.nqn,
                nsid: change.namespace.nsid
            ) { _ in }
            return apply(change)
        }
        let here = here
        store.save(
            change.stored,
            subsystem: change.subsystem.nqn,
            nsid: change.namespace.nsid
        ) { problem in
            here.send { $0.stored(change, problem: problem) }
        }
    }

    /// Goes on with what was stored, or has failed to be.
    func stored(_ change: ReservationChange, problem: String?) {
        guard let problem else { return apply(change) }
        target.observe(
            .namespaceFailed(
                subsystem: change.subsystem.nqn, nsid: change.namespace.nsid,
                reason: "its reservation cannot be stored: \(problem)"))
        // Another target may go on with the namespace: then the host has to ask there.
        abandon(
            change,
            change.namespace.definition.store?.keepsAll == true ? .asymmetricAccessInaccessible : .internalError)
    }

    /// A change does not come about: the place that it has taken for its host goes back.
    private func abandon(_ change: ReservationChange, _ status: Status) {
        if change.outcome.hasJoined { change.subsystem.unregister([change.controller.host.index]) }
        refuse(change.claim, status)
    }

    /// Step two: every reactor takes the change on, and says so when the commands that had to end have ended.
    private func apply(_ change: ReservationChange) {
        // A namespace that has gone has given the places of its registrants back: those who would have left with them.
        guard change.namespace.reservation.withLock({ $0.takeOn(change) }) else {
            return abandon(change, .invalidNamespaceOrFormat)
        }
        let (here, victims) = (here, change.victims)
        let groups =
            target.options.deliberateDefect == .reservationTakenOnByOneReactor ? [here] : target.groups
        let barrier = FenceBarrier(count: groups.count) { here.send { $0.takenOn(change) } }
        let isAwaitedHere = target.options.deliberateDefect == .victimsAwaitedByOneReactor
        for (place, group) in groups.enumerated() {
            let victims = isAwaitedHere && place != engines.group ? HostSet() : victims
            group.send {
                $0.fence(change.subsystem, nsid: change.namespace.nsid, victims: victims, barrier: barrier)
            }
        }
    }

    /// Step three: all reactors have done it. The hosts concerned are told, and the command is answered.
    func takenOn(_ change: ReservationChange) {
        for news in change.outcome.news {
            announcements.tell(news.hosts, of: change.subsystem) { [target] controller in
                controller.notify(news.kind, of: change.namespace)
                target.raise(.reservationLogAvailable, on: controller)
            }
        }
        announcements.afterwards { [unowned self] in giveUpPlaces(change) }
    }

    /// Others may get the places of those who are registered no longer; then the command is answered.
    private func giveUpPlaces(_ change: ReservationChange) {
        var left = change.outcome.left[...]
        rounds.add { most in
            let some = left.prefix(most)
            change.subsystem.unregister(some.map(\.index))
            left = left.dropFirst(some.count)
            return some.count
        } finish: { [unowned self] in
            endChange(of: change.namespace)
            finish(change.claim, .done)
        }
    }

    private func finish(_ claim: ReservationClaim, _ reply: ControlReply) {
        engines.request(of: claim.ticket)?.finish(reply, claim.controller)
    }
}
