import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetTransport

/// Reservation commands (NVMe Base, "Reservations").
///
/// A command that changes something goes through three steps before it is answered: it is stored, where the reservation
/// persists; every reactor takes on who may read and write; and with "preempt and abort" the commands of those who lost
/// their registration have ended everywhere. So no host that was told that another is fenced can meet its writes later.
extension PollGroup {
    func reservation(_ command: IOCommand, _ request: ControlRequest) {
        let controller = request.controller
        guard let namespace = controller.subsystem.namespace(request.nsid) else {
            return fail(request, .invalidNamespaceOrFormat)
        }
        switch command {
        case .reservationReport(let report): return self.report(report, namespace, request)
        case .invalid(let status): return fail(request, status)
        default: break
        }
        // The 64th host and later ones share a bit: they cannot be told apart on the I/O path.
        guard controller.subsystem.hostBit(of: controller.hostID) != Subsystem.sharedHostBit else {
            return fail(request, .insufficientCapacity)
        }
        // One change at a time for a namespace; the others wait their turn.
        guard namespace.reservation.withLock({ $0.begin() }) else {
            request.reference.hold()
            waitingReservations.append(ticket(request.reference))
            return
        }
        var next = namespace.reservation.withLock { $0.current }
        let outcome: Reservation.Outcome
        do throws(ReservationRefusal) {
            if case .reservationRegister(let register) = command, register.powerLossPersistence == .persist,
                namespace.definition.store == nil
            {
                throw .invalid
            }
            outcome = try perform(command, on: &next, request.reference.data, controller.hostID)
        } catch {
            namespace.reservation.withLock { $0.isChanging = false }
            return fail(request, error.status)
        }
        request.reference.hold()
        var aborts = false
        if case .reservationAcquire(let acquire) = command { aborts = acquire.action == .preemptAndAbort }
        store(
            ReservationChange(
                namespace: namespace, subsystem: controller.subsystem, next: next, outcome: outcome, aborts: aborts,
                ticket: ticket(request.reference)))
    }

