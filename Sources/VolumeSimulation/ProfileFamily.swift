import Base
import Replication
import Simulation
import Succession

/// Families of worlds. A seed means another world in each.
public enum ProfileFamily: String, CaseIterable, Sendable {
    /// Tiny volumes on three targets of ours, any faults at any rate: what the simulation began with.
    case small
    /// The same, with three to five kinds of faults at 15 ms: what takes several to show, shows here.
    case dense
    /// Sizes of blocks, regions, transfers and members, makes of members, clocks and disks differ; all kinds of faults, in half
    /// of the worlds three to five at 15 ms.
    case wide
    /// Wide ones whose hosts have a second volume on the same targets.
    case paired
    /// Blocks of 4 KiB, regions of 1 MiB, transfers of 128 KiB, the timeouts that volumes have, and minutes.
    case real
    /// Small or dense ones whose volume is served to a host by the process that attaches it, and the workload runs there.
    case exported
    /// Two or three daemons that succeed each other as the volume's owner, a registry, and two hosts with a path to each daemon.
    case succession
    /// Which of the others a world is, its seed decides.
    case mixed

    /// The family of a seed's world.
    func resolved(seed: UInt64) -> ProfileFamily {
        guard self == .mixed else { return self }
        var random = SeededRandom(seed: seed ^ 0x6661_6d69)
        switch Int.random(in: 0..<100, using: &random) {
        case 0: return .real
        case ..<40: return .dense
        case ..<60: return .wide
        case ..<65: return .exported
        default: return .small
        }
    }
}

extension Profile {
    /// The profile that a seed means in a family.
    ///
    /// - Parameter isSparse: a third of the I/Os in the same time, as worlds had when the seeds were found that tests still run.
    public init(seed: UInt64, family: ProfileFamily, isSparse: Bool = false) {
        self.init(seed: seed)
        // Most of the time that a world costs goes by between its I/Os: more of them are nearly free.
        if !isSparse { operations *= 3 }
        var random = SeededRandom(seed: seed ^ 0x7769_6465)
        switch family.resolved(seed: seed) {
        case .small, .mixed: break
        case .dense: condense(FaultKind.narrow, &random)
        case .exported:
            if Bool.random(using: &random) { condense(FaultKind.narrow, &random) }
            exports = true
            drawQueues(seed)
        case .wide:
            widen(&random)
            // Worlds of seeds that were found before stay as they were.
            guard !isSparse else { break }
            drawUses(seed: seed)
            if !isUnfenced, !formersAreUsed { drawSecondVolume(seed, percent: 20) }
        case .paired:
            widen(&random)
            drawSecondVolume(seed, percent: 100)
        case .real: becomeReal(&random)
        case .succession: becomeShared(&random)
        }
    }

    /// Three to five kinds of faults, often.
    private mutating func condense(_ kinds: [FaultKind], _ random: inout SeededRandom) {
        faults = Set(kinds.shuffled(using: &random).prefix(Int.random(in: 3...5, using: &random)))
        faultInterval = 15_000_000
    }

    private mutating func widen(_ random: inout SeededRandom) {
        func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
        if Bool.random(using: &random) {
            condense(FaultKind.ofVolumes, &random)
        } else {
            let share = Int.random(in: 15...80, using: &random)
            for kind in FaultKind.wide where chance(share) { faults.insert(kind) }
        }
        if chance(40) {
            blockSize = 4096
            maximumTransfer = [8192, 16384, 32768].randomElement(using: &random)!
            regionSize = UInt32(maximumTransfer) << UInt32.random(in: 0...2, using: &random)
        } else {
            maximumTransfer = [4096, 4096, 8192].randomElement(using: &random)!
            regionSize = UInt32(maximumTransfer) << UInt32.random(in: 0...2, using: &random)
        }
        awaitsCleanMaps = true
        replacesUnhealthy = chance(30)
        disksAreStrict = chance(70)
        forgivesOnlyLosses = chance(50)
        looksClosely = chance(25)
        for member in makes.indices {
            makes[member].reactors = Int.random(in: 1...3, using: &random)
            makes[member].extraBlocks = UInt64.random(in: 0...20, using: &random)
            if chance(50) { makes[member].drift = Int64.random(in: -200...200, using: &random) }
            guard chance(35) else { continue }
            makes[member].tellsInstances = chance(50)
            makes[member].quiesces = chance(50)
            makes[member].countsTraffic = chance(50)
            makes[member].keepsReservations = chance(50)
        }
        if chance(50) { initiatorDrift = Int64.random(in: -200...200, using: &random) }
        if chance(20) {
            onlyFaulty = MemberIndex(Int.random(in: 0..<memberCount, using: &random))
            faults.formIntersection(
                FaultKind.ofOneMember.union([.initiatorCrash, .initiatorPowerLoss, .scrub, .cleanDetach]))
            if faults.isEmpty { faults = [.targetKill, .slowDisk, .partition] }
            minimumCopies = min(minimumCopies, 2)
        }
        if chance(8) { spread() }
    }

