import Replication
import TargetInterface
import VolumeDriver

/// The bugs that the simulation has to notice.
extension BrokenVariant {
    /// Those whose seeds have been counted: the tests run them all.
    public static let all =
        earlier + later + ofDisks + ofFencing + ofOrders + ofCopies + seldom + ofUses + ofSuccession + ofCompany
        + ofWideWorlds

    private static let earlier: [BrokenVariant] = [
        BrokenVariant(
            .engine(.intentAfterSend), "the bitmap's bit is set after the send",
            faults: [.initiatorCrash, .targetPowerLoss, .slowDisk], within: 100, by: .uncoveredDifference),
        BrokenVariant(
            .engine(.recordConfirmedByOne), "one member's confirmation makes a record valid: DRBD 669942686",
            faults: [.crashAtLoss, .slowRecords, .initiatorCrash], within: 400, by: .contents, seed: 100),
        BrokenVariant(
            .engine(.bufferGivenBackAtTimeout), "a buffer is given back while a member may still read it",
            faults: [.slowLink, .partition, .stuckDisk, .connectionBreak], within: 100, by: .contents, seed: 3),
        BrokenVariant(
            .engine(.flushSkipsMember), "a flush leaves out one member",
            faults: [.targetPowerLoss, .initiatorCrash, .targetKill], within: 200, by: .notClean),
        BrokenVariant(
            .engine(.resyncWithoutLock), "copying and writing do not exclude each other",
            faults: [.targetQuickRestart, .connectionBreak, .slowDisk], within: 200, by: .contents),
        BrokenVariant(
            .engine(.equalEpochsTrusted), "set bits are dropped where all records agree: DRBD 3cb0ba6d1",
            faults: [.initiatorCrash, .initiatorPowerLoss], within: 100, by: .uncoveredDifference, seed: 16),
        BrokenVariant(
            .engine(.bootInstanceIgnored), "a target that lost its cache is believed to hold what it had not flushed",
            faults: [.targetPowerLoss, .initiatorCrash], interval: 12_000_000, within: 400, by: .contents, seed: 32),
        BrokenVariant(
            .engine(.overlapUnordered), "overlapping writes are sent without order: SPDK and md raid1",
            faults: [.slowLink], within: 50, by: .differingMembers, seed: 25),
        BrokenVariant(
            .engine(.compareUnordered), "others write between the halves of a compare-and-write",
            faults: [.slowLink], within: 200, by: .contents, seed: 157),
        BrokenVariant(
            .engine(.returningMemberNotWritten),
            "writes are not sent to a member that is being rebuilt: Mayastor ea4902ca",
            faults: [.connectionBreak, .targetKill], within: 100, by: .notWhole),
        BrokenVariant(
            .engine(.behindBitsNotSet), "writes of a degraded volume are not noted: md 46669e8",
            faults: [.targetKill, .partition], within: 100, by: .contents, seed: 23),
        BrokenVariant(
            .engine(.behindMemberRead), "members that are behind serve reads",
            faults: [.targetKill, .connectionBreak], within: 100, by: .contents, seed: 2),
        BrokenVariant(
            .engine(.lossNotMarked), "what a lost member had not flushed is not marked",
            faults: [.targetPowerLoss, .targetQuickRestart], within: 100, by: .contents, seed: 48),
        BrokenVariant(
            .engine(.oldestRecordTrusted), "the lowest record is believed, not the highest",
            faults: [.targetKill, .initiatorCrash, .partition], within: 200, by: .contents, seed: 13),
        BrokenVariant(
            .engine(.lossNotRecorded), "a lagging member leaves no record anywhere: DRBD 1eac40e06",
            faults: [.crashAtLoss, .targetKill, .initiatorCrash], within: 100, by: .contents, seed: 24),
        BrokenVariant(
            .engine(.unconfirmedRecordBelieved), "a record is believed that a member in sync never confirmed",
            faults: [.targetQuickRestart, .connectionBreak], within: 200, by: .contents, seed: 104),
        BrokenVariant(
            .engine(.notificationIgnored), "an initiator without I/O does not learn that it was deposed",
            faults: [.competitor, .initiatorPause, .initiatorDeviceRemoval, .cleanDetach, .inaccessible], within: 1400,
            by: .notWhole, seed: 1329),
        BrokenVariant(
            .machine(.flushIgnored), "a disk says that it has flushed, and has not",
            faults: [.targetPowerLoss, .powerLossOfAll, .initiatorCrash], within: 200, by: .contents, seed: 2),
        BrokenVariant(
            .machine(.forceUnitAccessIgnored), "a disk keeps what was written with FUA in its cache",
            faults: [.targetPowerLoss, .powerLossOfAll, .initiatorCrash], within: 200, by: .contents, seed: 25),
        BrokenVariant(
            .machine(.instanceKept), "a target that lost its cache tells the same instances as before",
            faults: [.targetPowerLoss, .initiatorCrash], interval: 12_000_000, within: 400, by: .contents, seed: 32),
        BrokenVariant(
            .target(.preemptedCommandsNotAwaited),
            "preempt and abort is answered while commands of the preempted may still land",
            faults: [.slowDisk, .competitor], within: 200, by: .contents, seed: 22),
        BrokenVariant(
            .target(.formerCommandsNotAwaited),
            "a host's new association begins while commands of its former ones may still land",
            faults: [.slowDisk, .connectionBreak], within: 200, by: .uncoveredDifference, seed: 183),
    ]
}
