import Replication
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

    /// Haste, and records that are not looked at: what real sizes and times hide.
    static let ofWideWorlds: [BrokenVariant] = [
        BrokenVariant(
            .engine(.tornRecordBelieved), "a slot with a record counts although its checksum is wrong",
            faults: [.targetPowerLoss, .slowRecords], interval: 10_000_000, within: 1100, by: .notWhole,
            family: .wide, seed: 506),
        BrokenVariant(
            .engine(.copiesDoneTwice), "every second region that has been copied is copied again",
            faults: [.targetKill, .partition], within: 110, by: .copiedInVain, family: .wide, seed: 56),
        BrokenVariant(
            .engine(.memberGivenUpAtOnce), "a member is given up as soon as one command takes 2 ms",
            faults: [.heavyTail, .slowDisk], within: 50, by: .notAvailable, family: .wide, seed: 23),
        BrokenVariant(
            .machine(.initiatorClockFast), "an initiator's clock is fast: it gives members up that answer in time",
            faults: [.heavyTail, .slowDisk], within: 50, by: .notAvailable, family: .wide, seed: 23),
    ]
}
