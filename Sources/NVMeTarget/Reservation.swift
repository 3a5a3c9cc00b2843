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
        /// Hosts that are registered no longer: with "preempt and abort" their running commands end first. And their places.
        var left: [KnownHost] = []
        var leftPlaces = HostSet()
    }

    /// A command that is not refused.
    enum Effect: Sendable {
        case done(Outcome)
        /// It takes registrations away.
        case removes(Removal)
    }

    private(set) var generation: UInt32 = 0
    private(set) var registrants = RegistrantList()
    private(set) var type: ReservationType?
    /// The holder; `nil` without a reservation and with one that all registrants hold.
    private(set) var holder: KnownHost?
    private(set) var persistsThroughPowerLoss = false

    init() {}

    /// Takes on what was stored.
    ///
    /// - Parameter place: of a host in the subsystem.
    init(_ stored: StoredReservation, place: (UUIDBytes) -> HostIndex) {
        registrants = RegistrantList(
            stored.registrants.map { Registrant(host: KnownHost(id: $0.host, index: place($0.host)), key: $0.key) })
        generation = stored.generation
        type = stored.type
        holder = stored.holder.flatMap { registrants[$0]?.host }
        persistsThroughPowerLoss = stored.persistsThroughPowerLoss
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
            outcome.leftPlaces = HostSet([host.index])
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
    ) throws(ReservationRefusal) -> Effect {
        guard !command.ignoresExistingKey else { throw .invalid }
        try check(data.currentKey, of: host)
        switch command.action {
        case .acquire:
            if let type {
                guard isHolder(host.id), type == command.type else { throw .conflict }
            } else {
                hold(command.type, by: host)
            }
            return .done(Outcome())
        case .preempt, .preemptAndAbort:
            return .removes(Removal(from: self, by: host, .preempt(key: data.preemptKey, command.type)))
        }
    }

    /// Reservation Release.
    mutating func release(
        _ command: ReservationReleaseCommand, data: ReservationReleaseData, host: KnownHost
    ) throws(ReservationRefusal) -> Effect {
        guard !command.ignoresExistingKey else { throw .invalid }
        try check(data.currentKey, of: host)
        switch command.action {
        case .release:
            guard let type, isHolder(host.id) else { return .done(Outcome()) }
            guard type == command.type else { throw .invalid }
            return .done(Outcome(news: drop(except: host)))
        case .clear: return .removes(Removal(from: self, by: host, .clear))
        }
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

extension Reservation {
    /// A command that takes registrations away, and looks at a few registrants in each round: there may be thousands. Nobody sees
    /// anything of it before it is whole.
    struct Removal: Sendable {
        enum Purpose: Sendable {
            case clear
            case preempt(key: UInt64, ReservationType)
        }

        private var next: Reservation
        private let host: KnownHost
        private let purpose: Purpose
        /// The key of those who lose their registration; `nil` where all others do.
        private let key: UInt64?
        private let takesReservation: Bool
        private var progress = RegistrantList.Removal()
        private var removed: [KnownHost] = []
        private var places = HostSet()

        /// - Parameter host: a registrant, whose command it is.
        fileprivate init(from reservation: Reservation, by host: KnownHost, _ purpose: Purpose) {
            (next, self.host, self.purpose) = (reservation, host, purpose)
            switch purpose {
            case .clear: (self.key, takesReservation) = (nil, false)
            case .preempt(let key, _) where reservation.type?.isAllRegistrants == true:
                (self.key, takesReservation) = (key == 0 ? nil : key, key == 0)
            case .preempt(let key, _):
                let held = reservation.holder.flatMap { reservation.registrants[$0.id]?.key }
                (self.key, takesReservation) = (key, held == key)
            }
        }

        /// Looks at some more registrants; returns how many, and 0 where it has looked at all.
        mutating func advance() -> Int {
            // Taken out, so that they grow where they are.
            var (removed, places) = (removed, places)
            (self.removed, self.places) = ([], HostSet())
            defer { (self.removed, self.places) = (removed, places) }
            let (host, key) = (host, key)
            return next.registrants.advance(&progress) { registrant in
                guard registrant.host != host, key == nil || registrant.key == key else { return false }
                removed.append(registrant.host)
                places.insert(registrant.host.index)
                return true
            }
        }

        /// The reservation that comes out when it has looked at all registrants.
        func result() throws(ReservationRefusal) -> (Reservation, Outcome) {
            var next = next
            var outcome = Outcome(left: removed, leftPlaces: places)
            next.generation &+= 1
            switch purpose {
            case .clear:
                outcome.news = [News(kind: .reservationPreempted, hosts: removed)]
                outcome.left.append(host)
                outcome.leftPlaces.insert(host.index)
                (next.registrants, next.type, next.holder) = (RegistrantList(), nil, nil)
            case .preempt(let key, let newType):
                let oldType = next.type
                guard takesReservation || !removed.isEmpty else {
                    throw key == 0 && oldType != nil ? .invalid : .conflict
                }
                outcome.news = [News(kind: .registrationPreempted, hosts: removed)]
                guard takesReservation else { break }
                next.hold(newType, by: host)
                if let oldType, oldType != newType {
                    outcome.news.append(News(kind: .reservationReleased, hosts: next.othersThan(host)))
                }
            }
            return (next, outcome)
        }
    }
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
