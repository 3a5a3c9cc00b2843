import Replication
import TargetInterface

/// Steps that are done in another order than they have to be, or left out.
extension BrokenVariant {
    static let ofOrders: [BrokenVariant] = [
        BrokenVariant(
            .engine(.othersNotPreempted), "a member is believed before its former writer is kept out",
            faults: [.competitor, .initiatorPause], within: 10, by: .acknowledgedAfterDeposition),
        BrokenVariant(
            .engine(.surveyBelieved),
            "the record that was found before the member was fenced is believed, and not read again",
            faults: [.competitor, .targetKill, .partition, .slowLink], within: 150, by: .contents, seed: 56),
        BrokenVariant(
            .engine(.detachUnrecorded), "a detach gives the members up before the record says that nothing is dirty",
            faults: [.cleanDetach, .slowRecords], within: 10, by: .notClean),
        BrokenVariant(
            .engine(.failedFlushTrusted), "a flush that failed is sent again, and believed when it succeeds",
            faults: [.flushErrors, .targetPowerLoss, .initiatorCrash], within: 210, by: .uncoveredDifference,
            family: .wide, seed: 104),
        BrokenVariant(
            .target(.victimsAwaitedByOneReactor),
            "preempt and abort is answered while another reactor's commands of the preempted may still land",
            faults: [.slowDisk, .competitor], within: 460, by: .contents, family: .wide, seed: 239),
    ]

    static let ofCopies: [BrokenVariant] = [
        BrokenVariant(
            .engine(.copyEndsShort), "a region counts as copied when its first part has been",
            faults: [.targetKill, .partition], within: 10, by: .contents, family: .wide, seed: 3),
        BrokenVariant(
            .engine(.copyCountsUnflushed), "copied data counts as there before it has been flushed",
            faults: [.targetKill, .partition, .targetPowerLoss], within: 30, by: .uncoveredDifference, seed: 4),
        BrokenVariant(
            .engine(.bitsKept), "bits of regions that nobody writes to any more are never cleared",
            faults: [.slowDisk], within: 10, by: .notClean, family: .wide),
        BrokenVariant(
            .engine(.allCopiesNeeded), "a write is acknowledged only when all members have it, lost ones too",
            faults: [.targetKill, .partition], within: 170, by: .notAvailable, family: .wide, seed: 85),
        BrokenVariant(
            .engine(.scrubFindsNothing), "a scrub finds that all members are equal", faults: [.slowDisk], within: 10,
            by: .rotNotHandled),
    ]

    /// Those that a world shows seldom.
    static let seldom: [BrokenVariant] = [
        BrokenVariant(
            .engine(.readOfInFlightBlock), "a read is served while a write that overlaps it is in flight",
            faults: [.slowDisk, .slowLink], interval: 10_000_000, within: 2000, by: .contents, seed: 463),
        BrokenVariant(
            .engine(.recordSentIsBelieved), "a record counts as soon as it has been sent: DRBD 7bc900858",
            faults: [.crashAtLoss, .slowRecords], within: 2000, by: .contents, seed: 801),
        BrokenVariant(
            .engine(.lostCacheInSync), "a member that lost its cache stays in sync beside one that kept it",
            faults: [.targetPowerLoss, .initiatorCrash], interval: 12_000_000, within: 2000, by: .contents, seed: 35),
        BrokenVariant(
            .engine(.recordInOneSlot),
            "a member counts as holding a record that is in one of its slots only, while the other holds the one before",
            faults: [.misreadRecords, .targetKill, .partition, .initiatorCrash], within: 2000, by: .contents,
            family: .wide, seed: 804),
        BrokenVariant(
            .engine(.unreconciledRead), "dirty regions are read from any member before they are made equal",
            faults: [.initiatorCrash], interval: 10_000_000, within: 2000, by: .contents, seed: 203),
    ]
}
