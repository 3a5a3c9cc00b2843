import Replication
import TargetInterface

/// Bugs that show in uses of a volume that only some worlds have.
extension BrokenVariant {
    static let ofUses: [BrokenVariant] = [
        BrokenVariant(
            .machine(.twoHostsAttach), "two hosts attach a volume that nothing fences",
            faults: [.competitor, .initiatorPause], within: 10, by: .acknowledgedAfterDeposition, family: .wide,
            in: .unfenced),
        BrokenVariant(
            .target(.formerCommandsNotAwaited),
            "a host's new association begins while commands of its former ones may still land, and nothing else fences those",
            faults: [.heavyTail, .initiatorCrash, .initiatorPowerLoss], within: 200, by: .contents, family: .wide,
            in: .unfenced, name: "formerCommandsNotAwaitedUnfenced", seed: 101),
        BrokenVariant(
            .engine(.replacedMemberBelieved),
            "a namespace that a member had until another one took its place is taken for the member's",
            faults: [.replace, .formerReturns, .initiatorCrash], within: 60, by: .uncoveredDifference, family: .wide,
            in: .formers, seed: 28),
        BrokenVariant(
            .engine(.formerRecordBelieved),
            "a namespace that takes a member's place, and has an old record of the volume, is brought up to date by the bits alone",
            faults: [.replace, .replaceByFormer], within: 10, by: .uncoveredDifference, family: .wide, in: .formers,
            seed: 2),
    ]
}
