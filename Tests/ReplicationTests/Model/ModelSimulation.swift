import Base
import BlockInterface
import Glibc
import Replication

/// How a run is to be: derived from its seed.
struct ModelProfile {
    var faultInterval: UInt64 = 30_000_000
    var allowsPowerLossOfAll = false
    var allowsCompetitors = false
    var drainsAtConnect = true
    var bootInstancesTold = true
    var operations = 250
    var faults: [ModelFault] = ModelFault.allCases
}

enum ModelFault: CaseIterable {
    case kill, powerLoss, quickRestart, partition, oneWayPartition, breakConnection
    case writeErrors, latentError, busy, slow, full
    case initiatorCrash, initiatorPause, competitor, cleanDetach, powerLossOfAll, everything
    case scrub, crashAtLoss, slowRecords
}

/// One run: three targets, initiators one after another or against each other, faults, and oracles; all from one seed.
final class ModelSimulation {
    let seed: UInt64
    let profile: ModelProfile
    let fault: DeliberateFault
    var random: SeededRandom
    let queue = EventQueue()
    let targets: [ModelTarget]
    let format: VolumeFormat
    let dataBlocks: Int
    /// The places of the members' metadata, and the count of blocks that are compared at the end: both change when the
    /// volume grows.
    var layouts: [MemberLayout]
    var comparedBlocks: Int
    var oracle: ModelOracle
    var initiators: [ModelInitiator] = []
    /// The initiator that served last.
    var serving: ModelInitiator?
    var values: UInt64 = 0
    var operationsLeft: Int
    var completedOperations = 0
    private(set) var failure: String?
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var isTracing = false
    var isHealing = false
    var cut: [Bool] = [false, false, false]
    /// Answers are lost, commands arrive.
    var cutOneWay: [Bool] = [false, false, false]
    var associationCount: UInt64 = 0
    var faultCounts: [String: Int] = [:]
    var noticeCounts: [String: Int] = [:]
    var hostCount = 0
    /// The initiator crashes with the first acknowledgement after it has lost this member.
    var crashesAtLossOf: MemberIndex?
    var crashesAtAcknowledgement: MemberIndex?
    var fresh: MemberSet = []
    var uuids: [UUIDBytes]

    init(seed: UInt64, profile: ModelProfile? = nil, fault: DeliberateFault = .none) {
        self.seed = seed
        var random = SeededRandom(seed: seed)
        self.profile = profile ?? Self.profile(&random)
        self.random = random
        self.fault = fault
        operationsLeft = self.profile.operations
        let blocks = 200
        uuids = (0..<3).map { UUIDBytes(high: 7, low: UInt64($0) + 1) }
        let candidates = (0..<3).map {
            MemberCandidate(uuid: UUIDBytes(high: 7, low: UInt64($0) + 1), blockSize: 512, blocks: UInt64(blocks))
        }
        format = try! VolumeFormat(volume: testVolume, members: candidates, regionSize: 4096, dataBlocks: 100)
        dataBlocks = Int(format.geometry.dataBlocks)
        layouts = format.layouts
        comparedBlocks = dataBlocks
        oracle = ModelOracle(blocks: dataBlocks)
        targets = MemberSet.all.map { ModelTarget(index: $0, blocks: blocks) }
        let page = TestPage()
        for target in targets {
            for number in 0..<format.pageCount {
                let block = format.encode(page: number, member: target.index, into: page.bytes)
                memcpy(target.view + Int(block) * 512, page.bytes.baseAddress!, 4096)
            }
            memcpy(target.durable, target.view, blocks * 512)
            target.drainsAtConnect = self.profile.drainsAtConnect
        }
    }

    static func profile(_ random: inout SeededRandom) -> ModelProfile {
        var profile = ModelProfile()
        profile.faultInterval = [20_000_000, 60_000_000, 200_000_000][random.below(3)]
        profile.drainsAtConnect = random.chance(70)
        profile.allowsPowerLossOfAll = random.chance(20)
        profile.allowsCompetitors = random.chance(40)
        return profile
    }

    /// Adds a line to the trace of a run that is looked at: to the standard error, so that it outlives a trap.
    func trace(_ line: () -> String) {
        guard isTracing else { return }
        let text = "\(queue.now / 1000) us: \(line())\n"
        _ = text.withCString { write(2, $0, strlen($0)) }
    }
    func note(_ value: UInt64) { hash = (hash ^ value ^ queue.now) &* 0x100_0000_01b3 }

    func fail(_ what: String) {
        trace { "FAILURE \(what)" }
        if failure == nil { failure = what }
    }

