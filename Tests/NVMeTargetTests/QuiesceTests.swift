import BlockInterface
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import Testing

/// A host's commands are over before the host goes on over another association.
@Suite struct QuiesceTests {
    /// Vendor specific opcode C0h with the controller's identifier in dword 10.
    private func quiesce(_ controllerID: UInt16) -> RawCommand {
        RawCommand(opcode: 0xC0).with(10, UInt32(controllerID))
    }

    /// Another machine of the same host: a second port, or the same one after its end.
    private func twin(of host: RawHost, in world: TargetWorld) -> RawHost {
        let twin = world.addHost()
        twin.nqn = host.nqn
        twin.id = host.id
        return twin
    }

    /// A host loses its connections, and asks for a new association: its second self, the queue and the command's identifier.
    private func comeBack(
        _ first: AttachedHost, in world: TargetWorld
    ) throws -> (second: RawHost, queue: RawQueue, connect: UInt16) {
        first.host.destroyAll()
        world.pass(milliseconds: 50)
        let second = twin(of: first.host, in: world)
        let queue = try world.open(second)
        return (second, queue, queue.send(RawConnect(second).command))
    }

    private func write(_ attached: AttachedHost, _ value: UInt8, _ length: Int = 4096) -> UInt16 {
        let offset = attached.host.allocate(length)
        for index in offset..<offset + length { attached.host.memory[index] = value }
        return attached.io[0].send(
            RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(0, length / 512)
                .with(sgl: attached.host.keyed(offset, length)))
    }

