import Base
import NVMeSpec
import NVMeTarget
import TargetInterface
import Testing

/// Definitions that cannot be brought about: they are refused as a whole, in words, and the target stays as it is.
@Suite struct DefinitionCheckTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var make: @Sendable (inout TargetDefinition) -> Void

        init(_ name: String, _ make: @escaping @Sendable (inout TargetDefinition) -> Void) {
            (testDescription, self.make) = (name, make)
        }
    }

    private static let address = EngineWorld.address(4420)

    static let mistakes: [Mistake] =
        [
            Mistake("subsystem \(EngineWorld.nqn) is there twice") { $0.subsystems += $0.subsystems },
            Mistake("listener 192.0.2.1:4420 is there twice") { $0.listeners = [address, address] },
            Mistake("subsystem \(EngineWorld.nqn): namespace 1 is there twice") {
                $0.subsystems[0].namespaces += $0.subsystems[0].namespaces
            },
            Mistake("subsystem nqn.2014-08.org.nvmexpress.discovery: the discovery subsystem is there by itself") {
                $0.subsystems.append(SubsystemDefinition(nqn: EngineWorld.discovery, access: .hosts([])))
            },
        ]
        + ([0, 129, 256, 257, .max] as [UInt32]).flatMap { group in
            let message = "subsystem \(EngineWorld.nqn): ANA group \(group): groups go from 1 to 128"
            return [
                Mistake(message) { $0[EngineWorld.nqn]?.anaStates[ANAGroupPlace(group: group)] = .change },
                Mistake(message) { $0.subsystems[0].namespaces[0].anaGroup = group },
            ]
        }

    @Test(arguments: mistakes) func nothingIsDone(_ mistake: Mistake) throws {
        let world = try EngineWorld()
        let before = world.target.reached
        var wrong = before
        mistake.make(&wrong)
        #expect(throws: TercetError(.invalid, mistake.testDescription)) { try world.state.apply(wrong) }
        world.settle()
        #expect(world.target.reached == before)
        #expect(world.target.subsystems.map(\.statistics.readCommands) == [0])
    }
}
