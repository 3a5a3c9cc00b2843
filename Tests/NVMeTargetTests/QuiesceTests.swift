import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import Testing

/// A host's commands are over before the host goes on over another association.
@Suite struct QuiesceTests {
    /// Vendor specific opcode C0h with the controller's identifier in dword 10.
    private func quiesce(_ id: UInt16) -> RawCommand { RawCommand(opcode: 0xC0).with(10, UInt32(id)) }

    private let connect = RawConnect(host: 1)

    /// A host whose write of AAh on each queue is at a device that is stuck.
    private func scene(groups: Int = 1) throws -> (EngineWorld, SimulatedDisk, first: EngineHost) {
        let (world, device) = try EngineWorld.steered(groups: groups)
        let first = try world.attach(ioQueues: UInt16(groups), host: 1)
        device.behaviour.isStuck = true
        for queue in first.io.indices { _ = first.sendWrite(0xAA, blocks: 8, queue: queue) }
        world.pass(milliseconds: 10)
        return (world, device, first)
    }

    /// The host loses its connections, and asks for a new association: its queue and the command's identifier.
    private func comeBack(_ first: EngineHost) -> (queue: InProcessQueue, connect: UInt16) {
        first.leave()
        first.world.pass(milliseconds: 50)
        let queue = first.world.open()
        return (queue, first.world.send(connect, on: queue))
    }

    @Test(arguments: [1, 3]) func connectWaitsForCommandsOfAnAssociationThatEnded(groups: Int) throws {
        let (world, device, first) = try scene(groups: groups)
        let (queue, id) = comeBack(first)
        world.pass(milliseconds: 1000)
        #expect(world.answer(to: id, on: queue) == nil && !queue.isClosed, "the old association's write may still land")
        // Nobody else has to wait for it. Another Connect that waits goes with its host.
        #expect(try world.attach(host: 2).isThere)
        let other = comeBack(first).queue
        world.pass(milliseconds: 100)
        other.disconnect()
        device.behaviour.isStuck = false
        #expect(world.status(of: id, on: queue) == .success)
        queue.disconnect()
        let again = try world.attach(host: 1)
        #expect(try again.read()[0] == 0xAA, "the old write has landed before")
        #expect(try again.write(0xBB) == .success)
        world.pass(milliseconds: 1000)
        #expect(try again.read()[0] == 0xBB, "and not after the new one")
    }

    /// The reason is told at both ends, before the host gives up without one.
    @Test(arguments: [1, 3]) func aConnectThatWaitsForTooLongIsTold(groups: Int) throws {
        let (world, device, first) = try scene(groups: groups)
        let (queue, id) = comeBack(first)
        world.pass(milliseconds: 200)
        #expect(!world.events.contains("connectHeld"), "a moment is no news")
        world.pass(milliseconds: 800)
        #expect(world.events.contains("controllers: [\(first.controllerID)]"))
        #expect(world.events.all.last?.contains("isRefused: false") == true)
        world.pass(milliseconds: 18_000)
        #expect(world.answer(to: id, on: queue) == nil)
        world.pass(milliseconds: 2_000)
        #expect(world.status(of: id, on: queue) == .specific(NVME_SC_CONNECT_CTRL_BUSY), "without Do Not Retry")
        #expect(world.events.all.last?.contains("isRefused: true") == true)
        // The host may try again on the same queue, whose connection is by then older than a silent host's may be.
        let again = world.send(connect, on: queue)
        world.pass(milliseconds: 15_000)
        #expect(!queue.isClosed && world.answer(to: again, on: queue) == nil)
        #expect(world.events.all.filter { $0.contains("isRefused: false") }.count == 1, "told once")
        device.behaviour.isStuck = false
        #expect(world.status(of: again, on: queue) == .success)
    }

