import NVMeTarget
import Replication
import TargetInterface
import VolumeDriver

/// Bugs that came later, with seeds within which each was noticed, and as many again.
extension BrokenVariant {
    static let later: [BrokenVariant] = [
        BrokenVariant(
            .engine(.acknowledgeBeforeRecord),
            "a write is acknowledged before the record that excuses a lost member is durable: Mayastor 141a5fb0",
            faults: [.crashAtLoss, .slowRecords], within: 1600, by: .contents, seed: 1514),
        BrokenVariant(
            .engine(.preemptWithoutAbort), "commands of the deposed initiator that run already are not aborted",
            faults: [.slowDisk, .competitor, .initiatorPause], within: 400, by: .contents, seed: 215),
        BrokenVariant(
            .engine(.intentClearedUnflushed), "a region's bit is cleared without a flush",
            faults: [.initiatorCrash, .targetPowerLoss], within: 300, by: .uncoveredDifference, seed: 284),
        BrokenVariant(
            .machine(.flushEndsEarly), "a disk answers a flush when it takes it",
            faults: [.targetPowerLoss, .powerLossOfAll, .initiatorCrash], within: 100, by: .contents, seed: 43),
        BrokenVariant(
            .machine(.trimEndsEarly), "a disk answers Write Zeroes and a trim when it takes them",
            faults: [.slowDisk, .targetKill], within: 50, by: .contents, seed: 11),
        BrokenVariant(
            .machine(.flushForgets), "a disk flushes eight blocks, and says that it has flushed all",
            faults: [.targetPowerLoss, .powerLossOfAll, .initiatorCrash], within: 60, by: .contents, seed: 11),
        BrokenVariant(
            .machine(.failuresHidden), "a disk answers a write or a flush that failed with success",
            faults: [.writeErrors, .fullDisk], within: 20, by: .contents),
        BrokenVariant(
            .machine(.flushFailuresHidden),
            "a disk answers a flush that failed, and forgot what it should cover, with success",
            faults: [.flushErrors, .targetPowerLoss, .powerLossOfAll], within: 60, by: .contents, family: .wide,
            seed: 43),
        BrokenVariant(
            .machine(.writesMisdirected), "one write in fifty goes to the next block",
            faults: [.slowLink], within: 20, by: .contents),
        BrokenVariant(
            .machine(.readsStale), "reads return what is on the media, not what was written last",
            faults: [.slowLink], within: 10, by: .contents),
        BrokenVariant(
            .machine(.dataTorn), "a loss of power leaves blocks of data torn",
            faults: [.targetPowerLoss, .powerLossOfAll], within: 60, by: .tornBlock, seed: 32),
        BrokenVariant(
            .machine(.reseatUnnoticed), "nobody is told that a drive was out and has lost its cache",
            faults: [.driveReseat, .initiatorCrash], within: 150, by: .contents, seed: 46),
        BrokenVariant(
            .target(.reservationTakenOnByOneReactor), "one reactor of several knows of a reservation",
            faults: [.competitor, .initiatorPause, .initiatorStall], within: 60, by: .contents,
            family: .wide, seed: 11),
        BrokenVariant(
            .target(.reservationNotJudged), "what a reservation lets a host do is not asked",
            faults: [.competitor, .initiatorPause], within: 40, by: .contents, seed: 3),
        BrokenVariant(
            .driver(.preemptionNotTold), "that a registration was preempted is not told",
            faults: [.competitor, .initiatorPause, .initiatorDeviceRemoval, .cleanDetach, .inaccessible], within: 1400,
            by: .notWhole, seed: 1329),
    ]

    /// Promises of disks on which every read and write rests: each world notices them.
    static let ofDisks: [BrokenVariant] = [
        BrokenVariant(
            .machine(.readsMisdirected), "reads return the next block's contents", faults: [.slowLink], within: 4,
            by: .metadataRefused),
        BrokenVariant(
            .machine(.writesDropped), "one write in fifty is answered and not done", faults: [.slowLink], within: 4,
            by: .contents),
        BrokenVariant(
            .machine(.writesRepeated), "one write in fifty lands once more, 5 ms later", faults: [.slowLink],
            within: 6, by: .contents),
        BrokenVariant(
            .machine(.writesEndShort), "the last block of a longer write is left out", faults: [.slowLink], within: 4,
            by: .contents),
        BrokenVariant(
            .machine(.zeroesForgotten), "Write Zeroes and trims are answered and not done", faults: [.slowLink],
            within: 4, by: .contents),
        BrokenVariant(
            .machine(.zeroesNotZero), "Write Zeroes and trims leave something else", faults: [.slowLink], within: 4,
            by: .tornBlock),
        BrokenVariant(
            .machine(.comparesEqual), "a comparison finds what it expects, whatever is there", faults: [.slowLink],
            within: 4, by: .contents),
    ]

    /// Writers that are fenced, or silent, and the traces that they leave.
    static let ofFencing: [BrokenVariant] = [
        BrokenVariant(
            .engine(.everyWriterDetached),
            "the reservations are given up though a writer that was fenced may still write",
            faults: [.competitor, .initiatorPause, .cleanDetach], within: 90, by: .contents, seed: 43),
        BrokenVariant(
            .target(.keepAliveNotWatched), "a controller whose host is silent lives on",
            faults: [.partition, .partitionFromMember, .stuckDisk, .slowDisk], within: 10, by: .leftBehind,
            family: .wide, seed: 4),
    ]
}
