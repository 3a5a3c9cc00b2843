import Base
import Replication
import Simulation
import Succession
import TargetInterface
import VolumeDriver

/// How one world is to be; all of it follows from the seed, unless a test says otherwise.
public struct Profile: Sendable {
    /// I/Os of the workload; none but what a test asks for where it is 0.
    public var operations = 250
    /// I/Os that run at once.
    public var depth = 6
    /// Faults that may happen, and the mean time between two of them in nanoseconds.
    public var faults: Set<FaultKind> = Set(FaultKind.ofVolumes)
    public var faultInterval: UInt64 = 30_000_000
    public var maximumFaults = 60
    public var blockSize: UInt32 = 512
    public var dataBlocks: UInt64 = 96
    public var inCapsuleDataSize = 4096
    /// The places in the volume that I/O goes to.
    var places = BlockPlaces()
    /// Nanoseconds of a message, one way, and of a disk's operation.
    public var transit: ClosedRange<UInt64> = 1_000...3_000
    public var diskLatency: ClosedRange<UInt64> = 10_000...100_000
    /// Of a hundred blocks that are overwritten in a disk's cache, how many have reached the media before.
    public var destagedPercent = 0
    /// RDMA READs that a device has running at once.
    public var readDepth = 16
    public var sharedReceiveEntries = 128
    public var minimumCopies = 2
    public var suspendPolicy = SuspendPolicy.wait
    public var keepAliveMilliseconds: UInt32 = 100
    public var commandQuiesceMilliseconds: UInt64 = 50
    /// When a member counts as slow: see `VolumeConfiguration`.
    public var slowMargin: UInt64 = 50_000_000
    public var slowDuration: UInt64 = 100_000_000
    public var slowCooldown: UInt64 = 20_000_000
    /// How long reservations stay after a writer was fenced, in nanoseconds; and whether initiators have one clock, which has a
    /// number then.
    public var releaseDelay: UInt64 = 1_000_000_000
    public var clock: UInt64 = 0
    /// The volume has just been created: its record says that nothing was ever written.
    public var beginsBlank = false
    /// A block goes bad on one member at the end, below all that the volume knows of, and a scrub has to find it.
    public var rots = false
    /// Bytes of a region, and of the largest transfer.
    public var regionSize: UInt32 = 4096
    public var maximumTransfer = 4096
    /// The kinds of machines that the members are.
    var makes = [MemberMake(), MemberMake(), MemberMake()]
    /// Parts per million by which initiators' clocks are faster.
    var initiatorDrift: Int64 = 0
    /// Disks keep no more than NVMe promises: flushes cover what had completed before, and a loss of power may leave metadata
    /// torn within a block.
    var disksAreStrict = false
    /// A write that was acknowledged counts as lost where a disk has lost it, and not where it might have.
    var forgivesOnlyLosses = false
    /// An operator replaces members of volumes that lack another one, too.
    var replacesUnhealthy = false
    /// At the end bits have to be cleared before a detach asks for it.
    var awaitsCleanMaps = false
    /// Coverage is looked at after each write of a page or a record.
    var looksClosely = false
    /// Nothing fences writers, as the members offer no reservations: one host alone attaches the volume, as its operator sees to.
    var isUnfenced = false
    /// At the end a member reads a region from beside where it is while a scrub runs.
    var misreadsScrub = false
    /// A namespace that was a member's is used otherwise before it is the member's again.
    var formersAreUsed = false
    /// All faults are this one member's: the volume has to serve, and to keep the others, whatever happens to it.
    public var onlyFaulty: MemberIndex?
    /// By how much longer everything takes than in the small profile: faults, their spans, and timeouts.
    public var scale: UInt64 = 1
    /// The volume is served to a host by the process that attaches it, and the workload runs there.
    public var exports = false
    /// I/O queues of that host, and reactors of the process that serve it.
    var hostQueues = 1
    var servingReactors = 1
    /// A second volume of the same hosts has its members on the same targets, here.
    var secondVolume: SecondVolumePlace?
    /// Daemons that offer the volume to hosts and succeed each other; none where the world is one of initiators.
    public var daemons = 0
    /// Parts per million by which their clocks are faster: the lease allows for a tenth.
    var daemonDrift: [Int64] = [0, 0, 0]
    /// The daemon that prefers the volume, by its place, and when it comes back; `nil` where none does.
    var preferredDaemon: Int?
    var failBack = FailBack.quiet
    /// A bug in the succession, or in what a daemon does for it.
    package var successionDefect = SuccessionDefect.none
    /// A bug in the engine, for tests that show that the simulation notices.
    package var deliberateFault = DeliberateFault.none
    /// A promise that the machines do not keep, for the same.
    package var machineDefect: MachineDefect?
    /// A bug in the target, or in the driver of volumes.
    package var targetDefect = DeliberateDefect.none
    package var driverDefect = VolumeDefect.none

    public init() {}