    private func perform(
        _ command: IOCommand, on reservation: inout Reservation, _ data: UnsafeRawBufferPointer, _ host: UUIDBytes
    ) throws(ReservationRefusal) -> Reservation.Outcome {
        switch command {
        case .reservationRegister(let register):
            guard let keys = try? ReservationRegisterData(decoding: data) else { throw .invalid }
            return try reservation.register(register, data: keys, host: host)
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

    private func report(_ command: ReservationReportCommand, _ namespace: Namespace, _ request: ControlRequest) {
        let controller = request.controller
        // Host identifiers are 128 bits over fabrics: only the extended structure has room for them.
        guard command.isExtended else { return fail(request, .hostIdentifierInconsistentFormat) }
        guard command.byteCount <= UInt64(target.options.maxTransferSize) else {
            return fail(request, .invalidField)
        }
        let reservation = namespace.reservation.withLock { $0.current }
        let registrants = reservation.registrants.map { registrant in
            ReservationStatus.Registrant(
                controllerID: controller.subsystem.controllers(of: registrant.host).first?.id
                    ?? ReservationStatus.Registrant.anyController,
                holdsReservation: reservation.isHolder(registrant.host), hostID: registrant.host, key: registrant.key)
        }
        let status = ReservationStatus(
            generation: reservation.generation, type: reservation.type,
            persistsThroughPowerLoss: reservation.persistsThroughPowerLoss, registrants: registrants)
        let page = DataPage(byteCount: status.byteCount(isExtended: true)) { status.write(to: $0, isExtended: true) }
        answer(request, with: page, length: Int(command.byteCount))
    }

    /// Step one: what persists is stored before anybody acts on it.
    private func store(_ change: ReservationChange) {
        let persisted = change.namespace.reservation.withLock { $0.current.persistsThroughPowerLoss }
        guard change.next.persistsThroughPowerLoss || persisted, let store = change.namespace.definition.store else {
            return apply(change)
        }
        let here = target.group(index)
        if target.options.deliberateDefect == .reservationBelievedBeforeStored {
            store.save(
                change.next.persistsThroughPowerLoss ? change.next.encoded : nil, subsystem: change.subsystem.nqn,
                nsid: change.namespace.nsid
            ) { _ in }
            return apply(change)
        }
        store.save(
            change.next.persistsThroughPowerLoss ? change.next.encoded : nil, subsystem: change.subsystem.nqn,
            nsid: change.namespace.nsid
        ) { problem in
            here.run { group in
                guard let problem else { return group.apply(change) }
                group.target.observe(
                    .namespaceFailed(
                        subsystem: change.subsystem.nqn, nsid: change.namespace.nsid,
                        reason: "its reservation cannot be stored: \(problem)"))
                change.namespace.reservation.withLock { $0.isChanging = false }
                group.finish(change.ticket, .internalError)
            }
        }
    }

    /// Step two: every reactor takes the change on, and says so when the commands that had to end have ended.
    private func apply(_ change: ReservationChange) {
        // Before the change is published: as long as a victim is registered, nobody takes over its place.
        var victims: UInt64 = 0
        if change.aborts {
            for host in change.outcome.preempted { victims |= change.subsystem.hostBit(of: host) }
        }
        let former = change.namespace.reservation.withLock { state in
            defer { state.current = change.next }
            return state.current
        }
        change.subsystem.changeRegistrants(from: former, to: change.next)
        let here = target.group(index)
        let groups =
            target.options.deliberateDefect == .reservationTakenOnByOneReactor ? [here] : target.groups
        let barrier = FenceBarrier(count: groups.count) { here.run { $0.complete(change) } }
        for group in groups {
            group.fence(change.subsystem, nsid: change.namespace.nsid, victims: victims, barrier: barrier)
        }
    }

    /// Step three: all reactors have done it. The hosts concerned are told, and the command is answered.
    private func complete(_ change: ReservationChange) {
        change.namespace.reservation.withLock { $0.isChanging = false }
        for notification in change.outcome.notifications {
            for controller in change.subsystem.controllers(of: notification.host) {
                controller.notify(notification.kind, of: change.namespace)
                target.raise(.reservationLogAvailable, on: controller)
            }
        }
        finish(change.ticket, .success)
    }

    // MARK: Requests that wait

    /// Tries the reservation commands that found another one at work.
    func retryReservations() {
        guard !waitingReservations.isEmpty else { return }
        let waiting = waitingReservations
        waitingReservations = []
        for ticket in waiting {
            guard let request = request(of: ticket), let controller = controller(of: request),
                case .io(let command) = request.engine.requests[request.index].command
            else { continue }
            reservation(command, ControlRequest(reference: request, controller: controller))
        }
    }

    // MARK: Fencing

    /// Takes on who may read and write a namespace, ends waiting commands of `victims`, and arrives at the barrier when
    /// their running ones have ended.
    func fence(_ subsystem: Subsystem, nsid: UInt32, victims: UInt64, barrier: FenceBarrier) {
        guard let view = views[subsystem.index] else { return barrier.arrive() }
        synchronize(view, nsid: nsid)
        let fenced = CommandEngine.Victims(nsid: nsid, hosts: victims, namespaces: view.namespaces)
        if victims != 0, target.options.deliberateDefect != .waitingCommandsNotAborted {
            for engine in engines { engine.abortWaiting(fenced) }
        }
        drains.append(Drain(victims: fenced, barrier: barrier))
        checkDrains()
    }

    /// Commands of preempted hosts that are running at a block device.
    struct Drain {
        let victims: CommandEngine.Victims
        let barrier: FenceBarrier
    }

    func checkDrains() {
        guard !drains.isEmpty else { return }
        drains.removeAll { drain in
            if drain.victims.hosts != 0, target.options.deliberateDefect != .preemptedCommandsNotAwaited,
                engines.contains(where: { $0.isRunning(drain.victims) })
            {
                return false
            }
            drain.barrier.arrive()
            return true
        }
    }
}

/// A reservation command on its way through its steps.
struct ReservationChange: Sendable {
    let namespace: Namespace
    let subsystem: Subsystem
    let next: Reservation
    let outcome: Reservation.Outcome
    let aborts: Bool
    let ticket: PollGroup.RequestTicket
}

/// Counts the reactors that have done their part and calls back after the last.
final class FenceBarrier: Sendable {
    private let remaining: Atomic<Int>
    private let completion: @Sendable () -> Void

    init(count: Int, completion: @escaping @Sendable () -> Void) {
        remaining = Atomic(count)
        self.completion = completion
    }

    func arrive() {
        if remaining.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { completion() }
    }
}

/// A namespace's reservation, and whether a command is at work on it.
struct ReservationState: Sendable {
    var current = Reservation()
    var isChanging = false

    /// Claims the reservation for one change; `false` when another is at work.
    mutating func begin() -> Bool {
        if isChanging { return false }
        isChanging = true
        return true
    }
}

extension Controller {
    /// Keeps a notification for the host, unless it has masked the kind (NVMe Base, "Reservation Notification").
    func notify(_ kind: ReservationNotificationKind, of namespace: Namespace) {
        state.withLock { state in
            if state.masks.mask(of: namespace.nsid, instance: namespace.instance).isSuperset(of: kind.mask) { return }
            state.notificationCount += 1
            state.notifications.append(
                ReservationNotificationLog(
                    count: state.notificationCount, kind: kind, available: 0, nsid: namespace.nsid))
            // The log keeps as many as its "available" field can count; the oldest give way.
            if state.notifications.count > 255 { state.notifications.removeFirst() }
        }
    }

    /// The oldest notification, taken out of the queue unless `retains`.
    func takeNotification(retains: Bool) -> ReservationNotificationLog {
        state.withLock { state in
            guard var first = state.notifications.first else { return ReservationNotificationLog() }
            first.available = UInt8(clamping: state.notifications.count - 1)
            if !retains { state.notifications.removeFirst() }
            return first
        }
    }
}

/// The notifications of reservations that a host does not want (NVMe Base, "Reservation Notification Mask").
struct ReservationMasks: Sendable {
    private var single: [UInt32: ReservationNotificationMask] = [:]
    /// The mask of all namespaces; it holds for those that were there then.
    private var all: ReservationNotificationMask = []
    private var lastInstance: UInt64 = 0

    mutating func set(_ mask: ReservationNotificationMask, of nsid: UInt32) { single[nsid] = mask }

    /// - Parameter lastInstance: `Namespace.instance` of the last namespace that is there.
    mutating func setAll(_ mask: ReservationNotificationMask, upTo lastInstance: UInt64) {
        single = [:]
        all = mask
        self.lastInstance = lastInstance
    }

    func mask(of nsid: UInt32, instance: UInt64) -> ReservationNotificationMask {
        single[nsid] ?? (instance <= lastInstance ? all : [])
    }
}
