import Base
import NVMeSpec
import Synchronization
import TargetInterface

/// A reservation command that has the claim to change its namespace's reservation.
struct ReservationClaim: Sendable {
    let namespace: Namespace
    let controller: Controller
    let ticket: RequestTicket
    /// Running commands of those who lose their registration end first.
    let aborts: Bool
}

/// The same on its way through its steps.
struct ReservationChange: Sendable {
    let claim: ReservationClaim
    let next: Reservation
    let outcome: Reservation.Outcome

    var namespace: Namespace { claim.namespace }
    var controller: Controller { claim.controller }

    /// The hosts whose running commands end first.
    var victims: HostSet { claim.aborts ? outcome.leftPlaces : HostSet() }

    /// Makes the bytes that are to be stored, where they are: there may be thousands of registrants.
    var stored: (@Sendable () -> [UInt8])? {
        guard next.persistsThroughPowerLoss || namespace.definition.store?.keepsAll == true else { return nil }
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
