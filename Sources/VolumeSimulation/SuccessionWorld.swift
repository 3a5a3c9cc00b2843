import Base
import BlockInterface
import FabricInterface
import NVMeInitiator
import Replication
import Simulation
import Succession
import VolumeDriver
import VolumeRegistry

/// One simulated world of daemons that succeed each other: three real targets on simulated disks; two or three daemons, each with the
/// state machine of succession, the real volume and a real target; a registry with leases; and two hosts with a path to each daemon. In
/// one thread, in virtual time, all of it decided by one seed.
final class SuccessionWorld {
    let seed: UInt64
    let profile: Profile
    let network: SimulatedNetwork
    let targets: [TargetMachine]
    let format: VolumeFormat
    /// The volume's record, as daemons find it when they begin.
    let record: Superblock
    private(set) var daemons: [SuccessionDaemon] = []
    private(set) var hosts: [MultipathHost] = []
    private(set) lazy var reservation = HostReservation(self)
    let registry: MemoryOwners
    var history: BlockHistory
    private var random: SeededRandom
    private var values: UInt64 = 0
    let faultNanoseconds: UInt64
    let thinkTime: UInt64
    let wordsPerBlock: Int
    /// The devices of all attachments so far, to see that they are given back.
    private(set) var devices: [SimulatedDevice] = []

    // Faults.
    let schedule: [Fault]
    var happened: [Fault] = []
    var isHealing = false
    var links = SuccessionLinks() { didSet { linksChanged() } }
    /// Daemons that the registry does not hear, or whose answers are lost; and those whose answers come late.
    var registryCuts: Set<Int> = []
    var answerCuts: Set<Int> = []
    var slowRegistry: Set<Int> = []

    /// The attachments that have served, and since when they say so. One that stood still while it attached says so late: the order in
    /// which they could write is that of their keys.
    private(set) var tenures: [Tenure] = []
    struct Tenure {
        var daemon: Int
        var key: UInt64
        var began: MonotonicTime
    }

    /// When each daemon last reached all that it needs to serve, and when that is looked at next.
    var livedAt = Array(repeating: MonotonicTime(nanoseconds: 1_000_000_000), count: 3)
    var notesAt = MonotonicTime(nanoseconds: 0)

    // Results.
    var counts = SimulationCounts()
    private(set) var failure: String?
    private var noticedBy: Oracle?
    private var completed: UInt64 = 0
    private let tracer: ((String) -> Void)?

    init(seed: UInt64, profile: Profile, schedule: [Fault]?, trace: ((String) -> Void)?) {
        self.seed = seed
        self.profile = profile
        tracer = trace
        network = SimulatedNetwork(seed: seed)
        network.delays.transportTimeoutNanoseconds = 40_000_000
        network.delays.connectTimeoutNanoseconds = 100_000_000
        network.delays.transit = profile.transit
        random = SeededRandom(seed: seed ^ 0x7375_6363)
        links.random = SeededRandom(seed: seed ^ 0x6c69_6e6b)
        faultNanoseconds = profile.duration(seed: seed)
        thinkTime = faultNanoseconds / UInt64(max(profile.operations, 1))
        self.schedule = schedule ?? profile.faults(seed: seed)
        wordsPerBlock = Int(profile.blockSize) / 8
        let candidates = (0..<memberCount).map {
            MemberCandidate(
                uuid: UUIDBytes(high: 7, low: UInt64($0) + 1), blockSize: profile.blockSize,
                blocks: profile.memberBlocks(MemberIndex($0)))
        }
        guard
            let format = try? VolumeFormat(
                volume: VolumeWorld.volume, members: candidates, regionSize: profile.regionSize,
                dataBlocks: profile.dataBlocks, minimumCopies: 2, contents: .written)
        else { invariantViolated("a simulated volume can be formatted") }
        self.format = format
        record = Superblock(
            sequence: 1, volume: VolumeWorld.volume, member: MemberIndex(0), geometry: format.geometry, isClean: true,
            stamp: RecordStamp(attachmentKey: 1 << 32, version: 1),
            members: format.layouts.map { MemberRecord(uuid: UUIDBytes(high: 1, low: 2), blocks: $0.memberBlocks) })
        history = BlockHistory(blocks: Int(format.geometry.dataBlocks))
        let network = network
        nonisolated(unsafe) let clock = network
        registry = MemoryOwners { clock.now }
        targets = MemberSet.all.map { TargetMachine($0, network: network, profile: profile) }
        for target in targets { target.write(format) }
        daemons = (0..<profile.daemons).map { SuccessionDaemon($0, world: self) }
        hosts = (0..<2).map { MultipathHost($0, world: self) }
    }

