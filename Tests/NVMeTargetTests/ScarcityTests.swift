import BlockInterface
import CLibNVMe
import FabricInterface
import InProcessTransport
import MemoryBlock
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Scarcity of READ depth, send queue, data memory, receive buffers and requests.
@Suite struct ScarcityTests {
    private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

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
        host.fill(source, pattern(65536))
        // Sixteen pieces of uneven length, back to front.
        var pieces: [(offset: Int, length: Int)] = []
        var position = 0
        for index in 0..<16 {
            let length = index == 15 ? 65536 - position : 1024 + index * 400 + index
            pieces.append((position, length))
            position += length
        }
        let list = pieces.flatMap { host.keyed(source + $0.offset, $0.length) }
        let write = RawCommand.io(nvme_cmd_write, 100, 128).with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
        let ids = (0..<8).map { _ in attached.io[0].send(write, data: list) }
        for id in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        #expect(world.network.counters.readsHeldBack == 0, "no more READs are posted than may run")
        let into = pieces.flatMap { host.keyed(target + $0.offset, $0.length) }
        let read = RawCommand.io(nvme_cmd_read, 100, 128).with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
        #expect(try world.execute(attached.io[0], read, data: into).isSuccess)
        #expect(host.bytes(target, 65536) == pattern(65536))
    }

    @Test func aShortSendQueueMakesAnswersWait() throws {
        var limits = DeviceLimits.simulated
        limits.maxWorkRequests = 40
        let world = try TargetWorld(limits: limits)
        let attached = try world.attach()
        let before = try world.baseline()
        let host = attached.host
        let offset = host.allocate(4096 * 32)
        host.fill(offset, pattern(4096))
        let write = RawCommand.io(nvme_cmd_write, 8, 8).at(host, offset, 4096)
        #expect(try world.execute(attached.io[0], write).isSuccess)
        let ids = (0..<32).map { number -> UInt16 in
            let list = (0..<16).flatMap { host.keyed(offset + number * 4096 + $0 * 256, 256) }
            return attached.io[0].send(
                RawCommand.io(nvme_cmd_read, 8, 8).with(sgl: RawSGL.offset(0, length: 256, type: 0x31)), data: list)
        }
        for id in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        for number in 0..<32 { #expect(host.bytes(offset + number * 4096, 4096) == pattern(4096)) }
        #expect(world.target.subsystems[0].statistics.waitsForSendQueue > 0)
        world.expectPools(before)
    }

    @Test func hostsConnectWhileInputAndOutputHasAllTheMemory() throws {
        var options = TargetWorld.smallOptions
        options.dataMemory = 64 << 10
        let (world, device) = try EngineWorld.steered(options)
        let host = try world.attach(host: 1)
        device.stick(true)
        let ids = (0..<16).map { _ in world.send(.io(nvme_cmd_read, 0, 64), .toHost(32768), on: host.io[0]) }
        world.settle()
        #expect(world.target.subsystems[0].statistics.waitsForMemory > 0)
        #expect(try world.attach(host: 2).manage(.identify(), .toHost(4096)).isSuccess)
        #expect(ids.allSatisfy { world.answer(to: $0, on: host.io[0]) == nil })
        device.stick(false)
        for id in ids { #expect(world.status(of: id, on: host.io[0]) == .success) }
        world.expectIdle()
    }

    @Test func moreCommandsThanReceiveBuffersAreAllServed() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        let (world, disk) = try TargetWorld.onDisk(options: options)
        disk.behaviour.latency = 100_000...5_000_000
        let hosts = try (0..<4).map { _ in try world.attach() }
        let before = try world.baseline()
        var running: [(AttachedHost, UInt16)] = []
        for _ in 0..<24 {
            for attached in hosts {
                let read = RawCommand.io(nvme_cmd_read, 0, 8).at(attached.host, attached.scratch(4096), 4096)
                running.append((attached, attached.io[0].send(read)))
            }
        }
        for (attached, id) in running { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        #expect(world.network.counters.receiverNotReady > 0)
        world.expectPools(before)
    }

    /// SGL identifier 4Fh asks for the key's invalidation with the answer.
    @Test(arguments: [true, false], [true, false])
    func keysAreInvalidatedWhereAskedAndAllowed(isAllowed: Bool, isAble: Bool) throws {
        var options = TargetWorld.smallOptions
        options.sendWithInvalidate = isAllowed
        var limits = DeviceLimits.simulated
        limits.supportsSendWithInvalidate = isAble
        let world = try TargetWorld(options: options, limits: limits)
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
            #expect(reply.isSuccess && reply.invalidatedKey == (isAllowed && isAble ? region.remoteKey : nil))
        }
    }

    /// A host without receive buffers takes no answers: it may hold requests for a while, not for ever.
    @Test func aHostThatTakesNoAnswersIsEnded() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        options.requests = 32
        let world = try TargetWorld(options: options)
        let audit = try world.audit()
        let hostile = try fillRequests(world)
        let read = RawCommand.flush()
        let id = audit.witness.io[0].send(read)
        world.pass(milliseconds: 1000)
        #expect(audit.witness.io[0].completions.isEmpty, "all requests are taken")
        try world.wait("the end of the host", milliseconds: 30_000) { hostile.io[0].end != nil }
        #expect(try world.completion(of: id, audit.witness.io[0]).isSuccess)
        hostile.host.destroyAll()
        audit.end()
    }

    /// A capsule that waits for a request when its host goes is not taken for one of the host that comes next.
    @Test func aCapsuleThatWaitsGoesWithItsHost() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 16
        options.requests = 32
        let world = try TargetWorld(options: options)
        let audit = try world.audit()
        let leaving = try world.attach()
        let hostile = try fillRequests(world)
        let left = leaving.io[0].send(.flush())
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
        audit.end()
    }

    /// A host whose answers nobody takes, so many of them that no request is free.
    private func fillRequests(_ world: TargetWorld) throws -> AttachedHost {
        var options = RawQueueOptions()
        options.receives = 4
        let hostile = try world.attach(options: options)
        hostile.io[0].repostsReceives = false
        for _ in 0..<40 {
            hostile.io[0].send(.flush())
            world.pass(milliseconds: 1)
        }
        try world.wait("that no request is free for I/O") { world.groups[0].poolUse[0].lateCapsules > 0 }
        return hostile
    }

    // MARK: Devices that do not answer

    /// It takes all requests that I/O may have: hosts stay, connect, and abort all the same.
    @Test func aStuckDeviceLeavesRequestsForOtherThanIO() throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 32
        options.requests = 64
        let (world, device) = try EngineWorld.steered(options)
        let silent = try world.attach(host: 1, keepAlive: 1000)
        let busy = try world.attach(host: 2, keepAlive: 1000)
        let hosts = try (3...4).map { try world.attach(host: .init($0)) }
        device.stick(true)
        var sent = hosts.flatMap { host in (0..<31).map { _ in (host.io[0], world.send(.flush(), on: host.io[0])) } }
        world.settle()
        // One keeps its controller alive by Keep Alive, the other one by I/O that nobody takes up.
        for _ in 0..<10 {
            sent.append((busy.io[0], world.send(.flush(), on: busy.io[0])))
            world.pass(milliseconds: 400)
            #expect(try silent.manage(.keepAlive).isSuccess)
        }
        #expect(world.groups[0].poolUse[0].lateCapsules > 0)
        #expect(silent.isThere && busy.isThere)
        #expect(try world.attach(host: 5).isThere)
        #expect(try hosts[0].manage(.abort(sent[0].1, sq: 1)).isSuccess)
        device.stick(false)
        for (queue, id) in sent { #expect(world.answer(to: id, on: queue) != nil) }
        silent.expectServed()
        world.expectIdle()
    }

    /// Commands for it take neither all receive buffers nor all data memory: another namespace, another host and one that comes
    /// later are served as if nothing was.
    @Test(arguments: [512, 4096, 16384]) func aStuckNamespaceLeavesBuffersForOthers(bytes: Int) throws {
        var options = TargetWorld.smallOptions
        options.sharedReceiveEntries = 32
        options.requests = 1024
        options.dataMemory = 512 << 10
        let (world, device) = try EngineWorld.steered(options)
        try world.add(TargetWorld.namespace(2, try RAMDevice(byteCount: 4 << 20)))
        let hosts = try (1...6).map { try world.attach(host: .init($0)) }
        device.stick(true)
        // In the capsule where they fit, else fetched; reads as well. More than there are buffers of any kind.
        func data(_ host: Int) -> [UInt8] { (0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ host) } }
        var sent: [(host: Int, id: UInt16, writtenAt: UInt64?)] = []
        for command in 0..<6 * 24 {
            let (host, lba) = (command / 24, UInt64(command * 32))
            let isRead = command % 4 == 3
            let isInCapsule = bytes <= 4096 && command % 2 == 0
            let data: InProcessData =
                isRead ? .toHost(bytes) : isInCapsule ? .inCapsule(data(host)) : .fromHost(data(host))
            let io = RawCommand.io(isRead ? nvme_cmd_read : nvme_cmd_write, lba, bytes / 512)
            sent.append((host, world.send(io, data, on: hosts[host].io[0]), isRead ? nil : lba))
            if command % 24 == 23 { world.pass(milliseconds: 10) }
        }
        world.pass(milliseconds: 100)
        for host in [hosts[0], hosts[5], try world.attach(host: 7)] {
            #expect(try host.write(1, blocks: 8, nsid: 2) == .success)
            #expect(try host.read(blocks: 8, nsid: 2).allSatisfy { $0 == 1 })
        }
        #expect(world.groups[0].poolUse[0].lateCapsules == 0)
        #expect(sent.allSatisfy { world.answer(to: $0.id, on: hosts[$0.host].io[0]) == nil })
        device.stick(false)
        for (host, id, lba) in sent {
            #expect(world.status(of: id, on: hosts[host].io[0]) == .success)
            if let lba { #expect(try hosts[host].read(lba, blocks: bytes / 512) == data(host), "block \(lba)") }
        }
        world.expectIdle()
    }

    @Test func aStuckNamespaceDoesNotHoldUpAnother() throws {
        var options = TargetWorld.smallOptions
        options.queueDepth = 1024
        options.sharedReceiveEntries = 1024
        options.requests = 1024
        let (world, device) = try EngineWorld.steered(options)
        try world.add(TargetWorld.namespace(2, SteeredDevice()))
        let host = try world.attach(entries: 1024)
        device.stick(true)
        let ids = (0..<600).map { _ in world.send(.flush(), on: host.io[0]) }
        world.settle()
        #expect(world.groups[0].poolUse[0].awaitsBlock)
        #expect(try host.execute(.flush(2)) == .success)
        device.stick(false)
        for id in ids { #expect(world.status(of: id, on: host.io[0]) == .success) }
        world.expectIdle()
    }
}
