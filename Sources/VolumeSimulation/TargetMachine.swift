import Base
import BlockInterface
import FabricInterface
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import Replication
import Simulation
import TargetInterface
import TargetTransport

/// A machine with a disk and, while it runs, the real target serving it as one namespace.
final class TargetMachine {
    let index: MemberIndex
    let disk: SimulatedDisk
    let network: SimulatedNetwork
    let address: SocketAddress
    private let options: TargetOptions
    private let defect: MachineDefect?
    private var limits: DeviceLimits
    let store: SimulatedReservationStore
    /// The disk of a second volume's member, and its place among what the machine serves; `nil` where there is none.
    let secondDisk: SimulatedDisk?
    private let secondPlace: SecondVolumePlace?
    /// When the daemon was last down.
    private(set) var lastDown: UInt64 = 0
    private let make: MemberMake
    var clock = MachineClock()
    private var access = ANAState.optimized
    /// Contents of the namespace that was here before the last replacement.
    private var former: [UInt8] = []
    private var formerGeneration: UInt64?
    private(set) var process: TargetProcess? { didSet { look = process.map { .passUnretained($0) } } }
    /// The same, for each step: counting references would cost more than the look.
    private var look: Unmanaged<TargetProcess>?
    /// The daemon is stopped and will go on.
    var isPaused = false
    /// When the daemon was last down, or the drive out. The boot instance changes then, whether or not the cache was lost:
    /// an initiator cannot know.
    private(set) var lastStop: UInt64 = 0
    private var boots: UInt64 = 100
    private var isDriveOut = false
    /// How often an RDMA READ has waited for its turn.
    private(set) var readWaits: UInt64 = 0
    /// Which namespace is in the machine: raised when another one takes its place.
    private(set) var generation: UInt64 = 0
    private var nextGeneration: UInt64 = 1
    var observe: @Sendable (TargetEvent) -> Void = { _ in }

    static let nqn = "nqn.2026-11.io.tercet:simulated"
    static let port: UInt16 = 4420

    init(_ index: MemberIndex, network: SimulatedNetwork, profile: Profile) {
        self.index = index
        self.network = network
        make = profile.makes[index]
        clock.drift = make.drift
        disk = SimulatedDisk(
            "disk\(index)", network: network, blockSize: profile.blockSize, blockCount: profile.memberBlocks(index))
        disk.behaviour.flushIsStrict = profile.disksAreStrict
        disk.behaviour.latency = profile.diskLatency
        disk.behaviour.destagedPercent = profile.destagedPercent
        secondPlace = profile.secondVolume
        secondDisk = profile.secondVolume.map { _ in SecondVolume.makeDisk(index, network: network, profile: profile) }
        limits = .simulated
        limits.maxReadsAsInitiator = profile.readDepth
        defect = profile.machineDefect
        store = SimulatedReservationStore(network)
        profile.machineDefect?.spoil(&disk.behaviour)
        if profile.machineDefect == .clockAtHalfSpeed { clock.drift = -500_000 }
        store.answersEarly = profile.machineDefect == .reservationStoreAnswersEarly
        store.mixesNamespaces = profile.machineDefect == .reservationsMixed
        store.forgets = profile.machineDefect == .reservationsForgotten
        guard let address = SocketAddress(host: Self.host(index), port: Self.port) else {
            invariantViolated("a simulated address is one")
        }
        self.address = address
        var options = TargetOptions(
            queueDepth: 32, maxIOQueues: 2, inCapsuleDataSize: profile.inCapsuleDataSize,
            maxTransferSize: max(16384, profile.maximumTransfer), sharedReceiveEntries: profile.sharedReceiveEntries,
            requests: 512, dataMemory: max(512 << 10, 16 * profile.maximumTransfer), controlMemory: 128 << 10,
            maxNamespaces: 2)
        options.omissions = make.omissions
        options.deliberateDefect = profile.targetDefect
        // In proportion to the keep-alive timeout, as it is between real hosts and targets.
        options.tickMilliseconds = min(options.tickMilliseconds, UInt64(profile.keepAliveMilliseconds) / 10)
        self.options = options
    }

    private static func host(_ index: MemberIndex) -> String { "192.0.2.\(index.number + 1)" }

    var isUp: Bool { process != nil }

    /// Identifies the namespace that is in the machine now.
    var namespaceUUID: UUIDBytes { uuid(generation) }

