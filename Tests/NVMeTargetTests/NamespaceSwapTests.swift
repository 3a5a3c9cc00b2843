import BlockInterface
import CLibNVMe
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// A namespace is replaced by another one of the same identifier while commands for the first are under way.
@Suite struct NamespaceSwapTests {
    /// The status of any command to a namespace that is not there.
    private let gone = RawStatus(code: NVME_SC_INVALID_NS.rawValue, doNotRetry: true)

    /// A world whose namespace 1 has blocks of 512 bytes, and the device that takes its place, full of a pattern.
    private struct Scene {
        let world: TargetWorld
        let first: SimulatedDisk
        let second: SimulatedDisk

        init(options: TargetOptions = TargetWorld.smallOptions, blockSize: UInt32) throws {
            world = try TargetWorld(options: options) { SimulatedDisk("first", network: $0, blockCount: 8192) }
            first = try #require(world.disk as? SimulatedDisk)
            second = SimulatedDisk("second", network: world.network, blockSize: blockSize, blockCount: 8192)
            for index in second.contents.indices { second.contents[index] = 0x5A }
        }

        func swap() throws {
            try world.change { $0[TargetWorld.nqn]?.namespaces = [TargetWorld.namespace(1, second, fill: 2)] }
            world.pass(milliseconds: 1)
        }

        var secondIsUntouched: Bool { second.contents.allSatisfy { $0 == 0x5A } }

        func requests(_ state: RequestState) -> Int { world.groups[0].poolUse[0].requests[state] ?? 0 }
    }

