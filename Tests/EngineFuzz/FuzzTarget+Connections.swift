import Base
import FabricInterface
import Fuzzing
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import Simulation
import TargetInterface

/// Connection requests over RDMA, whatever their private data says.
extension FuzzTarget {
    /// Each 34 bytes are a request: READs that the host answers, bytes of private data, and these.
    static let rdmaConnections = FuzzTarget(name: "RDMAConnections", seeds: connectionSeeds, inputs: 1000) { bytes in
        let world = FuzzedListener()
        for place in stride(from: 0, to: min(bytes.count - 33, 34 * 8), by: 34) {
            world.request(UnsafeRawBufferPointer(rebasing: bytes[place..<place + 34]))
        }
        world.end()
    }

    private static let connectionSeeds: [[UInt8]] = {
        let wanted = [
            RDMAConnectRequest(queueID: 0, hostReceiveQueueSize: 32, hostSendQueueSize: 31),
            RDMAConnectRequest(queueID: 1, hostReceiveQueueSize: 16, hostSendQueueSize: 15, controllerID: 1),
            RDMAConnectRequest(queueID: 9, hostReceiveQueueSize: 0, hostSendQueueSize: 0xFFFF),
        ]
        return [wanted.flatMap { [8, 32] + $0.privateData }, wanted.suffix(1).flatMap { [0, 31] + $0.privateData }]
    }()
}

/// A target on a network in virtual time, and a host that asks for connections.
private final class FuzzedListener {
    private let address: SocketAddress
    private let targetDevice: SimulatedDevice
    private let simulation: Simulation
    private let target: Target
    private let group: PollGroup
    private let host: RequestingHost

    init() {
        let network = SimulatedNetwork(seed: 1)
        simulation = Simulation(network: network)
        targetDevice = network.makeDevice("target", addresses: ["192.0.2.1"])
        // As on iWARP, private data arrives as long as it was sent.
        targetDevice.limits.isIWARP = true
        let options = TargetOptions(
            queueDepth: 16, maxIOQueues: 2, inCapsuleDataSize: 4096, maxTransferSize: 64 << 10,
            sharedReceiveEntries: 32, requests: 64, dataMemory: 1 << 20, controlMemory: 128 << 10, maxNamespaces: 4)
        target = Target(options: options, bootInstance: 7, now: network.now, observe: { _ in })
        group = PollGroup(target: target, transport: RDMATargetTransport(SimulatedFabric([targetDevice]), options))
        guard let address = SocketAddress(host: "192.0.2.1", port: 4420) else { invariantViolated("an address") }
        self.address = address
        let device = network.makeDevice("host", addresses: ["192.0.2.2"])
        device.limits.isIWARP = true
        host = RequestingHost(SimulatedFabric([device]))
        simulation.add(group)
        simulation.add(host)
        let state = DesiredState(target)
        do {
            try state.change { $0.listeners = [address] }
            for _ in 0..<1000 where try !state.proceed() { simulation.run(forNanoseconds: 1_000_000) { false } }
        } catch { invariantViolated("the target listens where it is told to") }
    }

    func request(_ bytes: UnsafeRawBufferPointer) {
        host.request(address, resources: bytes[0], Array(bytes[2..<2 + min(Int(bytes[1]), 32)]))
        simulation.run(forNanoseconds: 2_000_000_000) { self.host.isAnswered }
        invariant(host.isAnswered, "a request is accepted or refused in time")
    }

    func end() {
        host.leave()
        simulation.run(forNanoseconds: 2_000_000_000) { self.targetDevice.existingQueuePairs == 0 }
        invariant(targetDevice.existingQueuePairs == 0, "a host that has gone has no queue pairs")
        group.close()
    }
}

/// A host that asks for connections, and no more.
private final class RequestingHost: Poller {
    private let fabric: SimulatedFabric
    private var context: FabricContext?
    private var connections: [ConnectionHandle] = []
    private var parameters = ConnectionParameters(responderResources: 1, initiatorDepth: 1, privateData: [])
    private(set) var isAnswered = true

    init(_ fabric: SimulatedFabric) { self.fabric = fabric }

    func request(_ address: SocketAddress, resources: UInt8, _ privateData: [UInt8]) {
        isAnswered = false
        parameters = ConnectionParameters(
            responderResources: resources, initiatorDepth: 1, privateData: privateData)
        guard let connection = try? fabric.resolve(address, from: nil, timeoutMilliseconds: 1000) else {
            invariantViolated("there is a way to the target")
        }
        connections.append(connection)
    }

    func leave() { for connection in connections { fabric.destroy(connection) } }

    override func poll(now: MonotonicTime) -> Int {
        var work = 0
        while let event = fabric.nextEvent() {
            work += 1
            do { try handle(event) } catch { invariantViolated("a host connects as it likes") }
        }
        return work
    }

    private func handle(_ event: ConnectionEvent) throws {
        switch event {
        case .routeResolved(let connection):
            let made =
                try context
                ?? fabric.context(
                    for: connection,
                    ContextOptions(completionQueueEntries: 1024, sharedReceiveEntries: 0, queuePairs: 16))
            context = made
            let options = QueuePairOptions(
                sendEntries: 16, receiveEntries: 16, usesSharedReceiveQueue: false, sendSegments: 1)
            _ = try made.createQueuePair(for: connection, options)
            try fabric.connect(connection, parameters)
        case .established(_, let accepted):
            invariant((try? RDMAConnectReply(decoding: accepted.privateData)) != nil, "an acceptance has its form")
            isAnswered = true
        case .rejected(_, let data, _):
            invariant(RDMARejectStatus(decoding: data) != nil, "a refusal has a reason")
            isAnswered = true
        case .failed, .disconnected, .deviceRemoved: isAnswered = true
        case .requested, .listenerLost: break
        }
    }
}
