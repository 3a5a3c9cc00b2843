import Base
import InProcessTransport
import NVMeTarget
import TargetInterface
import Testing

/// An address goes away under a target that listens there, and comes back.
@Suite struct LostListenerTests {
    private static let addresses = ["192.0.2.1", "192.0.2.2"].map { SocketAddress(host: $0, port: 4420)! }

    private func world() throws -> EngineWorld {
        let world = try EngineWorld()
        try world.change { $0.listeners = Self.addresses }
        #expect(world.transport.listeners == Self.addresses)
        return world
    }

    /// Applies the same definition once more; the parts that are missing then.
    private func applyAgain(_ world: EngineWorld) throws -> [TargetPart] {
        try world.state.change { _ in }
        for _ in 0..<16 where try !world.state.proceed() { world.settle() }
        #expect(try world.state.proceed())
        return world.state.report.missing.map(\.part)
    }

    @Test func theNextReloadListensThereAgain() throws {
        let world = try world()
        world.transport.remove(Self.addresses[1])
        world.settle()
        #expect(world.target.lostListeners == [Self.addresses[1]])
        #expect(try applyAgain(world) == [.listener(Self.addresses[1])])
        #expect(world.transport.listeners == [Self.addresses[0]])
        world.transport.absent = []
        #expect(try applyAgain(world) == [])
        #expect(world.state.report.done == ["listener \(Self.addresses[1]) added"])
        #expect(world.transport.listeners == Self.addresses)
        #expect(world.target.lostListeners == [])
        #expect(try applyAgain(world) == [] && world.state.report.done == [])
    }

    @Test func oneThatIsNotWantedAnyMoreIsForgotten() throws {
        let world = try world()
        world.transport.remove(Self.addresses[0])
        world.settle()
        try world.change { $0.listeners = [Self.addresses[1]] }
        #expect(world.target.lostListeners == [])
        world.transport.absent = []
        try world.change { $0.listeners = Self.addresses }
        #expect(Set(world.transport.listeners) == Set(Self.addresses))
    }

    /// It is lost while something else is brought about.
    @Test func oneThatIsLostMeanwhileIsNotTakenForOneThatIsThere() throws {
        let world = try world()
        try world.state.change { $0[EngineWorld.nqn] = nil }
        world.transport.remove(Self.addresses[0])
        for _ in 0..<16 where try !world.state.proceed() { world.settle() }
        #expect(try world.state.proceed())
        #expect(world.target.lostListeners == [Self.addresses[0]])
        world.transport.absent = []
        #expect(try applyAgain(world) == [])
        #expect(Set(world.transport.listeners) == Set(Self.addresses))
    }
}
