import Succession

/// Mistakes of daemons that succeed each other.
extension BrokenVariant {
    static let ofSuccession: [BrokenVariant] = [
        BrokenVariant(
            .succession(.leaseTrusted), "an owner whose lease has ended is believed to have stopped, and is not fenced",
            faults: [.daemonPause, .machineSuspended, .leaseRevoked, .daemonStall], within: 20,
            by: .acknowledgedAfterDeposition, family: .succession, seed: 5),
        BrokenVariant(
            .succession(.optimizedBeforeAttached), "hosts are told to come before the volume is attached",
            faults: [.daemonKill, .handOver], within: 10, by: .shownUnattached, family: .succession),
        BrokenVariant(
            .succession(.hostReservationForgotten),
            "an owner does not know the reservation that the one before it kept",
            faults: [.handOver, .daemonKill], within: 10, by: .reservationForgotten, family: .succession),
        BrokenVariant(
            .succession(.gapInLooksIgnored), "an answer of the registry is believed that a later one has overtaken",
            faults: [.looksOvertaken, .handOver], within: 10, by: .overtakenAnswer, family: .succession, seed: 4),
        BrokenVariant(
            .succession(.failBackWithoutPath),
            "a volume goes back to a daemon that hosts, or it its members, cannot reach",
            faults: [.handOver, .hostPathCut], interval: 30_000_000, within: 200, by: .noPath,
            family: .succession, seed: 20),
    ]
}
