import Base
import NVMeSpec

/// A reservation of a namespace and its registrants: a pure state machine (NVMe Base 2.0, "Reservations").
///
/// Hosts are told apart by their Host Identifiers. Nothing is done here with a refusal but to return its status; a
/// success says whom to notify and who is registered no longer.
struct Reservation: Sendable {
    /// News for hosts (Reservation Notification log page types).
    struct News: Sendable {
        var kind: ReservationNotificationKind
        var hosts: [KnownHost]
    }

    /// The consequences of a command that succeeded.
    struct Outcome: Sendable {
        var news: [News] = []
        /// The host is registered, and was not.
        var hasJoined = false
        /// Hosts that are registered no longer: with "preempt and abort" their running commands end first.
        var left: [KnownHost] = []
    }

    private(set) var generation: UInt32 = 0
    private(set) var registrants = RegistrantList()
    private(set) var type: ReservationType?
    /// The holder; `nil` without a reservation and with one that all registrants hold.
    private(set) var holder: KnownHost?
    private(set) var persistsThroughPowerLoss = false

    init() {}

    /// Takes on what was stored: a reservation that persists.
    ///
    /// - Parameter place: of a host in the subsystem.
    init(_ stored: StoredReservation, place: (UUIDBytes) -> HostIndex) {
        registrants = RegistrantList(
            stored.registrants.map { Registrant(host: KnownHost(id: $0.host, index: place($0.host)), key: $0.key) })
        generation = stored.generation
        type = stored.type
        holder = stored.holder.flatMap { registrants[$0]?.host }
        persistsThroughPowerLoss = true
    }

    func isHolder(_ host: UUIDBytes) -> Bool {
        guard let type else { return false }
        return type.isAllRegistrants ? registrants[host] != nil : holder?.id == host
    }

    /// The same of a host that is registered.
    func isHeld(by registrant: KnownHost) -> Bool { type?.isAllRegistrants == true || holder == registrant }

    /// The head of what Reservation Report returns.
    var status: ReservationStatus.Head {
        ReservationStatus.Head(
            generation: generation, type: type, persistsThroughPowerLoss: persistsThroughPowerLoss,
            registrantCount: registrants.count)
    }

    /// The access of hosts that are not registered, and that of registrants that do not hold the reservation. A holder may do
    /// everything.
    var access: (strangers: Access, registrants: Access) {
        guard let type else { return ([.read, .write], [.read, .write]) }
        let strangers: Access = type.isWriteExclusive ? .read : []
        return (strangers, type.isRegistrantsOnly || type.isAllRegistrants ? [.read, .write] : strangers)
    }

    // MARK: Commands

    /// Reservation Register.
    mutating func register(
        _ command: ReservationRegisterCommand, data: ReservationRegisterData, host: KnownHost
    ) throws(ReservationRefusal) -> Outcome {
        let key = registrants[host.id]?.key
        var outcome = Outcome()
        switch command.action {
        case .register:
            if let key {
                guard key == data.newKey else { throw .conflict }
            } else {
                guard registrants.count < Limits.registrants else { throw .full }
                registrants.insert(Registrant(host: host, key: data.newKey))
                outcome.hasJoined = true
                generation &+= 1
            }
        case .unregister:
            guard let key, command.ignoresExistingKey || key == data.currentKey else { throw .conflict }
            outcome.news = unregister(host)
            outcome.left = [host]
            generation &+= 1
        case .replace:
            guard let key, command.ignoresExistingKey || key == data.currentKey else { throw .conflict }
            registrants.setKey(data.newKey, of: host.id)
            generation &+= 1
        }
        switch command.powerLossPersistence {
        case .noChange: break
        case .clear: persistsThroughPowerLoss = false
        case .persist: persistsThroughPowerLoss = true
        }
        return outcome
    }

