/// A reservation command that waits for another one on its namespace.
struct ReservationWaiter: Sendable {
    /// The poll group that has it.
    let group: Int
    let ticket: RequestTicket
}

/// A namespace's reservation, and the command that is at work on it.
struct ReservationState: Sendable {
    private(set) var current: Reservation
    /// The registrants of `current`, as reactors take them on.
    private(set) var registrants: HostSet
    private var isChanging = false
    /// The namespace has gone.
    private var isOver = false
    private var waiters: [ReservationWaiter] = []

    init(_ current: Reservation) {
        self.current = current
        registrants = HostSet(current.registrants.hosts().map(\.index))
    }

    /// Takes on what a change has made of the reservation; `false` where the namespace has gone meanwhile: then nothing of it counts.
    mutating func takeOn(_ change: ReservationChange) -> Bool {
        guard !isOver else { return false }
        current = change.next
        if change.outcome.hasJoined { registrants.insert(change.controller.host.index) }
        registrants.subtract(change.outcome.leftPlaces)
        return true
    }

    /// Takes on what another target has made of the reservation; returns the former registrants. `nil` while a command is at work on it.
    mutating func replace(with other: Reservation) -> [KnownHost]? {
        guard !isChanging, !isOver else { return nil }
        let former = current.registrants.hosts()
        current = other
        registrants = HostSet(other.registrants.hosts().map(\.index))
        return former
    }

    /// The namespace goes. Returns the registrants, whose places are to be given back: a change that is under way does not do it any more.
    mutating func end() -> [KnownHost] {
        isOver = true
        return current.registrants.hosts()
    }

    enum Claim { case begun, waits, refused }

    /// Claims the reservation for one change, or a turn behind those that came before.
    mutating func begin(orWait waiter: ReservationWaiter) -> Claim {
        guard isChanging else {
            isChanging = true
            return .begun
        }
        guard waiters.count < Limits.waitingReservations else { return .refused }
        waiters.append(waiter)
        return .waits
    }

    /// Ends a change. Returns the command that has the claim now.
    mutating func finish() -> ReservationWaiter? {
        guard !waiters.isEmpty else {
            isChanging = false
            return nil
        }
        return waiters.removeFirst()
    }
}