    /// The profile that a seed means.
    public init(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x7072_6f66)
        // Each world sees some kinds of faults only: rare combinations come up more often so.
        let share = Int.random(in: 15...80, using: &random)
        let kinds = FaultKind.narrow.filter { !FaultKind.added.contains($0) }
        faults = Set(kinds.filter { _ in Int.random(in: 0..<100, using: &random) < share })
        faultInterval = [8_000_000, 20_000_000, 40_000_000, 100_000_000].randomElement(using: &random)!
        depth = Int.random(in: 1...10, using: &random)
        operations = [60, 200, 400].randomElement(using: &random)!
        dataBlocks = UInt64.random(in: 64...128, using: &random)
        inCapsuleDataSize = [0, 1024, 4096].randomElement(using: &random)!
        transit = [1_000...3_000, 5_000...100_000, 20_000...800_000].randomElement(using: &random)!
        diskLatency = [10_000...100_000, 50_000...1_000_000, 200_000...4_000_000].randomElement(using: &random)!
        readDepth = [1, 2, 16].randomElement(using: &random)!
        sharedReceiveEntries = [4, 8, 24, 128].randomElement(using: &random)!
        minimumCopies = [1, 2, 2, 2].randomElement(using: &random)!
        suspendPolicy = Int.random(in: 0..<5, using: &random) == 0 ? .fail : .wait
        rots = Int.random(in: 0..<20, using: &random) == 0
        // Faults last milliseconds here, and commands time out after a hundred: in half of the worlds that is slow already.
        if Bool.random(using: &random) {
            slowMargin = 2_000_000
            slowDuration = 10_000_000
        }
        if Int.random(in: 0..<15, using: &random) == 0 { minimumCopies = 3 }
        for kind in FaultKind.added {
            if Int.random(in: 0..<100, using: &random) < share { faults.insert(kind) }
        }
        // Apart from the others, as those kinds are.
        var added = SeededRandom(seed: seed ^ 0x6c61_7465)
        destagedPercent = [0, 10, 50].randomElement(using: &added)!
    }

    /// Bytes of a buffer: eight blocks, and what is compared beside what is written, or the largest transfer.
    var bufferBytes: Int { max(8 * Int(blockSize), min(maximumTransfer, 8 * Int(blockSize))) }

    private var pagesPerMap: Int {
        (try? VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: dataBlocks))?.pagesPerMap ?? 1
    }

    /// Virtual nanoseconds for which faults happen.
    func duration(seed: UInt64) -> UInt64 {
        var random = SeededRandom(seed: seed ^ 0x6475_7261)
        return UInt64.random(in: 50_000_000...1_200_000_000, using: &random) * scale
    }

    /// Blocks of a member: the volume's, its metadata, and some that are not used.
    func memberBlocks(_ member: MemberIndex) -> UInt64 {
        let page = max(4096, UInt64(blockSize)) / UInt64(blockSize)
        // Two records, three bitmaps, and a page that is not used.
        let pages = 2 + 3 * UInt64(pagesPerMap) + 1
        return (dataBlocks + pages * page + page - 1) / page * page + makes[member].extraBlocks
    }

    /// The faults that a seed means under this profile, in the order of their times; those of the kinds that were added
    /// later come after them, in the order of theirs.
    public func faults(seed: UInt64) -> [Fault] {
        let others = faults.subtracting(FaultKind.added + FaultKind.ofUses)
        let end = duration(seed: seed)
        var schedule = draw(others, seed: seed ^ 0x6661_756c, interval: faultInterval, until: end)
        // Each kind as often as any of the others, or a little more.
        let interval = others.isEmpty ? faultInterval : faultInterval * UInt64(others.count) / 4
        for (place, kind) in (FaultKind.added + FaultKind.ofUses).enumerated() where faults.contains(kind) {
            schedule += draw([kind], seed: (seed ^ 0x6164_6465) &+ UInt64(place) << 48, interval: interval, until: end)
        }
        return schedule
    }

    private func draw(_ kinds: Set<FaultKind>, seed: UInt64, interval: UInt64, until end: UInt64) -> [Fault] {
        var random = SeededRandom(seed: seed)
        let kinds = FaultKind.allCases.filter(kinds.contains)
        guard !kinds.isEmpty else { return [] }
        var schedule: [Fault] = []
        var time: UInt64 = 0
        while schedule.count < maximumFaults {
            time += (1_000_000 + UInt64.random(in: 0...2 * interval, using: &random)) * scale
            if time >= end { break }
            let longest: UInt64 = Int.random(in: 0..<4, using: &random) == 0 ? 400_000_000 : 60_000_000
            let kind = kinds.randomElement(using: &random)!
            let member = MemberIndex(Int.random(in: 0..<memberCount, using: &random))
            schedule.append(
                Fault(
                    kind: kind, time: time, member: onlyFaulty ?? member,
                    span: UInt64.random(in: 500_000...longest, using: &random) * scale, choice: random.next()))
        }
        return schedule
    }
}
