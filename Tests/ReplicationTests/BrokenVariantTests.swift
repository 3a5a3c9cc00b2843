import Replication
import Testing

/// The model has to notice each bug that the engine can be given on purpose. A variant names the faults under which it
/// shows soonest, and the number of seeds within which it must.
struct BrokenVariant: CustomStringConvertible, Sendable {
    var fault: DeliberateFault
    var faults: [ModelFault]
    var within: Int
    var interval: UInt64 = 30_000_000
    var competes = false
    var drains = true
    var description: String { Self.known[fault.rawValue].map { "\(fault): \($0)" } ?? "\(fault)" }

    /// Bugs that systems of this kind have had, by the fault that restates them.
    static let known: [UInt8: String] = [
        DeliberateFault.acknowledgeBeforeRecord.rawValue: "Mayastor 141a5fb0",
        DeliberateFault.recordConfirmedByOne.rawValue: "DRBD 669942686",
        DeliberateFault.recordSentIsBelieved.rawValue: "DRBD 7bc900858",
        DeliberateFault.lossNotRecorded.rawValue: "DRBD 1eac40e06",
        DeliberateFault.equalEpochsTrusted.rawValue: "DRBD 3cb0ba6d1",
        DeliberateFault.overlapUnordered.rawValue: "SPDK and md raid1",
        DeliberateFault.returningMemberNotWritten.rawValue: "Mayastor ea4902ca",
        DeliberateFault.behindBitsNotSet.rawValue: "md 46669e8",
        DeliberateFault.oldAssociationNotAwaited.rawValue: "SPDK #3593",
    ]

    static let all: [BrokenVariant] = [
        BrokenVariant(fault: .intentAfterSend, faults: [.initiatorCrash, .powerLoss], within: 50),
        BrokenVariant(fault: .acknowledgeBeforeRecord, faults: [.crashAtLoss], within: 200),
        BrokenVariant(fault: .recordConfirmedByOne, faults: [.crashAtLoss, .slowRecords], within: 400),
        BrokenVariant(
            fault: .preemptWithoutAbort, faults: [.initiatorPause, .competitor, .slow], within: 200, competes: true),
        BrokenVariant(fault: .bufferGivenBackAtTimeout, faults: [.slow, .partition], within: 50),
        BrokenVariant(fault: .flushSkipsMember, faults: [.powerLoss, .initiatorCrash, .kill], within: 200),
        BrokenVariant(fault: .resyncWithoutLock, faults: [.quickRestart, .breakConnection, .slow], within: 100),
        BrokenVariant(fault: .equalEpochsTrusted, faults: [.initiatorCrash], within: 50),
        BrokenVariant(
            fault: .bootInstanceIgnored, faults: [.powerLoss, .initiatorCrash], within: 400, interval: 12_000_000),
        BrokenVariant(fault: .overlapUnordered, faults: [.busy], within: 20),
        BrokenVariant(fault: .readOfInFlightBlock, faults: [.busy, .slow], within: 50),
        BrokenVariant(fault: .returningMemberNotWritten, faults: [.breakConnection, .kill], within: 50),
        BrokenVariant(fault: .behindBitsNotSet, faults: [.kill, .partition], within: 50),
        BrokenVariant(fault: .oldAssociationNotAwaited, faults: [.partition, .slow], within: 400, drains: false),
        BrokenVariant(fault: .behindMemberRead, faults: [.kill, .breakConnection], within: 50),
        BrokenVariant(fault: .intentClearedUnflushed, faults: [.initiatorCrash, .powerLoss], within: 200),
        BrokenVariant(fault: .unreconciledRead, faults: [.initiatorCrash], within: 300, interval: 10_000_000),
        BrokenVariant(fault: .lossNotMarked, faults: [.powerLoss, .quickRestart], within: 50),
        BrokenVariant(
            fault: .lostCacheInSync, faults: [.powerLoss, .initiatorCrash], within: 400, interval: 12_000_000),
        BrokenVariant(fault: .recordSentIsBelieved, faults: [.crashAtLoss, .slowRecords], within: 400),
        BrokenVariant(fault: .lossNotRecorded, faults: [.crashAtLoss, .kill], within: 200),
        BrokenVariant(fault: .oldestRecordTrusted, faults: [.kill, .initiatorCrash, .partition], within: 100),
    ]
}

@Suite(.serialized) struct BrokenVariantTests {
    @Test func everyFaultHasAVariant() {
        // The model's hosts do not compare, its operators replace nothing, and its network loses no notification: the tests
        // of whole volumes switch these on, RareSequenceTests the last of the first line, FailureMatrixTests those of the second.
        let elsewhere = [
            DeliberateFault.compareUnordered, .unconfirmedRecordBelieved, .notificationIgnored, .unconfirmedMemberTaken,
            .sourceNotRewritten, .failedDurabilityTrusted, .unwrittenSourceTrusted, .everyWriterDetached,
        ].map(\.rawValue)
        let covered = Set(BrokenVariant.all.map(\.fault.rawValue) + elsewhere)
        #expect(DeliberateFault.allCases.filter { $0 != .none && !covered.contains($0.rawValue) } == [])
    }

    @Test(arguments: BrokenVariant.all)
    func isCaught(variant: BrokenVariant) {
        var profile = ModelProfile()
        profile.faults = variant.faults
        profile.faultInterval = variant.interval
        profile.allowsCompetitors = variant.competes
        profile.drainsAtConnect = variant.drains
        for seed in 1...UInt64(variant.within) {
            let simulation = ModelSimulation(seed: seed, profile: profile, fault: variant.fault)
            if let failure = simulation.run() {
                print("\(variant.fault): caught by seed \(seed): \(failure.prefix(160))")
                return
            }
        }
        Issue.record("\(variant.fault) was not caught within \(variant.within) seeds")
    }

    /// The same faults leave the engine as it is unharmed: what the variants are caught by is their bug.
    @Test(arguments: BrokenVariant.all)
    func soundEnginePasses(variant: BrokenVariant) {
        var profile = ModelProfile()
        profile.faults = variant.faults
        profile.faultInterval = variant.interval
        profile.allowsCompetitors = variant.competes
        profile.drainsAtConnect = variant.drains
        for seed in 1...UInt64(5) {
            let simulation = ModelSimulation(seed: seed, profile: profile)
            if let failure = simulation.run() { Issue.record("seed \(seed): \(failure)") }
        }
    }
}
