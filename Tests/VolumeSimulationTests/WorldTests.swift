import Replication
import Testing
import VolumeSimulation

/// Whole volumes: real targets, initiators and volumes, in worlds that seeds decide. `Tools/test --only simulation` runs
/// many more of them.
@Suite(.serialized) struct WorldTests {
    @Test func seedsAreSound() {
        for seed in UInt64(1)...25 { expectSound(seed, Profile(seed: seed)) }
    }

    @Test func seedsOfDenseWorldsAreSound() {
        for seed in UInt64(1)...25 { expectSound(seed, Profile(seed: seed, family: .dense)) }
    }

    @Test func seedsOfWideWorldsAreSound() {
        for seed in UInt64(1)...25 { expectSound(seed, Profile(seed: seed, family: .wide)) }
    }

    /// Hosts with a second volume on the same targets.
    @Test func seedsOfPairedWorldsAreSound() {
        for seed in UInt64(1)...25 { expectSound(seed, Profile(seed: seed, family: .paired)) }
    }

    /// A host dies while it attaches the second volume: the next one, whose claim is the lower one, gives way and begins anew.
    @Test func aSecondVolumeIsAttachedAfterAnAttachThatDied() {
        expectSound(4_000_075, Profile(seed: 4_000_075, family: .paired))
    }

    /// A second volume has I/O of its own in each world that has one, and few wide worlds have one.
    @Test func secondVolumesAreUsed() {
        var (paired, wide) = (0, 0)
        for seed in UInt64(1)...20 {
            if Profile(seed: seed, family: .paired).run(seed: seed).counts.secondOperations > 0 { paired += 1 }
            if Profile(seed: seed, family: .wide).run(seed: seed).counts.secondOperations > 0 { wide += 1 }
            #expect(Profile(seed: seed, family: .small).run(seed: seed).counts.secondAttachments == 0)
        }
        #expect(paired == 20)
        #expect((1...10).contains(wide))
    }

    /// Daemons that succeed each other as the owner of a volume, with a registry and hosts.
    @Test func seedsOfSuccessionAreSound() {
        for seed in UInt64(1)...40 { expectSound(seed, Profile(seed: seed, family: .succession)) }
    }

    /// Volumes that nobody has written to: whenever one is attached after a write was acknowledged, it is marked as written.
    @Test(arguments: [ProfileFamily.small, .dense])
    func blankVolumesAreMarked(family: ProfileFamily) {
        for seed in UInt64(200)...212 {
            var profile = Profile(seed: seed, family: family)
            profile.beginsBlank = true
            expectSound(seed, profile)
        }
    }

    /// Members' targets with several reactors ended connections whose host was alive: one reactor judged by what another had told
    /// it at its last tick.
    @Test func targetsOfSeveralReactorsKeepTheirHosts() {
        for seed in [101, 110, 457, 1050] as [UInt64] {
            expectSound(seed, Profile(seed: seed, family: .wide, isSparse: true))
        }
    }

    /// A member in sync whose newest record was misread is lost while regions are reconciled from it. The next source is the other
    /// member that the record names, not the one that had been away.
    @Test func theNextSourceHasAllThatWasAcknowledged() {
        expectSound(60_003_766, Profile(seed: 60_003_766, family: .mixed, isSparse: true))
    }

    /// A host registers, and its connection ends before that is stored: its place was given to others, and its reservation was
    /// nobody's when it came back.
    @Test func aRegistrationOutlivesItsConnection() {
        expectSound(600_006_642, Profile(seed: 600_006_642, family: .mixed, isSparse: true))
    }

    /// Bitmaps of two pages, and I/O on both sides of their boundary.
    @Test func volumesOfSeveralPagesAreSound() throws {
        let all = (UInt64(1)...200).map { ($0, Profile(seed: $0, family: .wide)) }
        let profiles = all.filter { $0.1.dataBlocks > 10_000 }
        #expect(profiles.count > 4)
        for (seed, profile) in profiles.prefix(4) {
            let geometry = try VolumeGeometry(
                blockSize: profile.blockSize, regionSize: profile.regionSize, dataBlocks: profile.dataBlocks)
            #expect(geometry.pagesPerMap == 2)
            expectSound(seed, profile)
        }
    }

