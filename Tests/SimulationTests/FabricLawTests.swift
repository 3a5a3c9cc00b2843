import Base
import FabricInterface
import FabricLaws
import Simulation
import Testing

/// The laws' world: one device, and time that passes when the laws say so.
private final class SimulatedLawWorld: FabricLawWorld {
    let network: SimulatedNetwork
    let device: SimulatedDevice

    init(seed: UInt64) {
        network = SimulatedNetwork(seed: seed)
        device = network.makeDevice("sim0", addresses: ["192.0.2.1"])
    }

    override func makeFabric() throws -> Fabric { SimulatedFabric([device]) }
    override var address: SocketAddress { SocketAddress(host: "192.0.2.1", port: 0)! }
    override func progress() { network.step() }
    override var patience: Int { 1000 }
}

@Suite struct FabricLawTests {
    @Test(arguments: [1, 2, 0xC0FFEE] as [UInt64]) func simulatedFabricKeepsTheLaws(seed: UInt64) {
        let world = SimulatedLawWorld(seed: seed)
        world.check(FabricLaw.all) { law, error in
            #expect(error == nil, "seed \(seed), law: \(law.name): \(error.map { "\($0)" } ?? "")")
        }
        world.network.runUntilIdle()
        #expect(world.device.existingQueuePairs == 0)
        #expect(world.device.registeredRegions == 0)
    }

    @Test func aRequestThatCannotBeAdoptedIsStillThereToBeDiscarded() throws {
        let world = SimulatedLawWorld(seed: 3)
        let (server, client) = (try world.makeFabric(), try world.makeFabric())
        let stranger = SimulatedFabric([world.network.makeDevice("sim1", addresses: ["192.0.2.2"])])
        defer { for fabric in [server, client, stranger] { fabric.close() } }
        /// The next event of one kind; others are passed over.
        func event<Result>(_ fabric: Fabric, _ find: (ConnectionEvent) -> Result?) throws -> Result {
            for _ in 0..<world.patience {
                while let event = fabric.nextEvent() { if let found = find(event) { return found } }
                world.progress()
            }
            throw TercetError(call: "wait", errno: 0, reason: "the event did not come")
        }
        let listener = try server.listen(at: world.address, backlog: 4)
        let address = try #require(server.address(of: listener))
        let connection = try client.resolve(address, from: nil, timeoutMilliseconds: 1000)
        try event(client) { if case .routeResolved = $0 { () } else { nil } }
        let context = try client.context(
            for: connection, ContextOptions(completionQueueEntries: 16, sharedReceiveEntries: 0, queuePairs: 1))
        _ = try context.createQueuePair(
            for: connection, QueuePairOptions(sendEntries: 4, receiveEntries: 4, usesSharedReceiveQueue: false))
        try client.connect(connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
        let request = try event(server) { if case .requested(let request, _) = $0 { request } else { nil } }
        let ticket = server.handOver(request)
        #expect(throws: TercetError.self) { try stranger.adopt(ticket) }
        stranger.discard(ticket)
        try event(client) { if case .rejected = $0 { () } else { nil } }
    }
}
