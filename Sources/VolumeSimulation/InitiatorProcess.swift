import Base
import FabricInterface
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import Replication
import Simulation
import VolumeDriver

/// One run of a program that attaches the volume: the real initiator and volume, and a workload on it.
final class InitiatorProcess: @unchecked Sendable {
    // Unchecked: one thread drives a simulation; the volume's observer is Sendable because real volumes have reactors of their own.
    let number: Int
    let network: SimulatedNetwork
    private let profile: Profile
    private(set) var device: SimulatedDevice
    let fabric: SimulatedFabric
    private var life: Life?
    private let mailbox = Mailbox.withoutDescriptor()
    private(set) var isAlive = true
    /// The process is stopped and will go on.
    var isPaused = false { didSet { touch() } }
    var wasPaused = false
    var isDeposed = false
    /// Members that it knows to have been replaced.
    var knownFresh: MemberSet
    /// The members' sizes as the registry told them, or it has told the registry.
    var knownBlocks: [UInt64]
    /// It is about to end by itself.
    var isEnding = false
    var phase = VolumePhase.detached
    /// When it first served, and the key of its attachment: a greater one is a later one.
    var servedAt: UInt64?
    var attachmentKey: UInt64 = 0
    /// The possible contents of each block when a later initiator began to serve: its reads from then on may be old, but not
    /// older.
    var deposedSnapshots: [BlockHistory.Snapshot]?
    /// The members in sync when last looked at.
    var lastInSync = MemberSet.all
    /// When each member's present association was begun at the earliest: one that is down later is not in sync for long.
    var returnedAt: SIMD3<UInt64>
    private let host: String
    var clock = MachineClock()
    private var isTouched = true
    /// How often it has been polled.
    private(set) var rounds: UInt64 = 0
    /// Its unfinished work when it was given up, for people.
    private(set) var ending = ""
    /// When it is to be polled even if nothing happens.
    private(set) var deadline = MonotonicTime(nanoseconds: 0)

    init(
        _ number: Int, network: SimulatedNetwork, members: [SocketAddress], configuration: VolumeConfiguration,
        profile: Profile
    ) {
        self.number = number
        self.network = network
        self.profile = profile
        returnedAt = SIMD3(repeating: network.now.nanoseconds)
        clock.drift = profile.machineDefect == .initiatorClockFast ? 31_000_000 : profile.initiatorDrift
        knownFresh = configuration.fresh
        knownBlocks = configuration.formattedBlocks
        host = "198.51.\(100 + number / 200).\(1 + number % 200)"
        device = network.makeDevice("host\(number)", addresses: [host], node: Self.node(number))
        fabric = SimulatedFabric([device])
        let group = InitiatorGroup(RDMAInitiator(fabric, completionEntries: 1024), mailbox: mailbox)
        let options = Self.options(
            number, members.map { MemberAddress(address: $0, subsystemNQN: TargetMachine.nqn, nsid: 1) }, configuration,
            profile)
        do {
            let volume = try Volume(options, group: group, rules: Rules(breaking: profile.deliberateFault)) {
                [unowned self] event in
                observe?(event)
            }
            life = Life(group: group, volume: volume)
        } catch {
            invariantViolated("there is memory for a simulated volume")
        }
    }

    /// Options of a volume that a process attaches: to a target all of them are one host's.
    static func options(
        _ number: Int, _ members: [MemberAddress], _ configuration: VolumeConfiguration, _ profile: Profile
    ) -> VolumeOptions {
        var options = VolumeOptions(
            members: members, hostNQN: "nqn.2026-11.io.tercet:host\(profile.hostNumber(number))",
            hostID: UUIDBytes(high: 0x7465_7263, low: UInt64(profile.hostNumber(number))), configuration: configuration,
            keepAliveMilliseconds: profile.keepAliveMilliseconds,
            commandQuiesceMilliseconds: profile.commandQuiesceMilliseconds,
            connectTimeoutMilliseconds: profile.scale > 1 ? 1000 : 50,
            bufferBytes: max(256 << 10, 16 * profile.bufferBytes), queueEntries: 32)
        options.deliberateDefect = profile.driverDefect
        return options
    }

    /// The parts of a process that lives: constant, as all are polled in each round, and counting references to each costs more than
    /// many a poll.
    private final class Life {
        let group: InitiatorGroup
        let volume: Volume
        var workload: Workload?
        var second: SecondAttachment?

        init(group: InitiatorGroup, volume: Volume) { (self.group, self.volume) = (group, volume) }

        /// `true` where there may be more to do.
        func poll(_ now: MonotonicTime, local time: MonotonicTime) -> Bool {
            // The group goes round once more behind the others: what they ask for leaves with its poll.
            group.poll(now: time) + volume.poll(now: time) + (workload?.poll(now: now) ?? 0)
                + (second?.poll(now, local: time) ?? 0) > 0
        }

        func nextDeadline(_ clock: MachineClock) -> MonotonicTime {
            let own = min(
                clock.world(min(group.nextDeadline, volume.nextDeadline)), workload?.nextDeadline ?? .distantFuture)
            return second.map { min(own, $0.nextDeadline(clock)) } ?? own
        }
    }

    var group: InitiatorGroup? { life?.group }
    var volume: Volume? { life?.volume }
    var workload: Workload? { life?.workload }

    var observe: ((VolumeEvent) -> Void)?