    /// A drive is out for a moment, and loses what it had cached, between a host's first look at its member and that host's registration
    /// there. The event that tells of it is late: the member was believed to have all that had been acknowledged.
    @Test func aDeviceThatWasOpenedAnewBeforeTheRegistrationIsNoticed() {
        expectSound(910_026_674, Profile(seed: 910_026_674, family: .mixed))
    }

    /// A daemon stands still while it attaches, and says that it serves when another one has long had the volume: the other one is the
    /// later owner.
    @Test func anOwnerThatStoodStillIsNoLaterOne() {
        expectSound(11_257, Profile(seed: 11_257, family: .succession))
    }

    /// A volume grows while a member's metadata is misread: what is data then is read as it is.
    @Test func dataIsNotMisreadAfterAGrowth() { expectSound(5367, Profile(seed: 5367, family: .wide)) }

    @Test func volumesOfRealSizesAreSound() { expectSound(1, Profile(seed: 1, family: .real)) }

    @Test(arguments: [ProfileFamily.small, .dense, .wide, .paired, .exported, .succession])
    func aSeedReplaysExactly(family: ProfileFamily) {
        for seed in [7, 77, 777] as [UInt64] {
            let first = Profile(seed: seed, family: family).run(seed: seed)
            let second = Profile(seed: seed, family: family).run(seed: seed)
            #expect(first.hash == second.hash)
            #expect(first.counts == second.counts)
        }
    }

    @Test(arguments: BrokenVariant.all)
    func brokenVariantIsCaught(variant: BrokenVariant) {
        var others: Set<String> = []
        for seed in [variant.seed] + (1...UInt64(variant.within)) {
            let result = Profile(seed: seed, broken: variant).run(seed: seed)
            if result.oracle == variant.oracle {
                print("\(variant.name): caught by seed \(seed): \((result.failure ?? "").prefix(120))")
                return
            }
            if let oracle = result.oracle { others.insert(oracle.rawValue) }
        }
        Issue.record(
            "\(variant.name) was not caught by \(variant.oracle) within \(variant.within) seeds, but by \(others.sorted())"
        )
    }

    /// The same faults leave a volume without a bug as it is: what the variants are noticed by is their bug.
    @Test(arguments: BrokenVariant.all)
    func soundVolumePasses(variant: BrokenVariant) {
        for seed in [variant.seed] + (1...5) {
            expectSound(seed, Profile(seed: seed, broken: variant, isBroken: false))
        }
    }

    // MARK: What goes wrong with the network

    /// Two initiators that reach other members each are both lost to one of them, and the later one wins.
    @Test func initiatorsReachOtherMembers() {
        expectSound([.partitionOfInitiators, .competitor], seeds: 1...30)
        expectSound([.partitionOfInitiators, .initiatorPause, .targetPowerLoss], seeds: 1...30)
    }

    // MARK: What the simulation has found

    /// The engine was told that a member is gone while it had I/O for it that had not left: it trapped.
    @Test func membersAreLostAtOnce() { expectSound([.initiatorDeviceRemoval], seeds: 1...20) }

    /// A target that went away in the middle of an admin command kept its member out for a minute.
    @Test func targetsGoAwayInTheMiddleOfAdminCommands() { expectSound([.targetDeviceRemoval], seeds: 1...20) }

    /// A member that had just been replaced held the newest record, and the next initiator did not believe it.
    @Test func initiatorsDieAfterAMemberWasReplaced() {
        expectSound([.replace, .crashAtLoss, .cleanDetach, .initiatorPause], seeds: 40...70)
    }

    /// A member that had been replaced was waited for, because it might have kept its cache.
    @Test func allPowerIsLostWhileAMemberIsReplaced() { expectSound([.powerLossOfAll, .replace], seeds: 1...30) }

    /// A record that was never valid named a member in sync that had lost its cache, and was believed.
    @Test func connectionsBreakWhileATargetIsRestarted() {
        expectSound([.targetQuickRestart, .connectionBreak], seeds: 1...30)
    }

    /// After two growths the metadata of a member that came back was looked for at its first place; and a namespace that
    /// could not be looked at while its target went down counted as shrunk.
    @Test func targetsAreRestartedWhileAVolumeGrows() {
        expectSound([.grow, .targetQuickRestart, .targetPowerLoss, .connectionBreak], seeds: 1...30)
    }