    /// Reservation Acquire.
    mutating func acquire(
        _ command: ReservationAcquireCommand, data: ReservationAcquireData, host: KnownHost
    ) throws(ReservationRefusal) -> Outcome {
        guard !command.ignoresExistingKey else { throw .invalid }
        try check(data.currentKey, of: host)
        switch command.action {
        case .acquire:
            if let type {
                guard isHolder(host.id), type == command.type else { throw .conflict }
                return Outcome()
            }
            hold(command.type, by: host)
            return Outcome()
        case .preempt, .preemptAndAbort:
            return try preempt(key: data.preemptKey, type: command.type, host: host)
        }
    }

    private mutating func preempt(
        key preempted: UInt64, type newType: ReservationType, host: KnownHost
    ) throws(ReservationRefusal) -> Outcome {
        let takesReservation: Bool
        if let type, type.isAllRegistrants {
            takesReservation = preempted == 0
        } else {
            takesReservation = holder.flatMap { registrants[$0.id]?.key == preempted } ?? false
        }
        let takesAll = takesReservation && type?.isAllRegistrants == true
        let victims = registrants.removeAll { $0.host != host && (takesAll || $0.key == preempted) }
        guard takesReservation || !victims.isEmpty else {
            throw preempted == 0 && type != nil ? .invalid : .conflict
        }
        var outcome = Outcome(news: [News(kind: .registrationPreempted, hosts: victims)], left: victims)
        let oldType = type
        if takesReservation {
            hold(newType, by: host)
            if let oldType, oldType != newType {
                outcome.news.append(News(kind: .reservationReleased, hosts: othersThan(host)))
            }
        } else if let type, type.isAllRegistrants, registrants.isEmpty {
            self.type = nil
        }
        generation &+= 1
        return outcome
    }

    /// Reservation Release.
    mutating func release(
        _ command: ReservationReleaseCommand, data: ReservationReleaseData, host: KnownHost
    ) throws(ReservationRefusal) -> Outcome {
        guard !command.ignoresExistingKey else { throw .invalid }
        try check(data.currentKey, of: host)
        var outcome = Outcome()
        switch command.action {
        case .release:
            guard let type, isHolder(host.id) else { return outcome }
            guard type == command.type else { throw .invalid }
            outcome.news = drop(except: host)
        case .clear:
            outcome.news = [News(kind: .reservationPreempted, hosts: othersThan(host))]
            outcome.left = registrants.hosts()
            registrants = RegistrantList()
            type = nil
            holder = nil
            generation &+= 1
        }
        return outcome
    }

    // MARK: Parts

    /// A host has to be registered, with the key that it gives.
    private func check(_ key: UInt64, of host: KnownHost) throws(ReservationRefusal) {
        guard registrants[host.id]?.key == key else { throw .conflict }
    }

    private mutating func hold(_ newType: ReservationType, by host: KnownHost) {
        type = newType
        holder = newType.isAllRegistrants ? nil : host
    }

    /// Ends the reservation; registrants that could write because of it are told.
    private mutating func drop(except host: KnownHost) -> [News] {
        let tells = type.map { $0.isRegistrantsOnly || $0.isAllRegistrants } ?? false
        type = nil
        holder = nil
        return tells ? [News(kind: .reservationReleased, hosts: othersThan(host))] : []
    }

    private mutating func unregister(_ host: KnownHost) -> [News] {
        let wasHolder = isHolder(host.id)
        registrants.remove(host.id)
        guard wasHolder, let type, !type.isAllRegistrants || registrants.isEmpty else { return [] }
        return drop(except: host)
    }

    private func othersThan(_ host: KnownHost) -> [KnownHost] { registrants.hosts(except: host) }
}

/// Why a reservation command is refused.
enum ReservationRefusal: Error {
    /// "Reservation Conflict": not registered, a wrong key, or somebody else's reservation.
    case conflict
    /// "Invalid Field in Command".
    case invalid
    /// The namespace has as many registrants as it can have.
    case full

    var status: Status {
        switch self {
        case .conflict: .reservationConflict
        case .invalid: .invalidField
        case .full: .insufficientCapacity
        }
    }
}
