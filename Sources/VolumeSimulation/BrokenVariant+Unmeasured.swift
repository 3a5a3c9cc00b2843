import Replication
import TargetInterface
import VolumeDriver

/// Bugs that the simulation is meant to notice, and whose seeds have not been counted yet: `within` is a guess. One that is noticed
/// within it moves to `all`.
extension BrokenVariant {
    public static let unmeasured: [BrokenVariant] =
        unmeasuredOfEngine + unmeasuredOfFlushes + unmeasuredOfMachines + unmeasuredOfTargets
        + unmeasuredOfDriver

    private static let unmeasuredOfEngine: [BrokenVariant] = [
        BrokenVariant(
            .engine(.oldAssociationNotAwaited),
            "a member is used again while its old association's commands may still land: SPDK 3593",
            faults: [.partition, .slowDisk, .heavyTail], within: 1000, by: .contents, family: .wide),
        BrokenVariant(
            .engine(.unconfirmedMemberTaken), "a member is taken into sync that has not confirmed the valid record",
            faults: [.replace, .stuckDisk, .targetKill, .slowRecords, .initiatorPowerLoss], within: 2000, by: .contents),
    ]

    private static let unmeasuredOfFlushes: [BrokenVariant] = [
        BrokenVariant(
            .engine(.flushBeforeRewritten),
            "a flush is acknowledged, after all members may have lost their caches, before what was dirty is written again",
            faults: [.flushErrors, .targetPowerLoss, .powerLossOfAll, .partition], within: 2000, by: .contents,
            family: .wide),
        BrokenVariant(
            .engine(.untoldCacheLost), "a member that surely lost its cache is believed beside one that does not tell",
            faults: [.targetPowerLoss, .driveReseat, .initiatorPowerLoss], within: 2000, by: .contents, family: .wide),
        BrokenVariant(
            .engine(.readableCacheLost),
            "a member that surely lost its cache is believed beside one that only failed a flush",
            faults: [.flushErrors, .writeErrors, .driveReseat, .targetPowerLoss, .initiatorPowerLoss], within: 2000,
            by: .contents, family: .wide),
        BrokenVariant(
            .engine(.unwrittenSourceTrusted),
            "a member that could not write regions again counts as holding them for good",
            faults: [.lastingErrors, .writeErrors, .initiatorCrash, .targetPowerLoss], within: 2000,
            by: .uncoveredDifference, family: .wide),
        BrokenVariant(
            .engine(.sourceNotRewritten),
            "the member that dirty regions are copied from is not written, though a flush of it may have failed",
            faults: [.flushErrors, .initiatorCrash, .targetPowerLoss], within: 400, by: .uncoveredDifference,
            family: .wide),
        BrokenVariant(
            .engine(.failedDurabilityTrusted),
            "a write with FUA that failed is tried again, and nothing else is made of it",
            faults: [.flushErrors, .targetPowerLoss], within: 400, by: .contents, family: .wide),
    ]

    private static let unmeasuredOfMachines: [BrokenVariant] = [
        BrokenVariant(
            .machine(.clockAtHalfSpeed), "targets' clocks go at half speed: they notice lost hosts too late",
            faults: [.partition, .partitionFromMember, .stuckDisk, .slowDisk], within: 2000, by: .leftBehind,
            family: .wide),
        BrokenVariant(
            .machine(.reservationStoreAnswersEarly), "a reservation is answered before it is stored",
            faults: [.competitor, .initiatorPause, .targetQuickRestart], within: 2000, by: .acknowledgedAfterDeposition),
        BrokenVariant(
            .machine(.reservationsForgotten), "a target that promised to keep reservations comes back without them",
            faults: [.competitor, .initiatorPause, .targetQuickRestart], within: 2000, by: .acknowledgedAfterDeposition),
    ]

    private static let unmeasuredOfTargets: [BrokenVariant] = [
        BrokenVariant(
            .target(.waitingCommandsNotAborted), "commands that wait for their data survive a preemption",
            faults: [.competitor, .initiatorPause, .slowLink, .heavyTail], within: 2000, by: .notAvailable,
            family: .wide),
        BrokenVariant(
            .target(.reservationBelievedBeforeStored), "a reservation is believed before it is stored",
            faults: [.competitor, .initiatorPause, .targetQuickRestart, .storeErrors], within: 2000,
            by: .acknowledgedAfterDeposition),
        BrokenVariant(
            .target(.judgedOnce), "a command is not judged again before it goes to the block device",
            faults: [.competitor, .initiatorPause, .heavyTail, .initiatorStall], within: 2000, by: .contents),
        BrokenVariant(
            .target(.failedFlushNotTold), "a flush that a device failed is told to nobody but the host that sent it",
            faults: [.flushErrors, .initiatorCrash, .targetPowerLoss], within: 2000, by: .uncoveredDifference,
            family: .wide),
    ]

    private static let unmeasuredOfDriver: [BrokenVariant] = [
        BrokenVariant(
            .driver(.formerAssociationCalledDead),
            "commands of a lost association are called dead with the next connection",
            faults: [.partition, .slowDisk, .stuckDisk, .connectionBreak], within: 2000, by: .contents, family: .wide),
        BrokenVariant(
            .driver(.runForInstance), "a drive that was out for a moment counts as never gone",
            faults: [.driveReseat, .initiatorCrash], within: 400, by: .contents),
        BrokenVariant(
            .driver(.exchangedNamespaceKept),
            "a connection goes on though another namespace is in the place of its own",
            faults: [.driveReseat], within: 400, by: .contents),
    ]
}
