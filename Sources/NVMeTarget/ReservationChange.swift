import Base
import NVMeSpec
import Synchronization

/// A reservation command on its way through its steps.
struct ReservationChange: Sendable {
    let namespace: Namespace
    let controller: Controller
    let next: Reservation
    let outcome: Reservation.Outcome
    let aborts: Bool
    let ticket: RequestTicket

    /// The hosts whose running commands end first.
    var victims: HostSet { aborts ? HostSet(outcome.left.map(\.index)) : HostSet() }

    /// Makes the bytes that are to be stored, where they are: there may be thousands of registrants.
    var stored: (@Sendable () -> [UInt8])? {
        guard next.persistsThroughPowerLoss else { return nil }
        return { [next] in StoredReservation.bytes(of: next) }
    }

    var subsystem: Subsystem { controller.subsystem }
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
