import Base
import BlockInterface
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import Replication
import Simulation
import TargetInterface
import VolumeDriver

/// Three real targets on simulated disks, a process that attaches the volume on them through its facade, and hosts to which
/// that process serves the volume, by the real target: in one thread, in virtual time. Only what a test does goes wrong.
public final class FacadeWorld {
    let network: SimulatedNetwork
    let targets: [TargetMachine]
    let format: VolumeFormat
    private let device: SimulatedDevice
    private let fabric: SimulatedFabric
    /// The group of the process.
    public let group: InitiatorGroup
    private let pollers = Pollers()
    private(set) var served: ServedVolume?
    var hosts: [FacadeHost] = []

    /// Polls what the facade gives it.
    private final class Pollers: PollerHost, @unchecked Sendable {
        // Unchecked: one thread drives a simulation.
        private(set) var all: [Poller] = []
        func add(_ poller: Poller) { all.append(poller) }
        func remove(_ poller: Poller) { all.removeAll { $0 === poller } }
    }

    /// The result of a task. Unchecked: one thread drives a simulation.
    private final class Box<Value>: @unchecked Sendable { var value: Value? }

    private static let regionSize: UInt32 = 64 << 10

    /// - Parameter dataBlocks: of 512 bytes.
    public init(seed: UInt64, dataBlocks: UInt64) {
        var profile = Profile()
        profile.dataBlocks = dataBlocks
        network = SimulatedNetwork(seed: seed)
        network.delays.transit = profile.transit
        profile.regionSize = Self.regionSize
        profile.maximumTransfer = Int(Self.regionSize)
        let candidates = (0..<memberCount).map {
            MemberCandidate(
                uuid: UUIDBytes(high: 7, low: UInt64($0) + 1), blockSize: profile.blockSize,
                blocks: profile.memberBlocks(MemberIndex($0)))
        }
        guard
            let format = try? VolumeFormat(
                volume: VolumeWorld.volume, members: candidates, regionSize: Self.regionSize, dataBlocks: dataBlocks,
                minimumCopies: 2, contents: .written)
        else { invariantViolated("a simulated volume can be formatted") }
        self.format = format
        let (network, machine) = (network, profile)
        targets = MemberSet.all.map { TargetMachine($0, network: network, profile: machine) }
        device = network.makeDevice("process", addresses: ["198.51.100.1"], node: 100)
        fabric = SimulatedFabric([device])
        group = InitiatorGroup(RDMAInitiator(fabric, completionEntries: 4096))
        for target in targets {
            target.write(format)
            target.start()
        }
    }

    // MARK: Time

    /// Lets a round of everybody pass.
    public func step() {
        let now = network.now
        var isBusy = false
        var wake = now.advanced(byMilliseconds: 5)
        for target in targets {
            let outcome = target.pollIfDue(now)
            if outcome.isBusy { isBusy = true }
            wake = min(wake, outcome.deadline)
        }
        if group.poll(now: now) > 0 { isBusy = true }
        for poller in pollers.all where poller.poll(now: now) > 0 { isBusy = true }
        if let served, served.poll(now) > 0 { isBusy = true }
        for host in hosts where host.group.poll(now: now) > 0 { isBusy = true }
        let next = now.advanced(byNanoseconds: 1000)
        network.run(until: isBusy ? next : max(next, min(wake, network.nextEventTime)))
    }

    /// Runs a task in a group's rounds to its end; `nil` where that has not come within so long.
    public func wait<Value: Sendable>(
        _ group: InitiatorGroup? = nil, milliseconds: UInt64 = 60_000, _ body: @escaping @Sendable () async -> Value
    ) -> Value? {
        let box = Box<Value>()
        (group ?? self.group).spawn { box.value = await body() }
        run(milliseconds: milliseconds) { box.value != nil }
        return box.value
    }

    /// Lets time pass until the condition holds; returns whether it does.
    @discardableResult
    public func run(milliseconds: UInt64, until condition: () -> Bool = { false }) -> Bool {
        let end = network.now.advanced(byMilliseconds: milliseconds)
        while !condition() {
            guard network.now < end else { return false }
            step()
        }
        return true
    }

    /// Virtual milliseconds so far.
    public var milliseconds: UInt64 { network.now.nanoseconds / 1_000_000 }

    // MARK: The process

    /// Options to attach the volume with, as a host whose number is its own.
    public func options(host: UInt64 = 1) -> VolumeAttachmentOptions {
        VolumeAttachmentOptions(
            members: targets.map { MemberAddress(address: $0.address, subsystemNQN: TargetMachine.nqn, nsid: 1) },
            hostNQN: "nqn.2026-11.io.tercet:process\(host)", hostID: UUIDBytes(high: 0x7465_7263, low: host))
    }

