import BlockInterface
import CLibNVMe
import FabricInterface
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Scarcity of READ depth, send queue, data memory, receive buffers.
@Suite struct ScarcityTests {
    private func pattern(_ host: RawHost, _ offset: Int, _ count: Int, _ seed: Int) {
        for index in 0..<count {
            host.memory[offset + index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8 &+ seed)
        }
    }

    private func matches(_ host: RawHost, _ offset: Int, _ count: Int, _ seed: Int) -> Bool {
        (0..<count).allSatisfy {
            host.memory[offset + $0] == UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ seed)
        }
    }

    /// Linux and SPDK hosts send as soon as the acceptance reaches them, before the target hears that it did.
    @Test func commandsBeforeEstablishedAreKept() throws {
        let world = try TargetWorld()
        world.network.fate = { message in
            message.kind == .readyToUse ? .delayed(nanoseconds: 50_000_000) : .delivered
        }
        let host = world.addHost()
        let queue = try world.open(host)
        let id = queue.send(RawConnect(host).command)
        world.pass(milliseconds: 30)
        #expect(queue.completions.isEmpty)
        #expect(try world.completion(of: id, queue).isSuccess)
        #expect(try world.execute(queue, .getProperty(NVME_REG_VS)).isSuccess)
    }

    @Test(arguments: [1, 2, 5, 16] as [UInt8]) func manyDescriptorsGoThroughAnyReadDepth(depth: UInt8) throws {
        let world = try TargetWorld()
        var options = RawQueueOptions()
        options.responderResources = depth
        let attached = try world.attach(options: options)
        let host = attached.host
        let source = host.allocate(65536)
        let target = host.allocate(65536)
        pattern(host, source, 65536, 5)
        // Sixteen pieces of uneven length, back to front.
        var pieces: [(offset: Int, length: Int)] = []
        var position = 0
        for index in 0..<16 {
            let length = index == 15 ? 65536 - position : 1024 + index * 400 + index
            pieces.append((position, length))
            position += length
        }
        let list = pieces.flatMap { host.keyed(source + $0.offset, $0.length) }
        let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(100, 128)
            .with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
        let ids = (0..<8).map { _ in attached.io[0].send(write, data: list) }
        for id in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        #expect(world.network.counters.readsHeldBack == 0, "no more READs are posted than may run")
        let into = pieces.flatMap { host.keyed(target + $0.offset, $0.length) }
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(100, 128)
            .with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
        #expect(try world.execute(attached.io[0], read, data: into).isSuccess)
        #expect(matches(host, target, 65536, 5))
    }

    @Test func aShortSendQueueMakesAnswersWait() throws {
        var limits = DeviceLimits.simulated
        limits.maxWorkRequests = 40
        let world = try TargetWorld(limits: limits)
        let attached = try world.attach()
        let before = try world.baseline()
        let host = attached.host
        let offset = host.allocate(4096 * 32)
        pattern(host, offset, 4096, 9)
        let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(8, 8).with(sgl: host.keyed(offset, 4096))
        #expect(try world.execute(attached.io[0], write).isSuccess)
        let ids = (0..<32).map { number -> UInt16 in
            let list = (0..<16).flatMap { host.keyed(offset + number * 4096 + $0 * 256, 256) }
            return attached.io[0].send(
                RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(8, 8)
                    .with(sgl: RawSGL.offset(0, length: 256, type: 0x31)), data: list)
        }
        for id in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        for number in 0..<32 { #expect(matches(host, offset + number * 4096, 4096, 9)) }
        #expect(world.target.subsystems[0].statistics.waitsForSendQueue > 0)
        world.expectPools(before)
    }

    @Test func hostsConnectWhileInputAndOutputHasAllTheMemory() throws {
        var options = TargetWorld.smallOptions
        options.dataMemory = 64 << 10
        let (world, disk) = try TargetWorld.onDisk(options: options)
        let attached = try world.attach()
        let before = try world.baseline()
        disk.behaviour.isStuck = true
        let offset = attached.scratch(32768)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 64)
            .with(sgl: attached.host.keyed(offset, 32768))
        let ids = (0..<16).map { _ in attached.io[0].send(read) }
        try world.wait("requests that wait for memory") {
            world.target.subsystems[0].statistics.waitsForMemory > 0
        }
        let other = try world.attach()
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue).with(10, 1)
            .with(sgl: other.host.keyed(other.scratch(4096), 4096))
        #expect(try world.execute(other.admin, identify).isSuccess)
        #expect(attached.io[0].completions.isEmpty)
        disk.behaviour.isStuck = false
        for id in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        other.host.destroyAll()
        world.expectPools(before)
    }

    @Test func moreCommandsThanReceiveBuffersAreAllServed() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        let world = try TargetWorld(options: options) { network in
            let disk = SimulatedDisk("disk", network: network, blockCount: 8192)
            disk.behaviour.latency = 100_000...5_000_000
            return disk
        }
        let hosts = try (0..<4).map { _ in try world.attach() }
        let before = try world.baseline()
        var running: [(AttachedHost, UInt16)] = []
        for _ in 0..<24 {
            for attached in hosts {
                let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8)
                    .with(sgl: attached.host.keyed(attached.scratch(4096), 4096))
                running.append((attached, attached.io[0].send(read)))
            }
        }
        for (attached, id) in running { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        #expect(world.network.counters.receiverNotReady > 0)
        world.expectPools(before)
    }

    /// SGL identifier 4Fh asks for the key's invalidation with the answer.
    @Test(arguments: [true, false]) func keysAreInvalidatedWhereAskedAndAllowed(isAllowed: Bool) throws {
        var options = TargetWorld.smallOptions
        options.sendWithInvalidate = isAllowed
        let world = try TargetWorld(options: options)
        let attached = try world.attach()
        let host = attached.host
        for opcode in [nvme_cmd_write.rawValue, nvme_cmd_read.rawValue] {
            let offset = host.allocate(4096)
            let region = try host.context!.register(
                UnsafeMutableRawBufferPointer(rebasing: host.memory[offset..<offset + 4096]),
                access: [.localWrite, .remoteRead, .remoteWrite])
            func command(_ type: UInt8) -> RawCommand {
                RawCommand(opcode: opcode, nsid: 1).range(0, 8).with(
                    sgl: RawSGL.keyed(address: host.address(offset), length: 4096, key: region.remoteKey, type: type))
            }
            let plain = try world.execute(attached.io[0], command(0x40))
            #expect(plain.isSuccess && plain.invalidatedKey == nil)
            let reply = try world.execute(attached.io[0], command(0x4F))
            #expect(reply.isSuccess && reply.invalidatedKey == (isAllowed ? region.remoteKey : nil))
        }
    }

    @Test func aDeviceThatCannotInvalidateIsNotAskedTo() throws {
        var limits = DeviceLimits.simulated
        limits.supportsSendWithInvalidate = false
        let world = try TargetWorld(limits: limits)
        let attached = try world.attach()
        let command = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8)
            .with(sgl: attached.host.keyed(attached.scratch(4096), 4096, type: 0x4F))
        let reply = try world.execute(attached.io[0], command)
        #expect(reply.isSuccess && reply.invalidatedKey == nil)
    }

    /// A host without receive buffers takes no answers: it may hold requests for a while, not for ever.
    @Test func aHostThatTakesNoAnswersIsEnded() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        options.requests = 32
        let world = try TargetWorld(options: options)
        let witness = try world.attach()
        let before = try world.baseline()
        let hostile = try fillRequests(world)
        let read = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
        let id = witness.io[0].send(read)
        world.pass(milliseconds: 1000)
        #expect(witness.io[0].completions.isEmpty, "all requests are taken")
        try world.wait("the end of the host", milliseconds: 30_000) { hostile.io[0].end != nil }
        #expect(try world.completion(of: id, witness.io[0]).isSuccess)
        hostile.host.destroyAll()
        world.expectPools(before)
        world.expectServed(witness)
    }

    /// A capsule that waits for a request when its host goes is not taken for one of the host that comes next.
    @Test func aCapsuleThatWaitsGoesWithItsHost() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        options.requests = 32
        let world = try TargetWorld(options: options)
        let witness = try world.attach()
        let before = try world.baseline()
        let leaving = try world.attach()
        let hostile = try fillRequests(world)
        let left = leaving.io[0].send(RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1))
        world.pass(milliseconds: 10)
        leaving.host.destroyAll()
        world.pass(milliseconds: 500)
        // The new host's queue pairs get the numbers of those that were freed.
        let host = world.addHost()
        let queues = try (0..<2).map { _ in try world.open(host) }
        world.pass(milliseconds: 10)
        hostile.host.destroyAll()
        world.pass(milliseconds: 500)
        for queue in queues {
            #expect(queue.isOpen)
            #expect(queue.completions.isEmpty, "an answer to command \(left) of another host")
        }
        host.destroyAll()
        world.expectPools(before)
        world.expectServed(witness)
    }

    /// A host whose answers nobody takes, so many of them that no request is free.
    private func fillRequests(_ world: TargetWorld) throws -> AttachedHost {
        var options = RawQueueOptions()
        options.receives = 4
        let hostile = try world.attach(options: options)
        hostile.io[0].repostsReceives = false
        for _ in 0..<40 {
            hostile.io[0].send(RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1))
            world.pass(milliseconds: 1)
        }
        try world.wait("that no request is free for I/O") { world.groups[0].poolUse[0].lateCapsules > 0 }
        return hostile
    }

    /// A device that does not answer takes all requests that I/O may have: hosts stay, connect, and abort all the same.
    @Test func aStuckDeviceLeavesRequestsForOtherThanIO() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 32
        options.requests = 64
        let world = try TargetWorld(options: options) { SimulatedDisk("disk", network: $0, blockCount: 8192) }
        let disk = try #require(world.disk as? SimulatedDisk)
        let flush = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
        let keepAlive = RawCommand(opcode: nvme_admin_keep_alive.rawValue)
        let silent = try world.attach(keepAlive: 1000)
        let busy = try world.attach(keepAlive: 1000)
        let hosts = try (0..<2).map { _ in try world.attach() }
        let before = try world.baseline()
        disk.behaviour.isStuck = true
        var sent: [(RawQueue, UInt16)] = []
        for host in hosts {
            for _ in 0..<31 { sent.append((host.io[0], host.io[0].send(flush))) }
            world.pass(milliseconds: 2)
        }
        // One keeps its controller alive by Keep Alive, the other one by I/O that nobody takes up.
        for _ in 0..<10 {
            sent.append((busy.io[0], busy.io[0].send(flush)))
            world.pass(milliseconds: 400)
            #expect(try world.execute(silent.admin, keepAlive).isSuccess)
        }
        #expect(world.groups[0].poolUse[0].lateCapsules > 0)
        #expect(silent.io[0].isOpen && busy.io[0].isOpen)
        let late = try world.attach()
        #expect(late.io[0].isOpen)
        let abort = RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, 1 | UInt32(sent[0].1) << 16)
        #expect(try world.execute(hosts[0].admin, abort).isSuccess)

        disk.behaviour.isStuck = false
        for (queue, id) in sent { _ = try world.completion(of: id, queue) }
        late.host.destroyAll()
        world.expectPools(before)
        world.expectServed(silent)
    }

    /// Commands for a device that does not answer take neither all receive buffers nor all data memory: another namespace,
    /// another host and one that comes later are served as if nothing was.
    @Test(arguments: [512, 4096, 16384]) func aStuckNamespaceLeavesBuffersForOthers(bytes: Int) throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 32
        options.requests = 1024
        options.dataMemory = 512 << 10
        let world = try TargetWorld(options: options) { SimulatedDisk("disk", network: $0, blockCount: 8192) }
        guard let disk = world.disk as? SimulatedDisk else { throw WorldError("no disk") }
        let other = try RAMDevice(byteCount: 4 << 20)
        try world.add(TargetWorld.namespace(2, other))
        let hosts = try (0..<6).map { _ in try world.attach() }
        let before = try world.baseline()
        disk.behaviour.isStuck = true
        // In the capsule where they fit, else fetched; reads as well. More than there are buffers of any kind.
        var sent: [(AttachedHost, UInt16, Int?)] = []
        for (number, attached) in hosts.enumerated() {
            let offset = attached.scratch(bytes)
            pattern(attached.host, offset, bytes, number)
            let data = Array(attached.host.memory[offset..<offset + bytes])
            for command in 0..<24 {
                let lba = UInt64((number * 24 + command) * 32)
                let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(lba, bytes / 512)
                if command % 4 == 3 {
                    let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(lba, bytes / 512)
                        .with(sgl: attached.host.keyed(attached.host.allocate(bytes), bytes))
                    sent.append((attached, attached.io[0].send(read), nil))
                } else if bytes <= 4096, command % 2 == 0 {
                    let capsule = write.with(sgl: RawSGL.offset(0, length: UInt32(bytes)))
                    sent.append((attached, attached.io[0].send(capsule, data: data), Int(lba)))
                } else {
                    let keyed = write.with(sgl: attached.host.keyed(offset, bytes))
                    sent.append((attached, attached.io[0].send(keyed), Int(lba)))
                }
            }
            world.pass(milliseconds: 2)
        }
        world.pass(milliseconds: 100)
        let late = try world.attach()
        for attached in [hosts[0], hosts[5], late] {
            for opcode in [nvme_cmd_write, nvme_cmd_read] {
                let offset = attached.host.allocate(4096)
                let command = RawCommand(opcode: opcode.rawValue, nsid: 2).range(0, 8)
                    .with(sgl: attached.host.keyed(offset, 4096))
                #expect(try world.execute(attached.io[0], command).isSuccess)
            }
        }
        #expect(world.groups[0].poolUse[0].lateCapsules == 0)
        #expect(hosts.allSatisfy { $0.io[0].completions.isEmpty })

        disk.behaviour.isStuck = false
        for (attached, id, _) in sent { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        for (number, attached) in hosts.enumerated() {
            let offset = attached.host.allocate(bytes)
            for case (let sender, _, let lba?) in sent where sender === attached {
                let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(UInt64(lba), bytes / 512)
                    .with(sgl: attached.host.keyed(offset, bytes))
                #expect(try world.execute(attached.io[0], read).isSuccess)
                #expect(matches(attached.host, offset, bytes, number), "block \(lba)")
            }
        }
        late.host.destroyAll()
        world.expectPools(before)
    }

    @Test func aStuckNamespaceDoesNotHoldUpAnother() throws {
        var options = TargetWorld.smallOptions
        options.queueDepth = 1024
        options.sharedReceiveEntries = 1024
        let (world, disk) = try TargetWorld.onDisk(options: options)
        let other = SimulatedDisk("other", network: world.network, blockCount: 8192)
        try world.add(TargetWorld.namespace(2, other))
        let attached = try world.attach(sqSize: 1023, hostSendQueueSize: 1023)
        let before = try world.baseline()
        disk.behaviour.isStuck = true
        let stuck = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
        for _ in 0..<10 {
            for _ in 0..<60 { attached.io[0].send(stuck) }
            world.pass(milliseconds: 1)
        }
        #expect(world.groups[0].poolUse[0].awaitsBlock)
        #expect(try world.execute(attached.io[0], RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 2)).isSuccess)
        disk.behaviour.isStuck = false
        try world.wait("the rest") { attached.io[0].completions.count == 600 }
        world.expectPools(before)
    }
}