    @Test(arguments: [512, 4096] as [UInt32], [false, true])
    func aWriteWhoseDataIsOnItsWayDoesNotReachTheNewDevice(blockSize: UInt32, isFused: Bool) throws {
        let scene = try Scene(blockSize: blockSize)
        let world = scene.world
        let attached = try world.attach()
        let before = try world.baseline()
        let offset = attached.scratch(4096)
        world.network.delays.transit = 1_000_000...1_000_000
        let sgl = attached.host.keyed(offset, 4096)
        var ids: [UInt16] = []
        if isFused {
            // FUSE, bits 1:0 of the flags: the first half, then the second.
            let compare = RawCommand(opcode: nvme_cmd_compare.rawValue, nsid: 1, flags: 0x41)
            let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1, flags: 0x42)
            // The disk writes a block atomically.
            let block = attached.host.keyed(offset, 512)
            for command in [compare, write] { ids.append(attached.io[0].send(command.range(8, 1).with(sgl: block))) }
        } else {
            ids.append(
                attached.io[0].send(RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(8, 8).with(sgl: sgl)))
        }
        try world.wait("the transfer") { scene.requests(.fetching) == ids.count }
        try scene.swap()
        world.network.delays = SimulatedDelays()
        let replies = try ids.map { try world.completion(of: $0, attached.io[0]).status }
        if isFused {
            #expect(replies == [.generic(NVME_SC_FUSED_FAIL), gone])
        } else {
            #expect(replies == [gone])
        }
        #expect(scene.secondIsUntouched)
        world.expectPools(before)
    }

    @Test(arguments: [512, 4096] as [UInt32]) func aReadThatWaitsForMemoryIsNotDoneOnTheNewDevice(blockSize: UInt32)
        throws
    {
        var options = TargetWorld.smallOptions
        options.dataMemory = 64 << 10
        let scene = try Scene(options: options, blockSize: blockSize)
        let world = scene.world
        let attached = try world.attach()
        let before = try world.baseline()
        scene.first.behaviour.isStuck = true
        let offset = attached.scratch(32768)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 64)
            .with(sgl: attached.host.keyed(offset, 32768))
        let ids = (0..<8).map { _ in attached.io[0].send(read) }
        try world.wait("reads that wait for memory") { scene.requests(.awaitingBuffer) > 0 }
        world.pass(milliseconds: 1)
        let running = scene.requests(.executing)
        try scene.swap()
        scene.first.behaviour.isStuck = false
        let replies = try ids.map { try world.completion(of: $0, attached.io[0]).status }
        #expect(replies.filter { $0 == .success }.count == running, "those that the first device had")
        #expect(replies.filter { $0 == gone }.count == ids.count - running)
        #expect(attached.host.memory[offset..<offset + 32768].allSatisfy { $0 == 0 }, "nothing of the new device")
        world.expectPools(before)
        #expect(try world.execute(attached.io[0], RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)).isSuccess)
    }

    /// The ranges were checked against the first device.
    @Test func aDatasetManagementIsNotContinuedOnTheNewDevice() throws {
        let scene = try Scene(blockSize: 4096)
        let world = scene.world
        let attached = try world.attach()
        let before = try world.baseline()
        scene.first.behaviour.isStuck = true
        let offset = attached.scratch(4096)
        // 256 ranges of one block: context attributes, length in blocks, starting LBA.
        for range in 0..<256 {
            let bytes = RawSGL.little(0, 4) + RawSGL.little(1, 4) + RawSGL.little(UInt64(range), 8)
            UnsafeMutableRawBufferPointer(
                rebasing: attached.host.memory[offset + range * 16..<offset + (range + 1) * 16]
            ).copyBytes(from: bytes)
        }
        // AD, bit 2 of dword 11: deallocate. The channel takes 512 operations: the second command gets all but one of
        // its ranges to the device, the third none.
        let trim = RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: 1).with(10, 255).with(11, 1 << 2)
            .with(sgl: attached.host.keyed(offset, 4096))
        let flush = attached.io[0].send(RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1))
        let ids = (0..<3).map { _ in attached.io[0].send(trim) }
        try world.wait("that the channel is full") { world.groups[0].poolUse[0].awaitsBlock }
        try scene.swap()
        // Nothing of the third was at the device: it was looked at while no namespace was there.
        #expect(try world.completion(of: ids[2], attached.io[0]).status == .generic(NVME_SC_INVALID_NS))
        scene.first.behaviour.isStuck = false
        #expect(try world.completion(of: flush, attached.io[0]).isSuccess)
        #expect(try world.completion(of: ids[0], attached.io[0]).isSuccess)
        #expect(try world.completion(of: ids[1], attached.io[0]).status == gone)
        #expect(scene.secondIsUntouched)
        world.expectPools(before)
    }

    /// A flush on the new device would tell a host that what it wrote to the first one is durable. Hosts that share a
    /// namespace by reservations have to look anew.
    @Test func aHostThatIsRegisteredIsDisconnected() throws {
        let scene = try Scene(blockSize: 512)
        let world = scene.world
        let registered = try world.attach()
        let other = try world.attach()
        try ReservingHost(world: world, attached: registered).join(1)
        let flush = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
        #expect(try world.execute(registered.io[0], flush).isSuccess)
        try scene.swap()
        try world.wait("the registered host's end") { !registered.admin.isOpen && !registered.io[0].isOpen }
        #expect(try world.execute(other.io[0], flush).isSuccess, "one that is not, goes on")
        registered.host.destroyAll()
        let again = try world.attach()
        #expect(try world.execute(again.io[0], flush).isSuccess)
    }

    @Test func identifySaysThatTheNamespaceIsAnotherOne() throws {
        let scene = try Scene(blockSize: 512)
        let host = try scene.world.attach()
        /// The vendor specific bytes of Identify Namespace (CNS 0): the mark of these targets, and the instance.
        func instance() throws -> (mark: [UInt8], instance: [UInt8]) {
            let offset = host.scratch(4096)
            let identify = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: 1)
                .with(sgl: host.host.keyed(offset, 4096))
            #expect(try scene.world.execute(host.admin, identify).isSuccess)
            let page = Array(host.host.memory[offset + 384..<offset + 400])
            return (Array(page[..<8]), Array(page[8...]))
        }
        let first = try instance()
        #expect(first.mark == [0x32, 0x30, 0x74, 0x65, 0x72, 0x63, 0x65, 0x74])
        #expect(try instance() == first)
        try scene.swap()
        let second = try instance()
        #expect(second.mark == first.mark && second.instance != first.instance)
    }
}