    /// A detach that lost two members never ended, although they came back.
    @Test func membersComeBackDuringADetach() {
        expectSound([.cleanDetach, .partitionOfSome, .targetKill, .targetQuickRestart], seeds: 1...40)
    }

    /// Writes under way when a volume grew, and given back to a host that does not wait, were read on one member and not on
    /// another.
    @Test func aVolumeGrowsWithWritesUnderWay() {
        for seed in UInt64(1)...30 {
            var profile = Profile(seed: seed)
            profile.faults = [.grow, .inaccessible, .initiatorDeviceRemoval]
            profile.suspendPolicy = .fail
            expectSound(seed, profile)
        }
    }

    /// A connection that was made and lost in one round, after a process had been stopped for long, was waited for for
    /// ever.
    @Test func stoppedProcessesComeBackToLostConnections() {
        expectSound([.targetPause, .competitor, .initiatorPause, .targetKill], seeds: 1...40)
    }

    /// A volume that grew while another initiator was attaching it was served at its old size.
    @Test func othersAttachWhileAVolumeGrows() {
        expectSound([.grow, .competitor, .targetPause, .targetKill], seeds: 1...40)
    }

    /// A member that had been replaced was not asked for its record when the volume recovered, and a member that had missed
    /// writes was believed.
    @Test func volumesRecoverAfterAMemberWasReplaced() {
        expectSound([.replace, .partition, .partitionFromMember, .stuckDisk], seeds: 1...40)
    }

    /// A growth that was broken off left records in two places, and one that was torn was taken for the member's; a member
    /// that came back to a grown volume was written to where its only record was. And a member's place was forgotten while
    /// its maps were being read: that trapped.
    @Test func targetsAreRestartedWhileTheirRecordsMove() {
        expectSound([.grow, .slowRecords, .targetQuickRestart], seeds: 1085...1100)
        expectSound([.grow, .slowRecords, .targetQuickRestart], seeds: 1170...1180)
        expectSound(
            [.grow, .targetKill, .slowRecords, .targetQuickRestart, .connectionBreak, .loss], seeds: 270...285)
    }

    /// Commands that ended in the round in which their queue was let go were never delivered: who waited for them did so
    /// for ever, and kept memory registered.
    @Test func initiatorsDieInTheMiddleOfClosingConnections() {
        expectSound(303398, Profile(seed: 303398))
    }

    /// A growth that lost a member ended well, and that member's metadata was looked for at its new end.
    @Test func connectionsBreakWhileAVolumeGrows() {
        expectSound(700500, Profile(seed: 700500))
        expectSound([.grow, .connectionBreak, .cleanDetach], seeds: 1...30)
    }

    /// An idle volume gave up a member: its writes had once taken longer than those of others that were forgotten.
    @Test func idleVolumesGiveUpNobody() { expectSound(601007, Profile(seed: 601007)) }

    /// A region was copied to two members; one was done with it, lost and taken in again before the other was: it counted as
    /// copied there, and a write that it had missed was lost on it.
    @Test func aMemberIsLostWhileARegionIsCopiedToTwo() {
        expectSound(801886, Profile(seed: 801886))
        expectSound([.targetQuickRestart, .connectionBreak, .stuckDisk, .initiatorCrash], seeds: 1...40)
    }

    /// A volume had grown, and its namespaces once more. An initiator that knew their first sizes alone found the records of
    /// then and believed them: the volume shrank, and what had been written behind its old end was lost.
    @Test func anInitiatorDoesNotKnowThatTheVolumeHasGrown() {
        expectSound(1_001_613, Profile(seed: 1_001_613))
        expectSound([.grow, .competitor, .initiatorPause, .targetKill, .partition], seeds: 1...40)
    }

    /// A member in sync that did not answer never heard that another was replaced. The record that named it the last one in
    /// sync was believed, and its maps, which knew nothing of the replacement: what was not dirty was never copied.
    @Test func aMemberDoesNotAnswerWhileAnotherIsReplaced() {
        expectSound(3_033_845, Profile(seed: 3_033_845))
        expectSound([.replace, .stuckDisk, .targetKill, .initiatorPowerLoss], seeds: 1...40)
    }

    /// A member was replaced before the record was valid that named the others in sync: by the last one that was, it alone had
    /// everything.
    @Test func aMemberIsReplacedBeforeTheRecordIsValid() { expectSound(7_024_578, Profile(seed: 7_024_578)) }