    static func node(_ number: Int) -> Int { 100 + number }
    var node: Int { Self.node(number) }

    /// Gives it something to do, and lets it attach.
    func begin(_ workload: Workload, nonce: UInt32) {
        life?.workload = workload
        volume?.sink = workload.sink
        volume?.attach(nonce: nonce)
    }

    /// Has a second volume beside the first from now on.
    func adopt(_ second: SecondAttachment) {
        life?.second = second
        touch()
    }

    // MARK: A host

    /// A host that the process serves the volume to, which the workload then runs on.
    private(set) var relay: ExportRelay?

    /// Serves the volume from now on.
    func export() {
        guard isAlive, relay == nil, let volume else { return }
        relay = ExportRelay(VolumeBlockDevice(volume), number: number, network: network, profile: profile) {
            [unowned self] in
            workload?.completed($0)
        }
        touch()
    }

    /// The way that new I/O goes.
    private var connectedRelay: ExportRelay? { relay?.isConnected == true ? relay : nil }

    /// Blocks that a compare-and-write of the workload covers at the most.
    var longestComparison: Int { min(4, connectedRelay?.longestComparison ?? 4) }

    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
        if let connectedRelay { return connectedRelay.allocate(bytes) }
        return volume?.memory.allocate(bytes)
    }

    func free(_ buffer: UnsafeMutableRawPointer) {
        if let relay, relay.owns(buffer) { relay.free(buffer) } else { volume?.memory.free(buffer) }
    }

    func submit(_ request: HostRequest) -> Bool {
        if let connectedRelay { return connectedRelay.submit(request) }
        // Not always within a round of its thread: the round before may be as long ago as it has slept.
        group?.advance(to: now)
        return volume?.submit(request) ?? false
    }

    // MARK: Polls

    /// Whether it is polled.
    var isRunning: Bool { isAlive && !isPaused }

    /// Polls where there may be something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime) -> Bool {
        if let relay, relay.poll(now) { isTouched = true }
        guard isTouched || fabric.hasNews || deadline <= now || !mailbox.isEmpty, let life else { return false }
        isTouched = false
        fabric.hasNews = false
        rounds &+= 1
        isTouched = life.poll(now, local: clock.local(now)) || isTouched
        if !isTouched {
            life.group.expectEvents()
            isTouched = fabric.hasEvents || !mailbox.isEmpty
        }
        // With more to do it is due whatever the time.
        deadline = isTouched ? .distantFuture : life.nextDeadline(clock)
        if let relay { deadline = min(deadline, relay.deadline) }
        if stallsAfterPoll, isTouched {
            stallsAfterPoll = false
            isPaused = true
        }
        return isTouched
    }

    /// The time that its machine's clock shows.
    var now: MonotonicTime { clock.local(network.now) }

    /// The process stops after the next round in which it does something: what it has decided then leaves when it goes on.
    var stallsAfterPoll = false {
        didSet { if stallsAfterPoll { device.holdsPosts = true } }
    }

    func goOn() {
        isPaused = false
        stallsAfterPoll = false
        device.releasePosts()
    }

    /// Something was done to it from outside: it is to be polled.
    func touch() {
        isTouched = true
        network.tellNews()
    }

    // MARK: Ends

    /// The process dies.
    ///
    /// - Parameter isSilent: nobody is told: its machine is gone.
    /// - Returns: whether all of it came to its end.
    func die(isSilent: Bool) -> Bool {
        guard isAlive else { return true }
        isAlive = false
        observe = nil
        if isSilent { device.isReachable = false }
        fabric.endConnections()
        if !fabric.devices.isEmpty { fabric.remove(device) }
        let isDone = takeDown()
        relay?.close(network.now)
        relay = nil
        group?.close()
        life = nil
        return isDone
    }

    /// Resources that an ended process has not given back, for people; empty if it has given back all.
    var leftovers: [String] {
        var found: [String] = []
        if device.registeredRegions > 0 { found.append("\(device.registeredRegions) memory regions") }
        if device.existingQueuePairs > 0 { found.append("\(device.existingQueuePairs) queue pairs") }
        return found.map { "initiator \(number): \($0)" }
    }

    /// Takes down what is left of the process, outside of the world's time, so that its memory comes back.
    private func takeDown() -> Bool {
        guard let group, let volume else { return true }
        var time = now
        let second = life?.second?.volume
        volume.abandon()
        second?.abandon()
        // Twice nothing: a task that has been resumed in one round runs in the next.
        var quietRounds = 0
        var work = 0
        for round in 0..<4000 {
            time = time.advanced(byNanoseconds: round < 100 ? 1_000_000 : 100_000_000)
            work = group.poll(now: time) + volume.poll(now: time) + (second?.poll(now: time) ?? 0)
            let isConnected = volume.hasConnections || second?.hasConnections ?? false
            quietRounds = work == 0 && !isConnected && group.isIdle ? quietRounds + 1 : 0
            if quietRounds == 2 { return true }
        }
        ending = "\(work) pieces of work, connections: \(volume.hasConnections), idle: \(group.isIdle)"
        return false
    }

    /// False where there is none.
    func removeDevice() -> Bool {
        guard isAlive, device.isReachable else { return false }
        fabric.remove(device)
        return true
    }

    func returnDevice() {
        guard isAlive, fabric.devices.isEmpty else { return }
        device = network.makeDevice("host\(number)", addresses: [host], node: node)
        fabric.add(device)
    }
}
