import Base
import BlockInterface
import Buffers
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import NVMeTarget
import RDMATransport
import Replication
import Simulation
import VolumeDriver

/// A volume's I/O by way of a host: the initiator's process serves its volume by the real target, and a host on another machine
/// has the workload's I/O done there. Nothing goes wrong between the two; they end together.
final class ExportRelay: CompletionSink, @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    private let volume: VolumeBlockDevice
    /// Blocks of the volume, as the target has been told.
    private var servedBlocks: UInt64
    private let served: ServedVolume
    private let device: SimulatedDevice
    private let fabric: SimulatedFabric
    private let group: InitiatorGroup
    private let controller: Controller
    private let arena: RegisteredArena
    private var pool: DataPool
    private let blockSize: Int
    private let network: SimulatedNetwork
    private var keys = TransferKeys()
    private let handOn: (HostCompletion) -> Void
    /// When it is to be polled even if nothing happens.
    private(set) var deadline = MonotonicTime(nanoseconds: 0)
    /// The host is connected: its I/O goes this way.
    private(set) var isConnected = false
    private var isClosed = false
    /// Chooses the queue of each I/O.
    private var random: SeededRandom

    /// - Parameter handOn: hears how I/O ended.
    init(
        _ volume: VolumeBlockDevice, number: Int, network: SimulatedNetwork, profile: Profile,
        handOn: @escaping (HostCompletion) -> Void
    ) {
        self.handOn = handOn
        self.network = network
        self.volume = volume
        servedBlocks = volume.geometry.blockCount
        blockSize = Int(volume.geometry.blockSize)
        let (third, fourth) = (number / 200, 1 + number % 200)
        let address = "198.18.\(third).\(fourth)"
        served = ServedVolume(
            volume, network, address: address, node: InitiatorProcess.node(number),
            queues: max(2, profile.hostQueues), reactors: profile.servingReactors)
        random = SeededRandom(seed: network.seed ^ 0x7175_6575 &+ UInt64(number) << 32)
        device = network.makeDevice(
            "remote\(number)", addresses: ["198.19.\(third).\(fourth)"], node: 10_000 + number)
        fabric = SimulatedFabric([device])
        group = InitiatorGroup(RDMAInitiator(fabric, completionEntries: 512))
        guard let listener = SocketAddress(host: address, port: TargetMachine.port),
            let arena = try? RegisteredArena(bytes: 256 << 10)
        else { invariantViolated("a simulated host has an address and memory") }
        self.arena = arena
        pool = DataPool(arena.memory, reservedBytes: 0)
        controller = Controller(
            ControllerOptions(
                address: listener, subsystemNQN: ServedVolume.nqn, hostNQN: "nqn.2026-11.io.tercet:remote\(number)",
                hostID: UUIDBytes(high: 0x7265_6d6f, low: UInt64(number)), queueEntries: 32, recovery: .fail),
            home: group, groups: Array(repeating: group, count: profile.hostQueues))
        super.init()
        for queue in controller.queues { queue.sink = self }
        let (controller, group) = (controller, group)
        group.spawn { [self] in
            do throws(InitiatorError) { try await controller.connect() } catch { return }
            group.send { self.connected() }
        }
    }

    private func connected() {
        guard let context = controller.queues[0].device?.context, let keys = try? arena.transferKeys(with: context)
        else {
            return
        }
        self.keys = keys
        isConnected = true
    }

    /// Polls what there is; `true` where there may be more at once.
    func poll(_ now: MonotonicTime) -> Bool {
        guard !isClosed else { return false }
        // As the daemon does from time to time: the volume may have grown.
        let blocks = volume.geometry.blockCount
        if blocks != servedBlocks {
            servedBlocks = blocks
            served.refresh()
        }
        var isBusy = served.poll(now) + group.poll(now: now) > 0
        if !isBusy {
            // As a reactor arms before it sleeps, and looks once more.
            served.prepareToSleep()
            group.prepareToSleep()
            isBusy = served.hasNews || fabric.hasEvents || group.hasLetters
        }
        deadline = min(served.nextDeadline, group.nextDeadline)
        return isBusy
    }

    // MARK: I/O

    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { pool.allocate(bytes, priority: .io) }

    func free(_ buffer: UnsafeMutableRawPointer) { pool.free(buffer) }

    /// Whether the memory is the host's.
    func owns(_ buffer: UnsafeMutableRawPointer) -> Bool {
        guard let base = arena.memory.baseAddress else { return false }
        return buffer >= base && buffer < base + arena.memory.count
    }

    /// Blocks that a Compare and Write may cover (NACWU, 0-based): the target refuses longer ones. A namespace that says nothing
    /// goes by the controller's ACWU, which is a block.
    var longestComparison: Int {
        guard let identify = controller.namespaces.first?.identify else { return 1 }
        return Int(identify.atomicCompareAndWriteUnit) + 1
    }

    /// The queue of an I/O: a host's threads have one each, and go on at others.
    private var queue: IOQueue {
        let queues = controller.queues
        return queues.count > 1 ? queues[Int.random(in: 0..<queues.count, using: &random)] : queues[0]
    }

    func submit(_ request: HostRequest) -> Bool {
        let length = Int(request.count) * blockSize
        let kind: IOKind
        switch request.operation {
        case .read, .verify: kind = .read
        case .write: kind = .write
        // Deallocate takes a list of ranges; the volume zeroes both in one way.
        case .writeZeroes, .deallocate: kind = .writeZeroes
        case .flush: kind = .flush
        case .compareAndWrite: kind = .compareAndWrite
        case .compare: kind = .compare
        }
        var operation = IOOperation(
            kind, startingLBA: request.start, blockCount: request.count,
            flags: request.forceUnitAccess ? .forceUnitAccess : [], tag: request.cookie)
        if let buffer = UnsafeMutableRawPointer(bitPattern: UInt(request.buffer)) {
            let region = keys.region(isIncoming: kind == .read)
            operation.data = IOSegment(
                address: buffer, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
            if kind == .compareAndWrite {
                operation.second = IOSegment(
                    address: buffer + length, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
            }
        }
        guard case .accepted = queue.submit(operation) else { return false }
        return true
    }

    override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        guard !isClosed else { return }
        for completion in completions {
            handOn(HostCompletion(cookie: completion.tag, status: BlockStatus(completion)))
        }
    }

    // MARK: The end

    /// Both are gone. The volume has ended what it had under way. Outside of the world's time, so that all memory comes back.
    func close(_ now: MonotonicTime) {
        guard !isClosed else { return }
        isClosed = true
        fabric.endConnections()
        let controller = controller
        group.spawn { await controller.close() }
        var time = now
        var quietRounds = 0
        for _ in 0..<4000 where quietRounds < 2 {
            time = time.advanced(byMilliseconds: 10)
            quietRounds = group.poll(now: time) == 0 && group.isIdle ? quietRounds + 1 : 0
        }
        group.close()
        // It refers to its controller, and the controller to it: else it would keep the target, and with that the volume and
        // the volume's memory.
        for queue in self.controller.queues { queue.sink = nil }
        network.remove(device)
        served.close()
    }
}

extension BlockStatus {
    /// The volume's status that a host's I/O on it tells of.
    fileprivate init(_ completion: IOCompletion) {
        let status = completion.status
        switch completion.outcome {
        case .surelyNotDone: self = .deviceGone
        case .unknown: self = .unavailable
        case .surelyDone where status.isSuccess: self = .success
        case .surelyDone where status.matches(.compareFailure): self = .compareFailure
        case .surelyDone where status.matches(.capacityExceeded): self = .capacityExceeded
        case .surelyDone where status.matches(.lbaOutOfRange): self = .outOfRange
        case .surelyDone where status.matches(.asymmetricAccessPersistentLoss): self = .fenced
        case .surelyDone where status.matches(.asymmetricAccessInaccessible): self = .unavailable
        case .surelyDone where status.matches(.namespaceNotReady): self = .deviceGone
        case .surelyDone where status.matches(.unrecoveredReadError): self = .unrecoveredReadError
        case .surelyDone: self = .writeFault
        }
    }
}
