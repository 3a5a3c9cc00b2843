import Base
import BlockInterface
import FabricInterface
import NVMeTarget
import Replication
import Simulation
import VolumeDriver

/// How a world ended.
public struct WorldResult: Sendable {
    public var seed: UInt64
    /// The first failure; `nil` if there is none.
    public var failure: String?
    /// The oracle that noticed it.
    public var oracle: Oracle?
    /// Equal for two runs with the same history.
    public var hash: UInt64
    public var counts: SimulationCounts
    /// The faults that happened.
    public var faults: [Fault]
}

extension Profile {
    /// Lets the world of a seed live, with daemons or without.
    ///
    /// - Parameters:
    ///   - schedule: the faults; those that the seed means where it is `nil`.
    ///   - trace: called with each line of the world's history.
    public func run(seed: UInt64, schedule: [Fault]? = nil, trace: ((String) -> Void)? = nil) -> WorldResult {
        daemons > 0
            ? SuccessionWorld(seed: seed, profile: self, schedule: schedule, trace: trace).run()
            : VolumeWorld(seed: seed, profile: self, schedule: schedule, trace: trace).run()
    }
}

/// One simulated world: three real targets on simulated disks, real initiators with real volumes one after another or
/// against each other, a simulated network, faults, a workload and the oracles; in one thread, in virtual time, all of it
/// decided by one seed.
public final class VolumeWorld {
    public let seed: UInt64
    public let profile: Profile
    let network: SimulatedNetwork
    let targets: [TargetMachine]
    /// The same, for each step: counting references would cost more than the look.
    private let looks: [Unmanaged<TargetMachine>]
    let format: VolumeFormat
    var initiators: [InitiatorProcess] = []
    /// Those that have not ended.
    var alive: [InitiatorProcess] = [] { didSet { aliveLooks = alive.map { .passUnretained($0) } } }
    private var aliveLooks: [Unmanaged<InitiatorProcess>] = []
    /// The initiator that served last.
    var serving: InitiatorProcess?
    var history: BlockHistory
    /// The members' sizes as the registry knows them, and the members that were replaced and have not everything yet.
    var registeredBlocks: [UInt64]
    var fresh: MemberSet = []
    /// Members in whose places a former namespace is just now; and those in whose places one has been.
    var strangers: MemberSet = []
    var hadStrangers: MemberSet = []
    var isGrowing = false
    /// An initiator begins once the former one's associations are over.
    var isStartDue = false
    /// A second volume of the same hosts on the same targets; `nil` where there is none.
    private(set) var second: SecondVolume?
    private var random: SeededRandom
    private var values: UInt64 = 0
    let duration: UInt64
    let thinkTime: UInt64
    let wordsPerBlock: Int

    // Faults.
    let schedule: [Fault]
    var happened: [Fault] = []
    var isHealing = false
    var isFinished = false
    /// When all was done but the looking for leftovers, which only takes time.
    var healedAt: MonotonicTime?
    var links = LinkFaults() { didSet { linksChanged() } }
    /// The initiator crashes with the first acknowledgement after it has lost this member.
    var crashesAtLossOf: MemberIndex?
    var crashesAtAcknowledgement: MemberIndex?
    /// The last initiator died with writes under way.
    var crashedWithWrites = false
    /// Members that can be reached again with a record of an older epoch.
    var returnsBehind = [false, false, false]
    /// Metadata has been written since coverage was looked at.
    var isCoverageDue = false
    /// The region that has gone bad, where one has.
    var rottenRegion: RegionIndex?

    // Polling.
    /// The network's `news` when all were asked last, and nobody had anything to do.
    private var seenNews: UInt64 = .max
    /// The earliest deadline of a process that runs; the same with what disks will end.
    private var nextDeadline = MonotonicTime.distantFuture
    private var nextPoll = MonotonicTime(nanoseconds: 0)
    var records = RecordCache()

    // Results.
    var completedOperations: UInt64 = 0
    var counts = SimulationCounts()
    private(set) var failure: String?
    private var noticedBy: Oracle?
    /// Oracles that have no say, because a test means what they would notice.
    var silenced: Set<Oracle> = []
    private let tracer: ((String) -> Void)?

    static let volume = UUIDBytes(high: 0x5445_5243, low: 0x4554)
    /// How long an I/O may take while one member is at fault: a command's timeout, a reconnect, and what waits for those.
    static let longestOperation: UInt64 = 1_000_000_000