    private func linksChanged() {
        let isWhole = links.isWhole
        guard isWhole != (network.fate == nil) else { return }
        network.fate = isWhole ? nil : { [unowned self] in links.fate($0) }
        network.acknowledgementFate = network.fate
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
        trace { "FAILURE \(what)" }
        guard failure == nil else { return }
        failure = what
        noticedBy = oracle
    }

    func acknowledged() { completed += 1 }

    // MARK: Attachments

    /// Has a daemon attach the volume.
    func attach(_ daemon: SuccessionDaemon) -> OwnedVolume {
        var configuration = VolumeConfiguration(volume: VolumeWorld.volume, blockSize: profile.blockSize)
        configuration.queueDepth = 16
        configuration.maximumTransfer = profile.maximumTransfer
        configuration.formattedBlocks = format.layouts.map(\.memberBlocks)
        configuration.commandTimeout = 100_000_000
        configuration.attachGrace = 30_000_000
        configuration.joinTimeout = 300_000_000
        configuration.reconnectDelay = 2_000_000
        configuration.reconnectDelayMaximum = 20_000_000
        configuration.housekeepingInterval = 20_000_000
        configuration.releaseDelay = profile.releaseDelay
        let number = devices.count + 1
        let name = daemon.name
        let made = OwnedVolume(
            number, node: daemon.node, network: network, members: targets.map(\.address), configuration: configuration,
            profile: profile, now: daemon.now
        ) { [unowned self] event in trace { "\(name), attachment \(number): \(event)" } }
        devices.append(made.device)
        counts.initiators += 1
        trace { "\(name) attaches (\(number))" }
        return made
    }

    /// Whether a daemon other than this one has the volume attached, or is about to.
    func isAttached(butBy daemon: SuccessionDaemon) -> Bool {
        daemons.contains { $0 !== daemon && $0.owned?.isLost == false }
    }

    func attachmentEnds(_ attachment: OwnedVolume) { trace { "attachment \(attachment.number) ends" } }

    /// A daemon has the volume, and tells hosts to come.
    func serves(_ daemon: SuccessionDaemon) {
        trace { "\(daemon.name) serves" }
        counts.ownerships += 1
    }

    /// Notes an attachment that can write from now on.
    private func noteTenures() {
        for daemon in daemons {
            guard let owned = daemon.owned, owned.blockDevice != nil, !owned.isNoted else { continue }
            owned.isNoted = true
            tenures.append(Tenure(daemon: daemon.place, key: owned.key, began: network.now))
        }
    }

    /// Whether a daemon reaches two members.
    func reachesMembers(_ place: Int) -> Bool {
        let node = SuccessionLinks.daemonNode(place)
        return targets.count { $0.isUp && !$0.isPaused && !links.isCut(node, $0.index.number) } >= 2
    }

    /// A daemon's process ends, and its machine lives: others that reach that machine hear that nobody listens there, unless it has been
    /// started again by then.
    func processEnds(_ daemon: SuccessionDaemon, _ lease: LeaseNumber?) {
        guard let lease else { return }
        for other in daemons where other !== daemon {
            network.schedule(afterNanoseconds: draw(20_000_000...300_000_000)) { [unowned self] in
                guard !daemon.isAlive, !links.isCut(daemon.node, other.node) else { return }
                other.hear(.peerGone(lease))
            }
        }
    }

