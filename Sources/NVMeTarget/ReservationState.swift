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
