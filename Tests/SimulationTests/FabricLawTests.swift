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
}
