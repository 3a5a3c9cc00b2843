import FabricInterface
import FabricLaws
import LoopbackFabric
import Testing

/// The loopback network keeps what every fabric keeps, so that what passes on it means something.
@Suite struct LoopbackTests {
    private final class LoopbackWorld: FabricLawWorld {
        let network = LoopbackNetwork()
        override func makeFabric() throws -> Fabric { LoopbackFabric(network) }
        override var patience: Int { 1000 }
    }

    @Test(arguments: FabricLaw.all.map(\.name))
    func keepsTheLaw(name: String) throws {
        let law = try #require(FabricLaw.all.first { $0.name == name })
        try law.check(in: LoopbackWorld())
    }
}