    @Test(arguments: [1, 3]) func quiesceEndsAnAssociationThatTheTargetTakesForAlive(groups: Int) throws {
        let (world, device, first) = try scene(groups: groups)
        let second = try world.attach(host: 1)
        #expect(first.isThere, "a second path to the subsystem leaves the first one alone")
        let id = world.send(quiesce(first.controllerID), on: second.admin)
        world.pass(milliseconds: 1000)
        #expect(first.isGone)
        #expect(world.answer(to: id, on: second.admin) == nil, "its write is at the device")
        device.behaviour.isStuck = false
        #expect(world.status(of: id, on: second.admin) == .success)
        #expect(try second.read()[0] == 0xAA)
        // An association that is gone already needs no waiting.
        for id in [first.controllerID, 0x7FFF] { #expect(try second.manage(quiesce(id)).isSuccess) }
        second.expectServed()
    }

    @Test func quiesceIsForTheHostsOwnOtherAssociations() throws {
        let world = try EngineWorld()
        let (first, other) = (try world.attach(host: 1), try world.attach(host: 2))
        // The same name with another identifier is another host (NVMe Base, "Host Identifier").
        let third = try world.attach(host: .init(nqn: other.name.nqn, id: 3))
        for (asks, about) in [(first, other), (first, first), (third, other)] {
            #expect(try asks.manage(quiesce(about.controllerID)).status == .refused(NVME_SC_INVALID_FIELD))
        }
        for host in [first, other, third] { host.expectServed() }
        // The mark of these targets, the run, and behind it bit 0 for Quiesce, bit 1 for the presence of registrants, bit 2 for
        // what managers of pools may ask for.
        let page = try world.identify(on: first.admin)[3072..<3096]
        #expect(Array(page.prefix(8)) == [0x31, 0x30, 0x74, 0x65, 0x72, 0x63, 0x65, 0x74])
        #expect(page[3080] == 7 && page[3088] == 7)
    }

    /// Behind a disk that hangs, what waits for its commands holds none of the receive buffers that others need.
    @Test(arguments: [false, true]) func whatWaitsHoldsNoReceiveBuffers(isInCapsule: Bool) throws {
        let (world, device, first) = try scene()
        first.leave()
        world.pass(milliseconds: 50)
        let held = world.heldCapsules
        let queue = world.open()
        let data = isInCapsule ? InProcessData.inCapsule(connect.data) : .fromHost(connect.data)
        let ids = (0..<31).map { _ in world.send(connect.command, data, on: queue) }
        world.pass(milliseconds: 100)
        #expect(world.heldCapsules == held)
        device.behaviour.isStuck = false
        #expect(world.status(of: ids[0], on: queue) == .success)
        let others = ids.dropFirst().map { world.status(of: $0, on: queue)?.code }
        #expect(others.allSatisfy { $0 == NVME_SC_CMD_SEQ_ERROR.rawValue })
    }

    @Test(arguments: [1, 3]) func aQuiesceThatWaitsForTooLongIsTold(groups: Int) throws {
        let (world, device, first) = try scene(groups: groups)
        let second = try world.attach(host: 1)
        let held = world.heldCapsules
        let answers = second.admin.answers.count
        let ids = (0..<8).map { _ in world.send(quiesce(first.controllerID), on: second.admin) }
        world.pass(milliseconds: 19_000)
        #expect(second.admin.answers.count == answers)
        #expect(world.heldCapsules == held, "they hold no receive buffers")
        world.pass(milliseconds: 2_000)
        let statuses = ids.map { world.status(of: $0, on: second.admin) }
        #expect(statuses.allSatisfy { $0 == .generic(NVME_SC_CMD_INTERRUPTED) }, "without Do Not Retry: \(statuses)")
        // A host that waits may go.
        for _ in 0..<8 { world.send(quiesce(first.controllerID), on: second.admin) }
        world.pass(milliseconds: 100)
        #expect(world.target.subsystems[0].drainWaiterCount == 8)
        second.leave()
        #expect(world.run(milliseconds: 2000) { world.target.subsystems[0].drainWaiterCount == 0 })
        device.behaviour.isStuck = false
        world.settle()
    }
}