    private func uuid(_ generation: UInt64) -> UUIDBytes {
        UUIDBytes(high: 7, low: UInt64(index.number) + 1 + generation * 16)
    }

    // MARK: The process

    func start() {
        guard process == nil else { return }
        access = .optimized
        if defect != .instanceKept { boots += 1 }
        store.processNumber += 1
        let device = network.makeDevice(
            "target\(index)", addresses: [Self.host(index)], limits: limits, node: index.number)
        let observe = observe
        // Numbers for the namespaces that a run adds come after it.
        let target = Target(
            options: options, surroundings: BareSurroundings(reservations: make.keepsReservations ? store : nil),
            bootInstance: boots << 16, now: clock.local(network.now), observe: observe)
        do {
            let reactors = (0..<make.reactors).map { _ in
                let fabric = SimulatedFabric([device])
                return TargetReactor(
                    fabric: fabric,
                    group: PollGroup(
                        target: target, transport: RDMATargetTransport(fabric, options),
                        mailbox: .withoutDescriptor()))
            }
            let process = TargetProcess(device: device, target: target, reactors: reactors)
            try process.apply(definition)
            self.process = process
        } catch {
            invariantViolated("a simulated target starts")
        }
    }

    /// The target that the daemon is told to be.
    private var definition: TargetDefinition {
        let uuid = namespaceUUID
        var identity = BlockIdentity()
        identity.uuid = (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? uuid.high : uuid.low) >> (56 - $0 % 8 * 8)) }
        let namespace = NamespaceDefinition(nsid: 1, backing: .device(disk), identity: identity)
        var first = SubsystemDefinition(
            nqn: Self.nqn, serialNumber: "S\(index)", anaStates: [ANAGroupPlace(group: 1): access],
            namespaces: isDriveOut ? [] : [namespace])
        var others: [SubsystemDefinition] = []
        if let secondDisk, let secondPlace {
            secondPlace.add(secondDisk, of: index, to: &first, &others)
        }
        return TargetDefinition(options: options, listeners: [address], subsystems: [first] + others)
    }

    /// Tells the daemon what it is to be. The namespace is another one than any before, even if all that is said of it is equal.
    private func apply(_ process: TargetProcess, reopens: Bool = false) {
        do {
            try process.apply(
                definition, reopening: reopens ? [.namespace(1, subsystem: Self.nqn)] : [])
        } catch {
            invariantViolated("a simulated target takes what it is told")
        }
    }

    /// Sets the state of the path to the namespace. One that is down comes back accessible.
    func setAccess(_ state: ANAState) {
        guard let process else { return }
        access = state
        apply(process)
    }

    /// The drive is taken out under the running daemon: what is at it fails, and any part of what was not flushed is lost.
    /// False where the daemon does not run, or the drive is out already.
    func takeDriveOut() -> Bool {
        guard let process, !isDriveOut else { return false }
        isDriveOut = true
        disk.takeOut()
        lastStop = network.now.nanoseconds
        guard defect != .reseatUnnoticed else { return true }
        apply(process)
        return true
    }

    func putDriveBack() {
        guard isDriveOut else { return }
        isDriveOut = false
        disk.behaviour.failure = nil
        guard let process, defect != .reseatUnnoticed else { return }
        apply(process, reopens: true)
    }

    /// The daemon dies. What it had under way at the disk may be done in part.
    ///
    /// - Parameters:
    ///   - power: the disk's cache goes too, as far as chance wants.
    ///   - isSilent: nobody is told: the machine is gone, not the daemon alone.
    func stop(power: Bool, isSilent: Bool) {
        guard let process else { return }
        if isSilent { process.device.isReachable = false }
        for reactor in process.reactors { reactor.fabric.endConnections() }
        network.remove(process.device)
        // Requests at the disk end before the process's memory goes.
        if power { disk.losePower() } else { disk.endOperations() }
        if let secondDisk {
            if power { secondDisk.losePower() } else { secondDisk.endOperations() }
        }
        readWaits += process.target.subsystems.reduce(0) { $0 + $1.statistics.waitsForReadDepth }
        for reactor in process.reactors { reactor.group.close() }
        process.target.close()
        self.process = nil
        isPaused = false
        stallsAfterPoll = false
        lastStop = network.now.nanoseconds
        lastDown = lastStop
        store.processNumber += 1
    }

    /// Another namespace, empty, is put in this one's place; the machine is down.
    func replaceNamespace() {
        invariant(process == nil, "a namespace is replaced while its machine is down")
        former = [UInt8](UnsafeRawBufferPointer(disk.contents))
        formerGeneration = generation
        generation = nextGeneration
        nextGeneration += 1
        disk.erase()
        store.erase(subsystem: Self.nqn, nsid: 1)
    }

    /// The namespace's UUID after a replacement by another one.
    var nextUUID: UUIDBytes { uuid(nextGeneration) }

    /// The namespace is emptied; the machine is down.
    func eraseNamespace() {
        disk.erase()
        store.erase(subsystem: Self.nqn, nsid: 1)
    }

    /// The UUID of the namespace that was here before the last replacement; `nil` where there was none.
    var formerUUID: UUIDBytes? { formerGeneration.map(uuid) }

    /// The namespace that was here before comes back, as it was, and without the reservations; the machine is down.
    func restoreFormer() {
        guard let restored = formerGeneration else { return }
        invariant(process == nil, "a namespace is replaced while its machine is down")
        formerGeneration = generation
        generation = restored
        disk.exchange(with: &former)
        store.erase(subsystem: Self.nqn, nsid: 1)
    }

    /// False where there is none.
    func removeDevice() -> Bool {
        guard let process, process.device.isReachable else { return false }
        for reactor in process.reactors { reactor.fabric.remove(process.device) }
        return true
    }

    func returnDevice() {
        guard let process, process.reactors[0].fabric.devices.isEmpty else { return }
        process.device = network.makeDevice(
            "target\(index)", addresses: [Self.host(index)], limits: limits, node: index.number)
        for reactor in process.reactors { reactor.fabric.add(process.device) }
    }

    // MARK: Standing still

    /// The daemon stops after the next round in which it does something: what it has decided then leaves when it goes on.
    var stallsAfterPoll = false {
        didSet { if stallsAfterPoll { process?.device.holdsPosts = true } }
    }

    func goOn() {
        isPaused = false
        stallsAfterPoll = false
        process?.device.releasePosts()
    }

    /// The outcome of looking at a process.
    struct Look {
        /// It was polled.
        var isPolled = false
        /// There may be more to do at once.
        var isBusy = false
        /// When it is to be polled even if nothing happens.
        var deadline = MonotonicTime.distantFuture
    }

    /// Polls the daemon where there may be something to do.
    func pollIfDue(_ now: MonotonicTime) -> Look {
        guard !isPaused, let look else { return Look() }
        var outcome = look._withUnsafeGuaranteedRef { $0.pollIfDue(now, clock, disk, secondDisk) }
        if stallsAfterPoll, outcome.isPolled, outcome.isBusy {
            stallsAfterPoll = false
            isPaused = true
            outcome.isBusy = false
        }
        return outcome
    }

    // MARK: What is left at the end

    /// Resources that a target without users still holds, for people; empty when all is back in its pools.
    var leftovers: [String] {
        guard let process else { return [] }
        var found: [String] = []
        for use in process.reactors.flatMap(\.group.poolUse) {
            if !use.requests.isEmpty {
                found.append("requests \(use.requests.map { "\($0.key): \($0.value)" }.sorted())")
            }
            if use.port.boundConnections > 0 { found.append("\(use.port.boundConnections) queue pairs") }
            if use.bytesInUse > 0 { found.append("\(use.bytesInUse) bytes of data memory") }
            if use.lateCapsules > 0 { found.append("\(use.lateCapsules) capsules") }
        }
        for context in process.reactors.flatMap(\.fabric.contexts)
        where context.device === process.device && context.postedSharedReceives != options.sharedReceiveEntries {
            found.append("\(options.sharedReceiveEntries - context.postedSharedReceives) receive buffers")
        }
        let controllers = process.target.subsystems.reduce(0) { $0 + $1.controllerCount }
        if controllers > 0 { found.append("\(controllers) controllers") }
        if process.device.existingQueuePairs > 0 {
            found.append("\(process.device.existingQueuePairs) device queue pairs")
        }
        return found.map { "target \(index): \($0)" }
    }
}

extension MemberMake {
    /// Abilities that such a target leaves out.
    var omissions: TargetOmissions {
        var omissions: TargetOmissions = []
        if !tellsInstances { omissions.insert(.instances) }
        if !quiesces { omissions.insert(.quiesce) }
        if !countsTraffic { omissions.insert(.trafficBasedKeepAlive) }
        if !offersReservations { omissions.insert(.reservations) }
        return omissions
    }
}