    /// - Parameters:
    ///   - schedule: the faults; those that the seed means where it is `nil`.
    ///   - trace: called with each line of the world's history.
    public init(
        seed: UInt64, profile: Profile? = nil, schedule: [Fault]? = nil, trace: ((String) -> Void)? = nil
    ) {
        let profile = profile ?? Profile(seed: seed)
        self.seed = seed
        self.profile = profile
        tracer = trace
        network = SimulatedNetwork(seed: seed)
        network.delays.transportTimeoutNanoseconds = 40_000_000 * (profile.scale > 1 ? 12 : 1)
        network.delays.connectTimeoutNanoseconds = 100_000_000 * (profile.scale > 1 ? 40 : 1)
        network.delays.transit = profile.transit
        random = SeededRandom(seed: seed ^ 0x776f_726b)
        duration = profile.duration(seed: seed)
        thinkTime = duration / UInt64(max(profile.operations, 1))
        self.schedule = schedule ?? profile.faults(seed: seed)
        wordsPerBlock = Int(profile.blockSize) / 8
        let candidates = (0..<memberCount).map {
            MemberCandidate(
                uuid: UUIDBytes(high: 7, low: UInt64($0) + 1), blockSize: profile.blockSize,
                blocks: profile.memberBlocks(MemberIndex($0)))
        }
        guard
            let format = try? VolumeFormat(
                volume: Self.volume, members: candidates, regionSize: profile.regionSize,
                dataBlocks: profile.dataBlocks, fencing: profile.isUnfenced ? .none : .reservations,
                minimumCopies: profile.minimumCopies, contents: profile.beginsBlank ? .blank : .written)
        else { invariantViolated("a simulated volume can be formatted") }
        self.format = format
        registeredBlocks = candidates.map(\.blocks)
        history = BlockHistory(blocks: profile.places.count(in: format.geometry.dataBlocks))
        let network = network
        targets = MemberSet.all.map {
            TargetMachine($0, network: network, profile: profile)
        }
        looks = targets.map { .passUnretained($0) }
        for target in targets {
            target.write(format)
            if tracer != nil { observe(target) }
        }
        for target in targets { watch(target, format.layouts[target.index]) }
        links.random = SeededRandom(seed: seed ^ 0x6c69_6e6b)
        second = profile.secondVolume.map { SecondVolume(self, $0) }
    }

    /// Has metadata tear where disks are strict, and coverage looked at after each write of it where the world looks closely.
    func watch(_ target: TargetMachine, _ layout: MemberLayout) {
        if profile.disksAreStrict, profile.machineDefect != .dataTorn {
            target.disk.behaviour.tearing = layout.mapsStart..<UInt64.max
        }
        guard profile.looksClosely else { return }
        target.disk.watched = layout.mapsStart..<UInt64.max
        target.disk.watcher = { [unowned self] in isCoverageDue = true }
    }

    private func observe(_ target: TargetMachine) {
        // One thread drives a simulation; the target's observer is Sendable because real targets have reactors of their own.
        nonisolated(unsafe) let world = self
        let index = target.index
        target.observe = { event in world.trace { "target \(index) \(event)" } }
    }

    /// The network asks for the fate of each message only while something is wrong.
    private func linksChanged() {
        let isWhole = links.isWhole
        guard isWhole != (network.fate == nil) else { return }
        network.fate = isWhole ? nil : { [unowned self] in links.fate($0) }
        network.acknowledgementFate = network.fate
    }

    /// The namespace has been another volume's for long.
    func writeForeignRecord(to target: TargetMachine) {
        let index = target.index
        let foreign = Superblock(
            sequence: 40, volume: UUIDBytes(high: 1, low: 1), member: index, geometry: format.geometry, isClean: false,
            stamp: RecordStamp(attachmentKey: 9 << 32, version: 7),
            members: format.layouts.map { MemberRecord(uuid: UUIDBytes(high: 1, low: 2), blocks: $0.memberBlocks) })
        guard
            let slot = MemberLayout.slotBlock(
                0, memberBlocks: target.disk.geometry.blockCount, blockSize: profile.blockSize)
        else { return }
        target.writePage {
            foreign.encode(into: $0)
            return slot
        }
    }

    // MARK: Chance

    func draw(_ range: ClosedRange<UInt64>) -> UInt64 { .random(in: range, using: &random) }
    func below(_ limit: Int) -> Int { Int.random(in: 0..<max(limit, 1), using: &random) }
    func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// A value that no write has had.
    func nextValue() -> UInt64 {
        values += 1
        return values
    }

    // MARK: What is noted

    func trace(_ line: () -> String) {
        if let tracer { tracer("\(network.now.nanoseconds / 1000 - 1_000_000) us: \(line())") }
    }

    func fail(_ oracle: Oracle, _ what: String) {
        guard !silenced.contains(oracle) else { return }
        trace { "FAILURE \(what)" }
        guard failure == nil else { return }
        failure = what
        noticedBy = oracle
    }

    func meet(_ branch: MatrixBranch) { counts.meet(branch) }

    func note(_ status: BlockStatus) {
        switch status {
        case .unavailable: meet(.inputOutputFailsSuspended)
        case .unrecoveredReadError, .writeFault: meet(.mediaErrorReturned)
        default: break
        }
    }