    func configuration() -> VolumeConfiguration {
        var configuration = VolumeConfiguration(volume: testVolume, blockSize: 512)
        configuration.queueDepth = 16
        configuration.maximumTransfer = 4096
        configuration.commandTimeout = 100_000_000
        configuration.attachGrace = 30_000_000
        configuration.joinTimeout = 300_000_000
        configuration.reconnectDelay = 2_000_000
        configuration.reconnectDelayMaximum = 20_000_000
        configuration.housekeepingInterval = 20_000_000
        configuration.slowMargin = 20_000_000
        configuration.slowDuration = 50_000_000
        configuration.slowCooldown = slowCooldown
        configuration.standstill = 60_000_000
        configuration.fresh = fresh
        configuration.formattedBlocks = formattedBlocks
        configuration.suspendPolicy = suspendPolicy
        configuration.clock = clock
        return configuration
    }

    // MARK: The run

    /// Runs the seed to its end and returns what went wrong, if anything did.
    func run() -> String? {
        currentSeed = seed
        startInitiator()
        scheduleFault()
        let limit: UInt64 = 20_000_000_000
        while failure == nil, operationsLeft > 0, queue.now < limit, queue.step() {}
        if failure == nil, queue.now >= limit { fail("only \(completedOperations) I/Os in \(limit / 1_000_000_000) s") }
        if failure == nil { heal() }
        queue.removeAll()
        return failure
    }

    func startInitiator() {
        hostCount += 1
        let initiator = ModelInitiator(self, host: hostCount, configuration(), fault: fault)
        initiators.append(initiator)
        initiator.attach()
    }

    /// Whether an initiator has served whose attachment is later than that of `host`.
    func isServed(after host: Int) -> Bool {
        let rank = initiators[host - 1].engine.reservationKey
        return initiators.contains { $0.engine.reservationKey > rank && $0.servedAt <= queue.now }
    }

    func served(by initiator: ModelInitiator) {
        serving = initiator
        checkCoverage("after attach")
        // Requests whose end an older host had not heard of are ambiguous from now on.
    }

    /// An initiator was deposed, or detached.
    func ended(_ initiator: ModelInitiator, _ phase: VolumePhase) {
        initiator.workload.isStopped = true
        queue.after(1_000_000) { [self] in
            guard initiator.isAlive else { return }
            initiator.isAlive = false
            initiator.workload.hostDied()
            if !initiators.contains(where: { $0.isAlive }), !isFinished { startInitiator() }
        }
    }

    func attachFailed(_ initiator: ModelInitiator, _ error: AttachError) {
        if case .metadata(let error) = error, !expectsAttachError { fail("attach failed: \(error)") }
    }

    var isFinished = false
    var expectsMismatch = false
    var expectsAttachError = false
    var slowCooldown: UInt64 = 20_000_000
    var suspendPolicy = SuspendPolicy.wait
    /// All initiators have one clock.
    var clock: UInt64 = 1
    var formattedBlocks: [UInt64] = [0, 0, 0]

    // MARK: Healing and the last checks

    /// Ends all faults, and checks that the members come into sync and are equal.
    func heal() {
        isHealing = true
        trace { "HEAL" }
        for index in 0..<3 {
            let target = targets[index]
            cut[index] = false
            cutOneWay[index] = false
            target.isBusy = false
            target.isFull = false
            target.recordDelay = 0
            target.slowness = 1
            target.failsWritesIn = 0..<0
            target.unreadable = []
            if !target.isUp { target.start() }
        }
        for initiator in initiators where initiator.isAlive && initiator.isPaused { initiator.resume() }
        // One that lost its notification and has no I/O does not learn that it was deposed.
        for initiator in initiators where initiator.isAlive && isServed(after: initiator.host) {
            initiator.isAlive = false
        }
        if !initiators.contains(where: { $0.isAlive }) { startInitiator() }
        // Commands that are stuck end first, or time out.
        let calm = queue.now + 500_000_000
        let deadline = queue.now + 20_000_000_000
        while failure == nil, queue.now < deadline, queue.now < calm || !isWhole { guard queue.step() else { break } }
        guard failure == nil else { return }
        guard isWhole, let initiator = initiators.last(where: { $0.isAlive && $0.isServing }) else {
            let states = initiators.filter(\.isAlive).map { "h\($0.host) \($0.engine.status)" }
            trace { initiators.filter(\.isAlive).map { $0.engine.internals }.joined(separator: "\n") }
            return fail("not whole \(20) s after the faults stopped: \(states)")
        }
        readEverything(initiator)
        guard failure == nil else { return }
        isFinished = true
        initiator.deliver { [self] in
            if !initiator.engine.detach(now: initiator.now) { fail("detach refused") }
        }
        while failure == nil, queue.now < deadline, initiator.isAlive, queue.step() {}
        if failure == nil, initiator.isAlive { fail("detach did not end: \(initiator.engine.status)") }
        compareMembers()
    }

