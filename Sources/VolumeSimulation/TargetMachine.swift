import Base
import BlockInterface
import FabricInterface
import NVMeSpec
import NVMeTarget
import RDMATransport
import Replication
import Simulation
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
    private let store: SimulatedReservationStore
    private(set) var process: TargetProcess?
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
    var observe: @Sendable (TargetEvent) -> Void = { _ in }

    static let nqn = "nqn.2026-11.io.tercet:simulated"
    static let port: UInt16 = 4420

    init(_ index: MemberIndex, network: SimulatedNetwork, blocks: UInt64, profile: Profile) {
        self.index = index
        self.network = network
        disk = SimulatedDisk(
            "disk\(index)", network: network, blockSize: profile.blockSize, blockCount: blocks)
        disk.behaviour.latency = profile.diskLatency
        disk.behaviour.destagedPercent = profile.destagedPercent
        limits = .simulated
        limits.maxReadsAsInitiator = profile.readDepth
        defect = profile.machineDefect
        store = SimulatedReservationStore(network)
        disk.behaviour.ignoresFlush = profile.machineDefect == .flushIgnored
        disk.behaviour.ignoresForceUnitAccess = profile.machineDefect == .forceUnitAccessIgnored
        guard let address = SocketAddress(host: Self.host(index), port: Self.port) else {
            invariantViolated("a simulated address is one")
        }
        self.address = address
        var options = TargetOptions(
            queueDepth: 32, maxIOQueues: 2, inCapsuleDataSize: profile.inCapsuleDataSize, maxTransferSize: 16384,
            sharedReceiveEntries: profile.sharedReceiveEntries, dataMemory: 512 << 10, controlMemory: 128 << 10,
            maxNamespaces: 2)
        switch defect {
        case .preemptedCommandsNotAwaited: options.deliberateDefect = .preemptedCommandsNotAwaited
        case .formerCommandsNotAwaited: options.deliberateDefect = .formerCommandsNotAwaited
        default: break
        }
        self.options = options
    }

    private static func host(_ index: MemberIndex) -> String { "192.0.2.\(index.number + 1)" }

    var isUp: Bool { process != nil }

    /// Identifies the namespace that is in the machine now.
    var namespaceUUID: UUIDBytes { UUIDBytes(high: 7, low: UInt64(index.number) + 1 + generation * 16) }

    // MARK: The process

    func start() {
        guard process == nil else { return }
        if defect != .instanceKept { boots += 1 }
        store.processNumber += 1
        let device = network.makeDevice(
            "target\(index)", addresses: [Self.host(index)], limits: limits, node: index.number)
        let fabric = SimulatedFabric([device])
        let observe = observe
        // Numbers for the namespaces that a run adds come after it.
        let target = Target(options: options, bootInstance: boots << 16, now: network.now, observe: observe)
        do {
            try target.addSubsystem(SubsystemDefinition(nqn: Self.nqn, serialNumber: "S\(index)"))
            if !isDriveOut { try addNamespace(to: target) }
            let group = PollGroup(
                target: target, transport: RDMATargetTransport(fabric, options.transport))
            try group.listen(TargetListener(address: address, portID: 1))
            process = TargetProcess(device: device, fabric: fabric, target: target, group: group)
        } catch {
            invariantViolated("a simulated target starts")
        }
    }

    private func addNamespace(to target: Target) throws(TargetError) {
        let uuid = namespaceUUID
        var identity = BlockIdentity()
        identity.uuid = (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? uuid.high : uuid.low) >> (56 - $0 % 8 * 8)) }
        try target.addNamespace(
            NamespaceDefinition(nsid: 1, device: disk, identity: identity, store: store), to: Self.nqn)
    }

    /// The drive is taken out under the running daemon: what is at it fails, and any part of what was not flushed is lost.
    /// False where the daemon does not run, or the drive is out already.
    func takeDriveOut() -> Bool {
        guard let process, !isDriveOut else { return false }
        isDriveOut = true
        disk.behaviour.failure = .deviceGone
        disk.loseCache()
        lastStop = network.now.nanoseconds
        try? process.target.removeNamespace(1, from: Self.nqn)
        return true
    }

    func putDriveBack() {
        guard isDriveOut else { return }
        isDriveOut = false
        disk.behaviour.failure = nil
        guard let process else { return }
        do {
            try addNamespace(to: process.target)
        } catch {
            invariantViolated("a drive that was taken out is put back")
        }
    }

    /// The daemon dies. What it had under way at the disk may be done in part.
    ///
    /// - Parameters:
    ///   - power: the disk's cache goes too, as far as chance wants.
    ///   - isSilent: nobody is told: the machine is gone, not the daemon alone.
    func stop(power: Bool, isSilent: Bool) {
        guard let process else { return }
        if isSilent { process.device.isReachable = false }
        process.fabric.endConnections()
        network.remove(process.device)
        // What is at the disk ends before the process's memory goes.
        if power { disk.losePower() } else { disk.endOperations() }
        readWaits += process.target.subsystems.reduce(0) { $0 + $1.statistics.waitsForReadDepth }
        process.group.close()
        process.target.close()
        self.process = nil
        isPaused = false
        lastStop = network.now.nanoseconds
        store.processNumber += 1
    }

    /// Another namespace, empty, is put in this one's place; the machine is down.
    func replaceNamespace() {
        invariant(process == nil, "a namespace is replaced while its machine is down")
        generation += 1
        disk.erase()
        store.erase()
    }

    /// False where there is none.
    func removeDevice() -> Bool {
        guard let process, process.device.isReachable else { return false }
        process.fabric.remove(process.device)
        return true
    }

    func returnDevice() {
        guard let process, process.fabric.devices.isEmpty else { return }
        process.device = network.makeDevice(
            "target\(index)", addresses: [Self.host(index)], limits: limits, node: index.number)
        process.fabric.add(process.device)
    }

    // MARK: What is left at the end

    /// What a target that nobody uses still holds, for people; empty when all is back in its pools.
    var leftovers: [String] {
        guard let process else { return [] }
        var found: [String] = []
        for use in process.group.poolUse {
            if !use.requests.isEmpty {
                found.append("requests \(use.requests.map { "\($0.key): \($0.value)" }.sorted())")
            }
            if use.port.boundConnections > 0 { found.append("\(use.port.boundConnections) queue pairs") }
            if use.bytesInUse > 0 { found.append("\(use.bytesInUse) bytes of data memory") }
            if use.lateCapsules > 0 { found.append("\(use.lateCapsules) capsules") }
        }
        for context in process.fabric.contexts
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

/// One run of the target daemon.
final class TargetProcess {
    fileprivate(set) var device: SimulatedDevice
    let fabric: SimulatedFabric
    let target: Target
    let group: PollGroup
    /// When it is to be polled even if nothing happens.
    private(set) var deadline = MonotonicTime(nanoseconds: 0)
    private var hadWork = true

    /// Polls where there may be something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime, _ disk: SimulatedDisk) -> Bool {
        guard hadWork || fabric.hasNews || group.hasLetters || deadline <= now || disk.nextCompletion <= now else {
            return false
        }
        fabric.hasNews = false
        hadWork = group.poll(now: now) > 0
        // As a reactor arms before it sleeps, and looks once more.
        if !hadWork {
            group.prepareToSleep()
            hadWork = fabric.hasEvents
        }
        deadline = group.nextDeadline
        return hadWork
    }

    init(device: SimulatedDevice, fabric: SimulatedFabric, target: Target, group: PollGroup) {
        self.device = device
        self.fabric = fabric
        self.target = target
        self.group = group
    }
}

/// Where a machine keeps reservations: a file that is durable a while after it was asked for.
final class SimulatedReservationStore: ReservationStore, @unchecked Sendable {
    private let network: SimulatedNetwork
    private var stored: [UInt8]?
    /// Raised when the process ends: what it had asked for and was not done is not done any more.
    var processNumber: UInt64 = 0

    init(_ network: SimulatedNetwork) { self.network = network }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { stored }

    func save(
        _ bytes: [UInt8]?, subsystem: String, nsid: UInt32, completion: @escaping @Sendable (String?) -> Void
    ) {
        let process = processNumber
        network.schedule(afterNanoseconds: network.draw(20_000...400_000)) { [self] in
            guard processNumber == process else { return }
            stored = bytes
            completion(nil)
        }
    }

    func erase() { stored = nil }
}
