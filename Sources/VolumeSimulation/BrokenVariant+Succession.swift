import Succession

/// Mistakes of daemons that succeed each other.
extension BrokenVariant {
    static let ofSuccession: [BrokenVariant] = [
        BrokenVariant(
            .succession(.leaseTrusted), "an owner whose lease has ended is believed to have stopped, and is not fenced",
            faults: [.daemonPause, .machineSuspended, .leaseRevoked, .daemonStall], within: 20,
            by: .acknowledgedAfterDeposition, family: .succession, seed: 2),
        BrokenVariant(
            .succession(.optimizedBeforeAttached), "hosts are told to come before the volume is attached",
            faults: [.daemonKill, .handOver], within: 10, by: .shownUnattached, family: .succession),
        BrokenVariant(
            .succession(.hostReservationForgotten),
            "an owner does not know the reservation that the one before it kept",
            faults: [.handOver, .daemonKill], within: 10, by: .reservationForgotten, family: .succession),
        BrokenVariant(
            .succession(.gapInLooksIgnored), "an answer of the registry is believed that a later one has overtaken",
            faults: [.looksOvertaken, .handOver], within: 10, by: .overtakenAnswer, family: .succession),
    ]
}
