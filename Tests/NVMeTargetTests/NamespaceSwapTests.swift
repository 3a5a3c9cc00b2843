import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// A namespace is replaced by another one of the same identifier while commands for the first are under way.
@Suite struct NamespaceSwapTests {
    /// The status of any command to a namespace that is not there.
    private let gone = RawStatus.refused(NVME_SC_INVALID_NS)

    /// A world whose namespace 1 has blocks of 512 bytes, and the device that takes its place, full of a pattern.
    private struct Scene {
        let world: EngineWorld
        let first: SimulatedDisk
        let second: SimulatedDisk
        let host: EngineHost

        init(_ options: TargetOptions = .small(), blockSize: UInt32) throws {
            (world, first) = try EngineWorld.steered(options)
            second = .instant(blockSize: blockSize)
            for index in second.contents.indices { second.contents[index] = 0x5A }
            host = try world.attach()
        }

        func swap() throws { try world.setNamespaces(EngineWorld.namespace(1, second, fill: 2)) }

        var secondIsUntouched: Bool { second.contents.allSatisfy { $0 == 0x5A } }
    }

    @Test(arguments: [512, 4096] as [UInt32], [false, true])
    func aWriteWhoseDataIsOnItsWayDoesNotReachTheNewDevice(blockSize: UInt32, isFused: Bool) throws {
        let scene = try Scene(blockSize: blockSize)
        let (world, queue) = (scene.world, scene.host.io[0])
        world.isFull = true
        // FUSE, bits 1:0 of the flags: the first half, then the second. The disk writes a block atomically.
        let fused = [RawCommand.io(nvme_cmd_compare, 8, flags: 0x41), .io(nvme_cmd_write, 8, flags: 0x42)]
        let commands = isFused ? fused : [.io(nvme_cmd_write, 8, 8)]
        let data = InProcessData.fromHost([UInt8](repeating: 0, count: isFused ? 512 : 4096))
        let ids = commands.map { world.send($0, data, on: queue) }
        world.settle()
        #expect(scene.world.use.requests[.fetching] == ids.count)
        try scene.swap()
        world.isFull = false
        let replies = ids.map { world.status(of: $0, on: queue) }
        #expect(replies == (isFused ? [.generic(NVME_SC_FUSED_FAIL), gone] : [gone]))
        #expect(scene.secondIsUntouched)
    }

    @Test(arguments: [512, 4096] as [UInt32])
    func aReadThatWaitsForMemoryIsNotDoneOnTheNewDevice(blockSize: UInt32) throws {
        let scene = try Scene(.small { $0.dataMemory = 64 << 10 }, blockSize: blockSize)
        let (world, queue) = (scene.world, scene.host.io[0])
        scene.first.behaviour.isStuck = true
        let ids = (0..<8).map { _ in scene.host.sendRead(blocks: 64) }
        world.settle()
        #expect(scene.world.use.requests[.awaitingBuffer] ?? 0 > 0)
        let running = scene.world.use.requests[.executing] ?? 0
        try scene.swap()
        scene.first.behaviour.isStuck = false
        let answers = try ids.map { try #require(world.answer(to: $0, on: queue)) }
        #expect(answers.filter(\.isSuccess).count == running, "those that the first device had")
        #expect(answers.filter { $0.status == gone }.count == ids.count - running)
        #expect(answers.allSatisfy { $0.data.allSatisfy { $0 == 0 } }, "nothing of the new device")
        #expect(try scene.host.execute(.flush()) == .success)
    }

    /// The ranges were checked against the first device.
    @Test func aDatasetManagementIsNotContinuedOnTheNewDevice() throws {
        let scene = try Scene(blockSize: 4096)
        let (world, queue) = (scene.world, scene.host.io[0])
        scene.first.behaviour.isStuck = true
        let ranges = (0..<256).flatMap { RawCommand.range($0, 1) }
        // The channel takes 512 operations: the second command gets all but one of its ranges to the device, the third none.
        let flush = world.send(.flush(), on: queue)
        let ids = (0..<3).map { _ in world.send(.deallocate(ranges: 256), .fromHost(ranges), on: queue) }
        world.settle()
        #expect(scene.world.use.awaitsBlock, "the channel is full")
        try scene.swap()
        // Nothing of the third was at the device: it was looked at while no namespace was there.
        #expect(world.status(of: ids[2], on: queue) == .generic(NVME_SC_INVALID_NS))
        scene.first.behaviour.isStuck = false
        #expect(([flush] + ids.prefix(2)).map { world.status(of: $0, on: queue) } == [.success, .success, gone])
        #expect(scene.secondIsUntouched)
    }

    /// A flush on the new device would tell a host that what it wrote to the first one is durable. Hosts that share a
    /// namespace by reservations have to look anew.
    @Test func aHostThatIsRegisteredIsDisconnected() throws {
        let scene = try Scene(blockSize: 512)
        let registered = try scene.world.attach(host: 1)
        try ReservingHost(registered).join(1)
        #expect(try registered.execute(.flush()) == .success)
        try scene.swap()
        #expect(scene.world.run(milliseconds: 2000) { registered.isGone })
        #expect(try scene.host.execute(.flush()) == .success, "one that is not, goes on")
        #expect(try scene.world.attach(host: 1).execute(.flush()) == .success)
    }

    /// A host's read comes in the same round in which its namespace is replaced: it is answered, and never by the other namespace.
    @Test func aReplacedNamespaceAnswersNothingThatWasMeantForTheOneBefore() throws {
        let scene = try Scene(blockSize: 512)
        let (world, host) = (scene.world, scene.host)
        #expect(try host.write(0xAB) == .success)
        let instance = try world.instance(host.admin)
        #expect(try world.instance(host.admin) == instance)
        let id = host.sendRead()
        try world.state.change { $0[EngineWorld.nqn]?.namespaces = [EngineWorld.namespace(1, scene.second, fill: 2)] }
        // The removal is on its way to the reactor, and nothing is in its place before that has taken it on.
        let isDone = try world.state.proceed()
        #expect(!isDone)
        let answer = try #require(host.answer(to: id))
        #expect(!answer.isSuccess || answer.data.first == 0xAB)
        try world.proceed()
        #expect(try host.read().first == 0x5A)
        #expect(try world.instance(host.admin) != instance, "Identify says that the namespace is another one")
    }
}
