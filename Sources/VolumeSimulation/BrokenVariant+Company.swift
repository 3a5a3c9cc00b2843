import VolumeDriver

/// Bugs of which a volume has no harm that is alone on its targets, or whose host has one queue.
extension BrokenVariant {
    static let ofCompany: [BrokenVariant] = [
        BrokenVariant(
            .driver(.preemptionOfAnyNamespace),
            "that a registration of a host was preempted is taken for each of its volumes on the target",
            faults: [.competitor, .initiatorPause], within: 10, by: .disturbed, family: .paired, seed: 3),
        BrokenVariant(
            .machine(.reservationsMixed), "a target that comes back takes one namespace's reservations for another's",
            faults: [.targetKill, .competitor], within: 20, by: .disturbed, family: .paired, seed: 7),
        BrokenVariant(
            .driver(.flushOfOneChannel),
            "a flush covers the writes of its own queue, and of no other one of the same host",
            faults: [.powerLossOfAll, .targetPowerLoss, .initiatorCrash], within: 430, by: .contents, family: .exported,
            seed: 214),
    ]
}