    private var isWhole: Bool {
        guard initiators.filter(\.isAlive).count == 1, let initiator = initiators.first(where: { $0.isAlive }) else {
            return false
        }
        guard initiator.isServing, initiator.workload.running.isEmpty else { return false }
        let status = initiator.engine.status
        return status.members.allSatisfy { $0.isInSync && $0.phase == .active } && status.unreconciledRegions == 0
            && status.isRecordValid
    }

    private func readEverything(_ initiator: ModelInitiator) {
        var block = 0
        let deadline = queue.now + 10_000_000_000
        while failure == nil, block < dataBlocks, queue.now < deadline {
            let count = min(8, dataBlocks - block)
            initiator.workload.submit(.read, start: block, count: count)
            initiator.process()
            while failure == nil, !initiator.workload.running.isEmpty, queue.now < deadline, queue.step() {}
            block += count
        }
        if block < dataBlocks { fail("reading everything did not end") }
    }

    private func compareMembers() {
        guard failure == nil else { return }
        for other in 1...2 where memcmp(targets[0].view, targets[other].view, comparedBlocks * 512) != 0 {
            fail("members 0 and \(other) differ after a clean detach")
        }
        for target in targets where target.isDirty[0..<dataBlocks].contains(true) {
            fail("member \(target.index) has unflushed blocks after a clean detach")
        }
        for target in targets {
            guard let superblock = superblock(target) else { return fail("member \(target.index): no superblock") }
            if !superblock.isClean || superblock.inSync != .all { fail("member \(target.index) is not marked clean") }
        }
    }

    func superblock(_ target: ModelTarget) -> Superblock? {
        let base = target.view + Int(layouts[target.index].slotBlock(0)) * 512
        return try? Superblock.decode(
            member: target.index, slot0: UnsafeRawBufferPointer(start: base, count: 4096),
            slot1: UnsafeRawBufferPointer(start: base + 4096, count: 4096))
    }

    // MARK: Bits cover every difference

    /// Checks that wherever two members differ, a bit on one of the two says so: what a next initiator would go by.
    func checkCoverage(_ when: String) {
        guard failure == nil, fresh == [], !expectsMismatch else { return }
        let best = targets.compactMap(superblock).max { $0.stamp < $1.stamp }
        guard let best else { return }
        for a in MemberSet.all {
            for b in MemberSet.all where b < a && (best.inSync.contains(a) || best.inSync.contains(b)) {
                for region in 0..<format.geometry.regionCount where !isCovered(region, a, b) {
                    let range = format.geometry.blocks(ofRegion: region)
                    let offset = Int(range.lowerBound) * 512
                    let length = range.count * 512
                    if memcmp(targets[a].view + offset, targets[b].view + offset, length) != 0 {
                        return fail("\(when): members \(b) and \(a) differ in region \(region), which no bit covers")
                    }
                    if memcmp(targets[a].durable + offset, targets[b].view + offset, length) != 0
                        || memcmp(targets[a].view + offset, targets[b].durable + offset, length) != 0
                    {
                        return fail(
                            "\(when): members \(b) and \(a) would differ after a power loss in region \(region), "
                                + "which no bit covers")
                    }
                }
            }
        }
    }

    private func isCovered(_ region: Int, _ a: MemberIndex, _ b: MemberIndex) -> Bool {
        hasBit(a, BitmapPage.inFlightKind, region) || hasBit(b, BitmapPage.inFlightKind, region)
            || hasBit(a, b.number, region) || hasBit(b, a.number, region)
    }

    func hasBit(_ member: MemberIndex, _ kind: Int, _ region: Int) -> Bool {
        let ordinal =
            kind == BitmapPage.inFlightKind
            ? BitmapPage.inFlightOrdinal : BitmapPage.behindOrdinal(of: MemberIndex(kind), on: member)
        let base = targets[member].view + Int(layouts[member].pageBlock(ordinal: ordinal, page: 0)) * 512
        let page = UnsafeMutableRawBufferPointer(start: base, count: 4096)
        guard BitmapPage.isIntact(page, volume: testVolume, kind: kind, number: 0) else { return true }
        return page[BitmapPage.headerSize + region / 8] >> UInt8(region % 8) & 1 == 1
    }

    func noticed(_ initiator: ModelInitiator, _ notice: VolumeNotice) {
        switch notice {
        case .mismatch(let region):
            // One that has been deposed without knowing looks at members that are not its own any more.
            if !isServed(after: initiator.host), !expectsMismatch { fail("a scrub found region \(region) to differ") }
        case .memberInSync(let member):
            fresh.remove(member)
            checkCoverage("member \(member) in sync")
        case .memberLost(let member, _) where member == crashesAtLossOf:
            crashesAtLossOf = nil
            crashesAtAcknowledgement = member
        default: break
        }
        let name = "\(notice)".prefix { $0 != "(" }
        noticeCounts[String(name), default: 0] += 1
    }
}

/// The seed that runs, for a message when an invariant ends the process.
nonisolated(unsafe) var currentSeed: UInt64 = 0
