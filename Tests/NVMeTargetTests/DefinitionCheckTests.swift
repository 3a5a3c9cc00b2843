import Base
import InProcessTransport
import MemoryBlock
import NVMeSpec
import NVMeTarget
import TargetInterface
import Testing

/// Definitions that cannot be brought about: they are refused as a whole, in words, and the target stays as it is.
@Suite struct DefinitionCheckTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var make: @Sendable (inout TargetDefinition) -> Void
    }

    private static let address = SocketAddress(host: "192.0.2.1", port: 4420)!

    static let mistakes: [Mistake] =
        [
            Mistake(testDescription: "subsystem \(EngineWorld.nqn) is there twice") { definition in
                definition.subsystems.append(definition.subsystems[0])
            },
            Mistake(testDescription: "listener 192.0.2.1:4420 is there twice") { $0.listeners = [address, address] },
            Mistake(testDescription: "subsystem \(EngineWorld.nqn): namespace 1 is there twice") { definition in
                definition.subsystems[0].namespaces.append(definition.subsystems[0].namespaces[0])
            },
            Mistake(
                testDescription:
                    "subsystem nqn.2014-08.org.nvmexpress.discovery: the discovery subsystem is there by itself"
            ) {
                $0.subsystems.append(
                    SubsystemDefinition(nqn: "nqn.2014-08.org.nvmexpress.discovery", access: .hosts([])))
            },
        ]
        + ([0, 129, 256, 257, .max] as [UInt32]).flatMap { group in
            [
                Mistake(testDescription: "subsystem \(EngineWorld.nqn): ANA group \(group): groups go from 1 to 128") {
                    $0[EngineWorld.nqn]?.anaStates[ANAGroupPlace(group: group)] = .change
                },
                Mistake(testDescription: "subsystem \(EngineWorld.nqn): ANA group \(group): groups go from 1 to 128") {
                    $0.subsystems[0].namespaces[0].anaGroup = group
                },
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

    /// A host's read comes in the same round in which its namespace is replaced: it is answered, and never by the other namespace.
    @Test func aReplacedNamespaceAnswersNothingThatWasMeantForTheOneBefore() throws {
        let world = try EngineWorld()
        let host = try world.attach()
        let read = RawCommand(opcode: 0x02, nsid: 1).range(0, 1)
        let write = RawCommand(opcode: 0x01, nsid: 1).range(0, 1)
        try world.execute(write, .fromHost([UInt8](repeating: 0xAB, count: 512)), on: host.io[0])
        let device = try RAMDevice(byteCount: 4 << 20)
        let id = world.send(read, .toHost(512), on: host.io[0])
        try world.state.change {
            $0[EngineWorld.nqn]?.namespaces = [TargetWorld.namespace(1, device, fill: 0xCD)]
        }
        // The removal is on its way to the reactor, and nothing is in its place before that has taken it on.
        let isDone = try world.state.proceed()
        #expect(!isDone)
        let answer = try #require(world.answer(to: id, on: host.io[0]))
        #expect(!answer.completion.isSuccess || answer.data.first == 0xAB)
        for _ in 0..<16 where try !world.state.proceed() { world.settle() }
        world.settle()
        #expect(try world.execute(read, .toHost(512), on: host.io[0]).data.first == 0)
    }
}