    /// Attaches the volume; `nil` where that has not ended within a virtual minute.
    public func attach(_ options: VolumeAttachmentOptions) -> Result<VolumeAttachment, VolumeError>? {
        let (group, pollers) = (group, pollers)
        return wait { () async -> Result<VolumeAttachment, VolumeError> in
            do throws(VolumeError) {
                return .success(try await VolumeAttachment.open(options, group: group, host: pollers))
            } catch {
                return .failure(error)
            }
        }
    }

    /// Detaches; the failure, where there is one.
    public func detach(_ attachment: VolumeAttachment, leavesReservations: Bool = false) -> Result<Void, VolumeError>? {
        wait { () async -> Result<Void, VolumeError> in
            do throws(VolumeError) {
                return .success(try await attachment.detach(leavesReservations: leavesReservations))
            } catch {
                return .failure(error)
            }
        }
    }

    /// Pollers that have not been given back.
    public var pollerCount: Int { pollers.all.count }

    // MARK: Members

    /// A member's daemon dies.
    public func killMember(_ member: Int) { targets[member].stop(power: false, isSilent: false) }

    /// The disks of all members take so long, in milliseconds, for each block that a flush has to write.
    public func slowFlushes(millisecondsPerBlock: UInt64) {
        for target in targets { target.disk.behaviour.flushCost = millisecondsPerBlock * 1_000_000 }
    }

    /// The machines of all members take so long, in milliseconds, to store what becomes of a reservation.
    public func slowReservations(milliseconds: UInt64) {
        for target in targets { target.store.slowness = milliseconds * 1_000_000 }
    }

    public func startMember(_ member: Int) { targets[member].start() }

    /// The volume's data as a member holds it, in their disks' caches or durable.
    public func contents(of member: Int, isDurable: Bool) -> [UInt8] {
        let disk = targets[member].disk
        let memory = isDurable ? disk.durableContents : disk.contents
        return Array(memory[..<Int(format.geometry.dataBlocks * UInt64(format.geometry.blockSize))])
    }

    // MARK: Serving

    /// Serves the volume to hosts.
    public func serve(_ device: VolumeBlockDevice) { served = ServedVolume(device, network) }

    public func close() {
        for host in hosts { host.close() }
        served?.close()
        group.close()
        for target in targets { target.stop(power: false, isSilent: false) }
        network.close()
    }
}

/// A host of a served volume: one connection, and I/O that is waited for.
public final class FacadeHost: @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    public let group: InitiatorGroup
    public let controller: Controller
    public let memory: UnsafeMutableRawBufferPointer
    private let arena: RegisteredArena

    public init(_ world: FacadeWorld, memoryBytes: Int = 1 << 20) {
        let number = world.hosts.count + 1
        let device = world.network.makeDevice(
            "host\(number)", addresses: ["203.0.113.\(number)"], node: 200 + number)
        group = InitiatorGroup(RDMAInitiator(SimulatedFabric([device]), completionEntries: 1024))
        guard let address = SocketAddress(host: ServedVolume.address, port: TargetMachine.port),
            let arena = try? RegisteredArena(bytes: memoryBytes)
        else { invariantViolated("a simulated host has an address and memory") }
        self.arena = arena
        memory = arena.memory
        controller = Controller(
            ControllerOptions(
                address: address, subsystemNQN: ServedVolume.nqn, hostNQN: "nqn.2026-11.io.tercet:host\(number)",
                hostID: UUIDBytes(high: 0x686f_7374, low: UInt64(number))),
            home: group, groups: [group])
        world.hosts.append(self)
    }

    public func connect() async throws(InitiatorError) { try await controller.connect() }

    /// Does an I/O with memory that begins at `position`, and at `second` where it has two.
    public func perform(
        _ kind: IOKind, start: UInt64 = 0, count: UInt64 = 0, at position: Int = 0, second: Int? = nil,
        flags: IOFlags = []
    ) async -> IOCompletion {
        let blockSize = controller.namespaces.first?.blockSize ?? 512
        let length = Int(count) * blockSize
        let isIncoming = kind == .read
        let (queue, arena) = (controller.queues[0], arena)
        let region = await group.onExecutor { () async -> MemoryRegion? in
            guard let context = queue.device?.context else { return nil }
            return try? arena.register(with: context, access: isIncoming ? .incoming : .outgoing)
        }
        func segment(_ position: Int) -> IOSegment? {
            guard let region, let base = arena.memory.baseAddress, length > 0 else { return nil }
            return IOSegment(
                address: base + position, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
        }
        let usesData = kind == .read || kind == .write || kind == .compare || kind == .compareAndWrite
        return await queue.perform(
            IOOperation(
                kind, startingLBA: start, blockCount: count, data: usesData ? segment(position) : nil,
                second: second.flatMap(segment), flags: flags))
    }

    func close() { group.close() }
}
