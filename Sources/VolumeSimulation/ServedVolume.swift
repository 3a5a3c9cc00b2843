import Base
import FabricInterface
import NVMeTarget
import RDMATransport
import Simulation
import TargetInterface
import VolumeDriver

/// The target that a process serves a volume with. Each of its reactors has a channel of its own to the volume.
final class ServedVolume {
    static let nqn = "nqn.2026-11.io.tercet:volume"
    static let address = "198.51.100.2"
    private let reactors: [Reactor]
    private let network: SimulatedNetwork
    private let device: SimulatedDevice
    private let target: Target
    private let state: DesiredState

    private struct Reactor {
        let fabric: SimulatedFabric
        let group: PollGroup
    }

    /// - Parameters:
    ///   - queues: I/O queues that a host may have.
    ///   - reactors: the threads that the queues are spread over.
    init(
        _ volume: VolumeBlockDevice, _ network: SimulatedNetwork, address: String = address, node: Int = 100,
        queues: Int = 2, reactors: Int = 1
    ) {
        self.network = network
        let device = network.makeDevice("served", addresses: [address], limits: .simulated, node: node)
        self.device = device
        let options = TargetOptions(
            queueDepth: 32, maxIOQueues: queues, inCapsuleDataSize: 4096, maxTransferSize: 128 << 10,
            sharedReceiveEntries: 128, dataMemory: 4 << 20, controlMemory: 128 << 10, maxNamespaces: 2)
        let target = Target(options: options, bootInstance: 1 << 16, now: network.now, observe: { _ in })
        self.target = target
        state = DesiredState(target)
        self.reactors = (0..<reactors).map { _ in
            let fabric = SimulatedFabric([device])
            return Reactor(
                fabric: fabric, group: PollGroup(target: target, transport: RDMATargetTransport(fabric, options)))
        }
        guard let listener = SocketAddress(host: address, port: TargetMachine.port) else {
            invariantViolated("a simulated address is one")
        }
        let namespace = NamespaceDefinition(nsid: 1, backing: .device(volume), identity: volume.identity)
        do {
            try state.apply(
                TargetDefinition(
                    options: options, listeners: [listener],
                    subsystems: [SubsystemDefinition(nqn: Self.nqn, serialNumber: "V", namespaces: [namespace])]))
        } catch {
            invariantViolated("a simulated target starts")
        }
    }

    /// Returns how much was done.
    func poll(_ now: MonotonicTime) -> Int { reactors.reduce(0) { $0 + $1.group.poll(now: now) } }

    func prepareToSleep() {
        for reactor in reactors { reactor.group.prepareToSleep() }
    }

    /// Something has come in since it was polled.
    var hasNews: Bool { reactors.contains { $0.fabric.hasEvents || $0.group.hasLetters } }

    /// When it is to be polled even if nothing happens.
    var nextDeadline: MonotonicTime { reactors.reduce(.distantFuture) { min($0, $1.group.nextDeadline) } }

    /// Looks at the volume's size anew.
    func refresh() { target.refreshNamespaces() }

    func close() {
        for reactor in reactors { reactor.fabric.endConnections() }
        network.remove(device)
        for reactor in reactors { reactor.group.close() }
        target.close()
    }
}