    // MARK: The registry

    /// Carries a call to the registry, and its answer back.
    func callRegistry<Answer>(
        of daemon: SuccessionDaemon, _ body: @escaping (MemoryOwners) -> Answer, answer: @escaping (Answer) -> Void
    ) {
        let place = daemon.place
        let (there, back) = (registryDelay(place), registryDelay(place))
        network.schedule(afterNanoseconds: there) { [unowned self] in
            guard !registryCuts.contains(place) else { return }
            let result = body(registry)
            guard !answerCuts.contains(place) else { return }
            network.schedule(afterNanoseconds: back) { answer(result) }
        }
    }

    private func registryDelay(_ place: Int) -> UInt64 {
        slowRegistry.contains(place) ? draw(1_000_000...200_000_000) : draw(100_000...3_000_000)
    }

    // MARK: The run

    /// Lets the world live, heals it, and looks at what is left.
    func run() -> WorldResult {
        for target in targets { target.start() }
        for daemon in daemons { daemon.start() }
        let addresses = daemons.compactMap { $0.served?.address }
        for host in hosts { host.connect(addresses) }
        for fault in schedule {
            network.schedule(afterNanoseconds: fault.time) { [unowned self] in
                guard !isHealing, failure == nil else { return }
                inject(fault)
            }
        }
        run(until: network.now.advanced(byNanoseconds: faultNanoseconds)) { false }
        if failure == nil { heal() }
        end()
        counts.worlds = 1
        counts.simulated = network.now.nanoseconds - 1_000_000_000
        counts.acknowledged = completed
        counts.reservations = UInt64(reservation.completed)
        counts.messages = network.counters.messages
        network.note(completed)
        network.note(values)
        network.close()
        return WorldResult(
            seed: seed, failure: failure, oracle: noticedBy, hash: network.historyHash, counts: counts, faults: happened
        )
    }

    private func end() {
        for host in hosts { host.close(network.now) }
        for daemon in daemons { daemon.die(isSilent: false) }
        for target in targets { target.stop(power: false, isSilent: false) }
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

    private var seenNews: UInt64 = .max
    private var nextPoll = MonotonicTime(nanoseconds: 0)
    private var nextDeadline = MonotonicTime.distantFuture

    /// Virtual nanoseconds that a round of polling takes.
    private static let roundNanoseconds: UInt64 = 1_000

    private func step(until end: MonotonicTime) {
        let now = network.now
        // While nothing has come in, and no time is over, nobody is asked.
        let isBusy = (network.news != seenNews || now >= nextPoll) && pollAll(now)
        let next = now.advanced(byNanoseconds: Self.roundNanoseconds)
        network.run(until: isBusy ? next : max(next, min(end, min(nextDeadline, network.nextEventTime))))
    }

    /// Polls whoever may have something to do; `true` where there may be more at once.
    private func pollAll(_ now: MonotonicTime) -> Bool {
        let news = network.news
        var isBusy = false
        nextDeadline = .distantFuture
        nextPoll = .distantFuture
        for target in targets {
            let outcome = target.pollIfDue(now)
            if outcome.isBusy { isBusy = true }
            nextDeadline = min(nextDeadline, outcome.deadline)
            if !target.isPaused, target.isUp { nextPoll = min(nextPoll, target.disk.nextPoll) }
        }
        for daemon in daemons where daemon.isRunning {
            if daemon.pollIfDue(now) { isBusy = true }
            nextDeadline = min(nextDeadline, daemon.deadline)
        }
        noteTenures()
        for host in hosts {
            if host.pollIfDue(now) { isBusy = true }
            nextDeadline = min(nextDeadline, host.deadline)
        }
        noteLiving()
        reservation.proceed(now)
        nextDeadline = min(nextDeadline, reservation.deadline)
        nextPoll = min(nextPoll, nextDeadline)
        seenNews = isBusy ? network.news &- 1 : news
        return isBusy
    }
}