    /// Several queues of the host that the volume is served to, which land at different reactors. Apart from the other draws, as what
    /// is drawn of a second volume: worlds without them are what they were before.
    private mutating func drawQueues(_ seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x7175_6575)
        guard Bool.random(using: &random) else { return }
        hostQueues = Int.random(in: 2...3, using: &random)
        servingReactors = Int.random(in: 1...3, using: &random)
    }

    private mutating func drawSecondVolume(_ seed: UInt64, percent: Int) {
        var random = SeededRandom(seed: seed ^ 0x7365_636f)
        guard Int.random(in: 0..<100, using: &random) < percent else { return }
        secondVolume = SecondVolumePlace.allCases.randomElement(using: &random)
    }

    /// Bitmaps of two pages, and I/O on both sides of their boundary and at the volume's beginning. Nobody copies or reads all of the
    /// volume, or grows it.
    private mutating func spread() {
        (blockSize, regionSize, maximumTransfer) = (4096, 8192, 8192)
        guard let one = try? VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: dataBlocks)
        else { invariantViolated("a simulated volume has a geometry") }
        places.low = Int(dataBlocks) / 2
        places.gap = one.bitsPerPage * Int(one.blocksPerRegion) - Int(dataBlocks) * 3 / 4
        dataBlocks += UInt64(places.gap)
        // A page of a bitmap that is lost has 32256 regions copied: on slow disks nothing else would happen for minutes.
        if transit.upperBound > 100_000 { transit = 5_000...100_000 }
        if diskLatency.upperBound > 1_000_000 { diskLatency = 50_000...1_000_000 }
        faults.subtract([.replace, .replaceBySame, .replaceByFormer, .scrub, .grow])
        if faults.isEmpty { faults = [.targetKill, .initiatorCrash, .partition] }
        rots = false
    }

    /// Daemons, and the faults and times of their worlds: leases last a second.
    private mutating func becomeShared(_ random: inout SeededRandom) {
        daemons = Int.random(in: 2...3, using: &random)
        let share = Int.random(in: 20...70, using: &random)
        let kinds = FaultKind.allCases.filter {
            FaultKind.ofDaemons.contains($0) || FaultKind.ofMembersOfDaemons.contains($0)
        }
        faults = Set(kinds.filter { _ in Int.random(in: 0..<100, using: &random) < share })
        faultInterval = [10_000_000, 20_000_000, 60_000_000].randomElement(using: &random)!
        scale = 5
        operations = [100, 300, 600].randomElement(using: &random)!
        dataBlocks = 64
        (inCapsuleDataSize, sharedReceiveEntries) = (1024, 64)
        if transit.upperBound > 100_000 { transit = 5_000...100_000 }
        if diskLatency.upperBound > 1_000_000 { diskLatency = 50_000...1_000_000 }
        var added = SeededRandom(seed: random.next())
        if Int.random(in: 0..<3, using: &added) > 0 {
            preferredDaemon = Int.random(in: 0..<daemons, using: &added)
            failBack = Bool.random(using: &added) ? .quiet : .always
        }
        // Longer than a lease, as it may be: then a member knows an owner that stood still, and its writes are fenced or land.
        keepAliveMilliseconds = [100, 1000, 2000].randomElement(using: &random)!
        // The lease allows for a tenth.
        if Bool.random(using: &random) {
            daemonDrift = daemonDrift.map { _ in Int64.random(in: -90_000...90_000, using: &random) }
        }
    }

    /// Sizes and timeouts as volumes have them, and faults at their scale.
    private mutating func becomeReal(_ random: inout SeededRandom) {
        blockSize = 4096
        regionSize = 1 << 20
        maximumTransfer = 128 << 10
        dataBlocks = UInt64.random(in: 8...16, using: &random) * 256
        awaitsCleanMaps = true
        disksAreStrict = true
        keepAliveMilliseconds = 2000
        commandQuiesceMilliseconds = 1000
        slowMargin = 50_000_000
        slowDuration = 100_000_000
        scale = 50
        operations = 2000
        for member in makes.indices { makes[member].drift = Int64.random(in: -200...200, using: &random) }
    }
}