    private func firstByte(_ world: TargetWorld, _ attached: AttachedHost) throws -> UInt8 {
        let offset = attached.scratch(4096)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8)
            .with(sgl: attached.host.keyed(offset, 4096))
        #expect(try world.execute(attached.io[0], read).isSuccess)
        return attached.host.memory[offset]
    }

    @Test(arguments: [1, 3]) func connectWaitsForCommandsOfAnAssociationThatEnded(groups: Int) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        let first = try world.attach(ioQueues: groups)
        let stranger = try world.attach()
        disk.behaviour.isStuck = true
        for queue in first.io {
            let offset = first.host.allocate(4096)
            queue.send(
                RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(64, 8)
                    .with(sgl: first.host.keyed(offset, 4096)))
        }
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        let (second, queue, connect) = try comeBack(first, in: world)
        world.pass(milliseconds: 1000)
        #expect(queue.take(connect) == nil, "the old association's write may still land")
        #expect(queue.isOpen)
        // Nobody else has to wait for it.
        let other = try world.attach()
        #expect(other.admin.isOpen)

        disk.behaviour.isStuck = false
        #expect(try world.completion(of: connect, queue).isSuccess)
        second.destroyAll()
        let again = try world.attach(second)
        #expect(try firstByte(world, again) == 0xAA, "the old write has landed before")
        let id = write(again, 0xBB)
        #expect(try world.completion(of: id, again.io[0]).isSuccess)
        world.pass(milliseconds: 1000)
        #expect(try firstByte(world, again) == 0xBB, "and not after the new one")
        world.expectServed(stranger)
    }

    /// The reason is told at both ends, before the host gives up without one.
    @Test(arguments: [1, 3]) func aConnectThatWaitsForTooLongIsTold(groups: Int) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        let witness = try world.attach()
        let before = try world.baseline()
        let first = try world.attach(ioQueues: groups)
        disk.behaviour.isStuck = true
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        let (second, queue, connect) = try comeBack(first, in: world)
        world.pass(milliseconds: 200)
        #expect(!world.events.contains("connectHeld"), "a moment is no news")
        world.pass(milliseconds: 800)
        #expect(world.events.contains("controllers: [\(first.controllerID)]"))
        #expect(world.events.all.last?.contains("isRefused: false") == true)
        world.pass(milliseconds: 18_000)
        #expect(queue.take(connect) == nil)
        world.pass(milliseconds: 2_000)
        let busy = RawStatus.specific(NVME_SC_CONNECT_CTRL_BUSY)
        #expect(queue.take(connect)?.status == busy, "without Do Not Retry")
        #expect(world.events.all.last?.contains("isRefused: true") == true)
        // The host may try again on the same queue, whose connection is by then older than a silent host's may be.
        let again = queue.send(RawConnect(second).command)
        world.pass(milliseconds: 15_000)
        #expect(queue.isOpen && queue.take(again) == nil)
        #expect(world.events.all.filter { $0.contains("isRefused: false") }.count == 1, "told once")
        disk.behaviour.isStuck = false
        #expect(try world.completion(of: again, queue).isSuccess)
        second.destroyAll()
        world.expectPools(before)
        world.expectServed(witness)
    }

    @Test(arguments: [1, 3]) func quiesceEndsAnAssociationThatTheTargetTakesForAlive(groups: Int) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        let first = try world.attach(ioQueues: groups)
        disk.behaviour.isStuck = true
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        let second = try world.attach(twin(of: first.host, in: world))
        #expect(first.admin.isOpen, "a second path to the subsystem leaves the first one alone")

        let id = second.admin.send(quiesce(first.controllerID))
        world.pass(milliseconds: 1000)
        #expect(first.admin.end != nil && first.io.allSatisfy { $0.end != nil })
        #expect(second.admin.take(id) == nil, "its write is at the device")
        disk.behaviour.isStuck = false
        #expect(try world.completion(of: id, second.admin).isSuccess)
        #expect(try firstByte(world, second) == 0xAA)
        // An association that is gone already needs no waiting.
        #expect(try world.execute(second.admin, quiesce(first.controllerID)).isSuccess)
        #expect(try world.execute(second.admin, quiesce(0x7FFF)).isSuccess)
        world.expectServed(second)
    }

    @Test func quiesceIsForTheHostsOwnOtherAssociations() throws {
        let (world, _) = try TargetWorld.onDisk(groups: 1)
        let first = try world.attach()
        let other = try world.attach()
        let refused = RawStatus(code: NVME_SC_INVALID_FIELD.rawValue, doNotRetry: true)
        #expect(try world.execute(first.admin, quiesce(other.controllerID)).status == refused)
        #expect(try world.execute(first.admin, quiesce(first.controllerID)).status == refused)
        // The same name with another identifier is another host (NVMe Base, "Host Identifier").
        let namesake = world.addHost()
        namesake.nqn = other.host.nqn
        let third = try world.attach(namesake)
        #expect(try world.execute(third.admin, quiesce(other.controllerID)).status == refused)
        world.expectServed(first)
        world.expectServed(other)
        world.expectServed(third)
    }

    /// A host that waits may go as well.
    @Test func aConnectThatWaitsGoesWithItsHost() throws {
        let (world, disk) = try TargetWorld.onDisk(groups: 2)
        let witness = try world.attach()
        let before = try world.baseline()
        let first = try world.attach(ioQueues: 2)
        disk.behaviour.isStuck = true
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        let second = try comeBack(first, in: world).second
        world.pass(milliseconds: 100)
        second.destroyAll()
        world.pass(milliseconds: 100)
        disk.behaviour.isStuck = false
        world.expectPools(before)
        world.expectServed(witness)
    }

    /// Behind a disk that hangs, what waits for its commands holds none of the receive buffers that others need.
    @Test(arguments: [false, true]) func whatWaitsHoldsNoReceiveBuffers(isInCapsule: Bool) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: 1)
        let before = try world.baseline()
        let first = try world.attach()
        disk.behaviour.isStuck = true
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        first.host.destroyAll()
        world.pass(milliseconds: 50)
        let receives = world.pools.receives

        let second = twin(of: first.host, in: world)
        let queue = try world.open(second)
        var connect = RawConnect(second).command
        var data: [UInt8] = []
        if isInCapsule {
            let offset = second.connectData()
            data = Array(second.memory[offset..<offset + 1024])
            connect.sgl = RawSGL.offset(0, length: 1024)
        }
        let ids = (0..<31).map { _ in queue.send(connect, data: data) }
        world.pass(milliseconds: 100)
        #expect(world.pools.receives == receives)
        disk.behaviour.isStuck = false
        #expect(try world.completion(of: ids[0], queue).isSuccess)
        for id in ids.dropFirst() {
            #expect(try world.completion(of: id, queue).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        }
        second.destroyAll()
        world.expectPools(before)
    }

    /// As a Connect that waits for too long is.
    @Test(arguments: [1, 3]) func aQuiesceThatWaitsForTooLongIsTold(groups: Int) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        let first = try world.attach(ioQueues: groups)
        let second = try world.attach(twin(of: first.host, in: world))
        disk.behaviour.isStuck = true
        _ = write(first, 0xAA)
        world.pass(milliseconds: 5)
        let receives = world.pools.receives
        let ids = (0..<8).map { _ in second.admin.send(quiesce(first.controllerID)) }
        world.pass(milliseconds: 19_000)
        #expect(second.admin.completions.isEmpty)
        #expect(world.pools.receives == receives, "they hold no receive buffers")
        world.pass(milliseconds: 2_000)
        for id in ids {
            #expect(second.admin.take(id)?.status == .generic(NVME_SC_CMD_INTERRUPTED), "without Do Not Retry")
        }
        // A host that waits may go.
        for _ in 0..<8 { second.admin.send(quiesce(first.controllerID)) }
        world.pass(milliseconds: 100)
        #expect(world.target.subsystems[0].drainWaiterCount == 8)
        second.host.destroyAll()
        try world.wait("that nobody waits") { world.target.subsystems[0].drainWaiterCount == 0 }
        disk.behaviour.isStuck = false
    }

    @Test func identifySaysThatQuiesceIsThere() throws {
        let world = try EngineWorld()
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue).with(10, 1)
        let page = try world.execute(identify, .toHost(4096), on: world.attach().admin).data[3072..<3096]
        // The mark of these targets, the run, and behind it bit 0 for Quiesce, bit 1 for the presence of registrants.
        #expect(Array(page.prefix(8)) == [0x31, 0x30, 0x74, 0x65, 0x72, 0x63, 0x65, 0x74])
        #expect(page[3080] == 7 && page[3088] == 3)
    }
}