    func count(_ operation: BlockOperation) { counts.submitted[Int(operation.rawValue)] += 1 }

    /// When each member last lost a block of the volume, as far as anybody can know: which of several members that were down
    /// lost what, no volume can tell. Where only losses are forgiven, one at least must have lost the block really.
    func lastLosses(of block: Int) -> [UInt64] {
        let lost =
            profile.forgivesOnlyLosses
            ? targets.reduce(0) { max($0, $1.disk.revertedAt[profile.places.address(of: block)]) } : UInt64.max
        let untold = targets.filter { !profile.makes[$0.index.number].tellsInstances }
        // Of members that do not tell, a volume cannot know which has been down.
        let lastOfUntold = untold.reduce(0) { max($0, $1.lastStop) }
        return targets.map {
            min(profile.makes[$0.index.number].tellsInstances ? $0.lastStop : lastOfUntold, lost)
        }
    }

    // MARK: The run

    /// Lets the world live, heals it, and looks at what is left.
    public func run() -> WorldResult {
        for target in targets { target.start() }
        startInitiator()
        for fault in schedule {
            network.schedule(afterNanoseconds: fault.time) { [unowned self] in
                guard !isHealing, failure == nil else { return }
                inject(fault)
            }
        }
        let lastFault = network.now.advanced(byNanoseconds: duration)
        run(until: lastFault) { false }
        if failure == nil { heal() }
        endAll()
        counts.worlds = 1
        counts.simulated = (healedAt ?? network.now).nanoseconds - 1_000_000_000
        counts.acknowledged = completedOperations
        counts.initiators = UInt64(initiators.count)
        counts.messages = network.counters.messages
        if network.counters.receiverNotReady > 0 { meet(.receiverNotReady) }
        if network.counters.remoteAccessErrors > 0 { meet(.remoteAccessError) }
        if targets.contains(where: { $0.disk.capacityRefusals > 0 }) { meet(.memberFull) }
        if targets.contains(where: { $0.readWaits > 0 }) { meet(.readHeldBack) }
        network.note(completedOperations)
        network.note(values)
        network.close()
        return WorldResult(
            seed: seed, failure: failure, oracle: noticedBy, hash: network.historyHash, counts: counts, faults: happened
        )
    }

    private func endAll() {
        second?.isFinished = true
        for initiator in alive { end(initiator, isSilent: false) }
        for target in targets { target.stop(power: false, isSilent: false) }
    }

    /// Ends a world that was not run to its end.
    func close() {
        endAll()
        network.close()
    }

    /// Lets time pass until the condition holds, or something is wrong; returns whether it holds.
    @discardableResult
    func run(until end: MonotonicTime, _ condition: () -> Bool) -> Bool {
        network.tellNews()
        while failure == nil {
            if condition() { return true }
            if network.now >= end { return false }
            step(until: end)
        }
        return false
    }

    /// Virtual nanoseconds that a round of polling takes.
    private static let roundNanoseconds: UInt64 = 1_000

    private func step(until end: MonotonicTime) {
        let now = network.now
        // Most steps only carry messages: while nothing has come in, nobody was polled in the last step and no time is over,
        // nobody is asked.
        let isBusy = (network.news != seenNews || now >= nextPoll) && pollAll(now)
        if isCoverageDue {
            isCoverageDue = false
            checkCoverage("metadata was written")
        }
        let next = now.advanced(byNanoseconds: Self.roundNanoseconds)
        network.run(until: isBusy ? next : max(next, min(end, min(nextDeadline, network.nextEventTime))))
    }

    /// Polls whoever may have something to do; `true` where there may be more at once.
    private func pollAll(_ now: MonotonicTime) -> Bool {
        let news = network.news
        var isBusy = false
        var isAnyPolled = false
        nextDeadline = .distantFuture
        nextPoll = .distantFuture
        for place in looks.indices {
            looks[place]._withUnsafeGuaranteedRef { target in
                let outcome = target.pollIfDue(now)
                if outcome.isBusy { isBusy = true }
                if outcome.isPolled { isAnyPolled = true }
                nextDeadline = min(nextDeadline, outcome.deadline)
                if !target.isPaused, target.isUp { nextPoll = min(nextPoll, target.nextDiskPoll) }
            }
        }
        // One may end while it is polled; `initiators` keeps it.
        for look in aliveLooks {
            look._withUnsafeGuaranteedRef { initiator in
                guard !initiator.isPaused else { return }
                let rounds = initiator.rounds
                if initiator.pollIfDue(now) { isBusy = true }
                if initiator.rounds != rounds { isAnyPolled = true }
                nextDeadline = min(nextDeadline, initiator.deadline)
            }
        }
        nextPoll = min(nextPoll, nextDeadline)
        // A process that was polled may have left letters to itself.
        seenNews = isAnyPolled ? network.news &- 1 : news
        return isBusy
    }
}
