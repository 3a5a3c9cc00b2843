import Base
import NVMeSpec

/// A reservation of a namespace and its registrants: a pure state machine (NVMe Base 2.0, "Reservations").
///
/// Hosts are told apart by their Host Identifiers. Nothing is done here with a refusal but to return its status; a
/// success says whom to notify and whose commands to abort.
struct Reservation: Sendable, Equatable {
    struct Registrant: Sendable, Equatable {
        var host: UUIDBytes
        var key: UInt64
    }

    /// News for hosts (Reservation Notification log page types).
    struct Notification: Sendable, Equatable {
        var host: UUIDBytes
        var kind: ReservationNotificationKind
    }

    /// The consequences of a command that succeeded.
    struct Outcome: Sendable, Equatable {
        var notifications: [Notification] = []
        /// Hosts that lost their registration: with "preempt and abort" their running commands end first.
        var preempted: [UUIDBytes] = []
    }

    private(set) var generation: UInt32 = 0
    private(set) var registrants: [Registrant] = []
    private(set) var type: ReservationType?
    /// The holder; `nil` without a reservation and with one that all registrants hold.
    private(set) var holder: UUIDBytes?
    private(set) var persistsThroughPowerLoss = false

    func key(of host: UUIDBytes) -> UInt64? { registrants.first { $0.host == host }?.key }

    func isHolder(_ host: UUIDBytes) -> Bool {
        guard let type else { return false }
        return type.isAllRegistrants ? key(of: host) != nil : holder == host
    }

    /// Whether a host may write, and read, as things stand.
    func access(of host: UUIDBytes) -> (read: Bool, write: Bool) {
        guard let type else { return (true, true) }
        let isAllowed = isHolder(host) || (type.isRegistrantsOnly && key(of: host) != nil)
        return (isAllowed || type.isWriteExclusive, isAllowed)
    }

    // MARK: Commands

    /// Reservation Register.
    mutating func register(
        _ command: ReservationRegisterCommand, data: ReservationRegisterData, host: UUIDBytes
    ) throws(ReservationRefusal) -> Outcome {
        let current = key(of: host)
        var outcome = Outcome()
        switch command.action {
        case .register:
            if let current {
                guard current == data.newKey else { throw .conflict }
            } else {
                registrants.append(Registrant(host: host, key: data.newKey))
                generation &+= 1
            }
        case .unregister:
            guard let current, command.ignoresExistingKey || current == data.currentKey else {
                throw .conflict
            }
            outcome.notifications = unregister(host)
            generation &+= 1
        case .replace:
            guard let current, command.ignoresExistingKey || current == data.currentKey else {
                throw .conflict
            }
            for index in registrants.indices where registrants[index].host == host {
                registrants[index].key = data.newKey
            }
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
        _ command: ReservationAcquireCommand, data: ReservationAcquireData, host: UUIDBytes
    ) throws(ReservationRefusal) -> Outcome {
        guard !command.ignoresExistingKey else { throw .invalid }
        guard let current = key(of: host), current == data.currentKey else { throw .conflict }
        switch command.action {
        case .acquire:
            if let type {
                guard isHolder(host), type == command.type else { throw .conflict }
                return Outcome()
            }
            hold(command.type, by: host)
            return Outcome()
        case .preempt, .preemptAndAbort:
            return try preempt(key: data.preemptKey, type: command.type, host: host)
        }
    }

    private mutating func preempt(
        key preempted: UInt64, type newType: ReservationType, host: UUIDBytes
    ) throws(ReservationRefusal) -> Outcome {
        var outcome = Outcome()
        let takesReservation: Bool
        let victims: [Registrant]
        if let type, type.isAllRegistrants {
            takesReservation = preempted == 0
            victims = registrants.filter { $0.host != host && (preempted == 0 || $0.key == preempted) }
        } else if let holder, key(of: holder) == preempted {
            takesReservation = true
            victims = registrants.filter { $0.host != host && $0.key == preempted }
        } else {
            takesReservation = false
            victims = registrants.filter { $0.host != host && $0.key == preempted }
        }
        guard takesReservation || !victims.isEmpty else {
            throw preempted == 0 && type != nil ? .invalid : .conflict
        }
        let oldType = type
        let victimHosts = victims.map(\.host)
        registrants.removeAll { victimHosts.contains($0.host) }
        outcome.preempted = victimHosts
        outcome.notifications = victimHosts.map { Notification(host: $0, kind: .registrationPreempted) }
        if takesReservation {
            type = nil
            holder = nil
            hold(newType, by: host)
            if let oldType, oldType != newType {
                outcome.notifications += othersThan(host).map { Notification(host: $0, kind: .reservationReleased) }
            }
        } else if let type, type.isAllRegistrants, registrants.isEmpty {
            self.type = nil
        }
        generation &+= 1
        return outcome
    }

    /// Reservation Release.
    mutating func release(
        _ command: ReservationReleaseCommand, data: ReservationReleaseData, host: UUIDBytes
    ) throws(ReservationRefusal) -> Outcome {
        guard !command.ignoresExistingKey else { throw .invalid }
        guard let current = key(of: host), current == data.currentKey else { throw .conflict }
        var outcome = Outcome()
        switch command.action {
        case .release:
            guard let type, isHolder(host) else { return outcome }
            guard type == command.type else { throw .invalid }
            outcome.notifications = drop(except: host)
        case .clear:
            outcome.notifications = othersThan(host).map { Notification(host: $0, kind: .reservationPreempted) }
            registrants = []
            type = nil
            holder = nil
            generation &+= 1
        }
        return outcome
    }

    /// Takes on what was stored: a reservation that persists.
    mutating func restore(
        registrants: [Registrant], generation: UInt32, type: ReservationType?, holder: UUIDBytes?
    ) {
        self.registrants = registrants
        self.generation = generation
        self.type = type
        self.holder = type?.isAllRegistrants == true ? nil : holder
        persistsThroughPowerLoss = true
    }

    // MARK: Parts

    private mutating func hold(_ newType: ReservationType, by host: UUIDBytes) {
        type = newType
        holder = newType.isAllRegistrants ? nil : host
    }

    /// Ends the reservation; registrants that could write because of it are told.
    private mutating func drop(except host: UUIDBytes) -> [Notification] {
        let tells = type.map { $0.isRegistrantsOnly || $0.isAllRegistrants } ?? false
        type = nil
        holder = nil
        return tells ? othersThan(host).map { Notification(host: $0, kind: .reservationReleased) } : []
    }

    private mutating func unregister(_ host: UUIDBytes) -> [Notification] {
        let wasHolder = isHolder(host)
        registrants.removeAll { $0.host == host }
        guard wasHolder, let type, !type.isAllRegistrants || registrants.isEmpty else { return [] }
        return drop(except: host)
    }

    private func othersThan(_ host: UUIDBytes) -> [UUIDBytes] {
        registrants.map(\.host).filter { $0 != host }
    }
}

/// Why a reservation command is refused.
enum ReservationRefusal: Error {
    /// "Reservation Conflict": not registered, a wrong key, or somebody else's reservation.
    case conflict
    /// "Invalid Field in Command".
    case invalid

    var status: Status {
        switch self {
        case .conflict: .reservationConflict
        case .invalid: .invalidField
        }
    }
}