    /// The record of a volume that grew was looked for at its new end before it was there, and at its former end after it
    /// had been wiped.
    @Test func aRecordMovesBetweenTwoLooks() { expectSound(3_032_570, Profile(seed: 3_032_570)) }

    /// An initiator without I/O did not learn that it was deposed: it read the notification, and forgot it.
    @Test func anIdleInitiatorIsDeposed() {
        expectSound(4_000_849, Profile(seed: 4_000_849))
        expectSound([.competitor, .initiatorPause], seeds: 1...30)
    }

    /// A write that all members but one had no room for was read, and went with that one's cache.
    @Test func thinPoolsAreFullWhenAllPowerIsLost() {
        expectSound(22_962, Profile(seed: 22_962))
        // A write of three copies was given up while a member in sync was only not to be reached for it.
        expectSound(6_001_105, Profile(seed: 6_001_105))
        expectSound([.fullDisk, .powerLossOfAll, .partitionOfSome], seeds: 1...30)
    }

    /// A write was given back because the volume was suspended, after the only member in sync had taken it.
    @Test func volumesOfThreeCopiesAreSuspended() {
        for seed in [50_472] + Array(UInt64(1)...30) {
            var profile = Profile(
                seed: seed, broken: nil, faults: [.fullDisk, .inaccessible, .connectionBreak, .slowDisk, .scrub, .grow])
            profile.minimumCopies = 3
            expectSound(seed, profile)
        }
    }

    /// A drive that was taken out under its running daemon, and had lost what was not flushed, was believed when it was back;
    /// and where nothing was asked of it meanwhile, nobody noticed.
    @Test func drivesAreReseated() {
        expectSound([.driveReseat], seeds: 1...60)
        expectSound([.driveReseat, .initiatorCrash, .replace, .connectionBreak], seeds: 1...30)
    }

    /// The source of a region that was being made equal was lost, and one member in sync was left: a read overtook what was
    /// on its way to that member, and saw a write that was gone then.
    @Test func aSourceIsLostWhileAReadWaitsForItsCopy() {
        var profile = Profile(seed: 11_054_636)
        expectSound(11_054_636, profile)
        profile.faults = [.initiatorPowerLoss, .driveReseat, .partitionFromMember, .partitionOfInitiators]
        for seed in UInt64(1)...30 { expectSound(seed, profile) }
    }

    /// A member that could not read a region was left alone in sync: nothing was known to be wrong there, and it was taken for
    /// one that a scrub had found to differ, for good.
    @Test func aMemberThatCannotReadIsLeftAlone() {
        expectSound(11_037_214, Profile(seed: 11_037_214))
        expectSound([.latentError, .scrub, .inaccessible, .targetQuickRestart], seeds: 1...60)
    }

    /// A message is lost while the one before it waits for a receive buffer: the connection's patience ends, whoever posts
    /// buffers meanwhile.
    @Test func aMessageIsLostBehindOneThatWaits() { expectSound(3_017_177, Profile(seed: 3_017_177)) }

    /// A region in which members in sync differed was copied from one of them to a member that was behind, but not yet to the
    /// other, when the source was lost: the other was what all went by then, and the member behind was believed.
    @Test func aSourceIsLostBeforeAllHaveItsCopy() { expectSound(1_404_201, Profile(seed: 1_404_201)) }

    /// The only member in sync failed a flush, was believed again, and its next flush covered nothing: what it had cached was on no
    /// media, and no bit said so.
    @Test func flushesFail() {
        expectSound(1, Profile(seed: 1, family: .wide))
        expectSound([.flushErrors, .targetPowerLoss, .partition], seeds: 1...40)
        expectSound([.flushErrors, .initiatorCrash, .powerLossOfAll], seeds: 1...40)
    }

    // MARK: Checks

    private func expectSound(_ faults: Set<FaultKind>, seeds: ClosedRange<UInt64>) {
        for seed in seeds {
            expectSound(seed, Profile(seed: seed, broken: nil, faults: faults))
        }
    }

    private func expectSound(_ seed: UInt64, _ profile: Profile) {
        let failure = profile.run(seed: seed).failure
        #expect(failure == nil, "seed \(seed)")
    }
}
