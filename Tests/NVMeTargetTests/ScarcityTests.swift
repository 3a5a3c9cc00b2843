import CLibNVMe
import FabricInterface
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

/// Scarcity of READ depth, send queue, data memory, receive buffers and requests.
@Suite struct ScarcityTests {
    private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

    /// Linux and SPDK hosts send as soon as the acceptance reaches them, before the target hears that it did.
    @Test func commandsBeforeEstablishedAreKept() throws {
        let world = try TargetWorld()
        world.network.fate = { $0.kind == .readyToUse ? .delayed(nanoseconds: 50_000_000) : .delivered }
        let queue = try world.open(world.addHost())
        let id = world.send(RawConnect(host: queue.host.name), on: queue)
        world.pass(milliseconds: 30)
        #expect(queue.answers.isEmpty)
        #expect(world.status(of: id, on: queue) == .success)
        #expect(try world.execute(.getProperty(NVME_REG_VS), on: queue).isSuccess)
    }

    @Test(arguments: [1, 2, 5, 16] as [UInt8]) func manyDescriptorsGoThroughAnyReadDepth(depth: UInt8) throws {
        let world = try TargetWorld()
        let host = try world.attach { $0.responderResources = depth }
        // Sixteen pieces of uneven length.
        host.io[0].pieces = (0..<15).map { 1024 + $0 * 400 + $0 }
        let write = RawCommand.io(nvme_cmd_write, 100, 128)
        let ids = (0..<8).map { _ in host.send(write, .fromHost(pattern(65536))) }
        for id in ids { #expect(host.status(of: id) == .success) }
        #expect(world.network.counters.readsHeldBack == 0, "no more READs are posted than may run")
        #expect(try host.read(100, blocks: 128) == pattern(65536))
    }

    @Test func aShortSendQueueMakesAnswersWait() throws {
        let (world, host) = try TargetWorld(limits: { $0.maxWorkRequests = 40 }).attached()
        #expect(try host.execute(.io(nvme_cmd_write, 8, 8), .fromHost(pattern(4096))) == .success)
        host.io[0].pieces = Array(repeating: 256, count: 15)
        let ids = (0..<32).map { _ in host.sendRead(8, blocks: 8) }
        #expect(try ids.allSatisfy { try host.data(of: $0) == pattern(4096) })
        #expect(world.target.subsystems[0].statistics.waitsForSendQueue > 0)
    }

    @Test func moreCommandsThanReceiveBuffersAreAllServed() throws {
        let (world, disk) = try TargetWorld.onDisk(.small { $0.sharedReceiveEntries = 16 })
        disk.behaviour.latency = 100_000...5_000_000
        let hosts = try (0..<4).map { _ in try world.attach() }
        let running = (0..<24).flatMap { _ in hosts.map { ($0, $0.sendRead(blocks: 8)) } }
        for (host, id) in running { #expect(host.status(of: id) == .success) }
        #expect(world.network.counters.receiverNotReady > 0)
    }

    /// SGL identifier 4Fh asks for the key's invalidation with the answer.
    @Test(arguments: [true, false], [true, false])
    func keysAreInvalidatedWhereAskedAndAllowed(isAllowed: Bool, isAble: Bool) throws {
        let world = try TargetWorld(
            .small { $0.sendWithInvalidate = isAllowed }, limits: { $0.supportsSendWithInvalidate = isAble })
        let attached = try world.attach()
        let host = attached.host
        for opcode in [nvme_cmd_write, nvme_cmd_read] {
            let offset = host.allocate(4096)
            let key = try host.register(offset, 4096, access: [.localWrite, .remoteRead, .remoteWrite])
            for (type, invalidated) in [(0x40, nil), (0x4F, isAllowed && isAble ? key : nil)] as [(UInt8, UInt32?)] {
                let sgl = RawSGL.keyed(address: host.address(offset), length: 4096, key: key, type: type)
                #expect(try attached.execute(.io(opcode, 0, 8).with(sgl: sgl)) == .success)
                #expect(attached.io[0].invalidatedKey == invalidated)
            }
        }
    }

    private let scarce = TargetOptions.small { ($0.sharedReceiveEntries, $0.requests) = (16, 32) }

    /// A host without receive buffers takes no answers: it may hold requests for a while, not for ever.
    @Test func aHostThatTakesNoAnswersIsEnded() throws {
        let (world, audit) = try TargetWorld(scarce).audited()
        let hostile = try fillRequests(world)
        let id = world.send(.flush(), on: audit.witness.io[0])
        world.pass(milliseconds: 1000)
        #expect(audit.witness.io[0].answer(to: id) == nil, "all requests are taken")
        try world.wait("the end of the host", milliseconds: 30_000) { hostile.io[0].end != nil }
        #expect(audit.witness.status(of: id) == .success)
        hostile.host.destroyAll()
        audit.end()
    }

    /// A capsule that waits for a request when its host goes is not taken for one of the host that comes next.
    @Test func aCapsuleThatWaitsGoesWithItsHost() throws {
        let (world, audit) = try TargetWorld(scarce).audited()
        let leaving = try world.attach()
        let hostile = try fillRequests(world)
        let left = leaving.send(.flush())
        world.pass(milliseconds: 10)
        leaving.host.destroyAll()
        world.pass(milliseconds: 500)
        // The new host's queue pairs get the numbers of those that were freed.
        let host = world.addHost()
        let queues = try (0..<2).map { _ in try world.open(host) }
        world.pass(milliseconds: 10)
        hostile.host.destroyAll()
        world.pass(milliseconds: 500)
        #expect(queues.allSatisfy { $0.isOpen })
        #expect(queues.allSatisfy { $0.answers.isEmpty }, "an answer to command \(left) of another host")
        host.destroyAll()
        audit.end()
    }

    /// A host whose answers nobody takes, so many of them that no request is free.
    private func fillRequests(_ world: TargetWorld) throws -> AttachedHost {
        let hostile = try world.attach { $0.receives = 4 }
        hostile.io[0].repostsReceives = false
        for _ in 0..<40 {
            hostile.send(.flush())
            world.pass(milliseconds: 1)
        }
        try world.wait("that no request is free for I/O") { world.use.lateCapsules > 0 }
        return hostile
    }

    // MARK: Devices with few entries in their queues, and one that has stopped

    /// A read or a write of 8 KiB.
    private func send(_ host: AttachedHost, descriptors: Int, _ opcode: nvme_io_opcode = nvme_cmd_read) -> UInt16 {
        host.io[0].pieces = Array(repeating: 512, count: descriptors - 1)
        return opcode == nvme_cmd_read ? host.sendRead(blocks: 16) : host.sendWrite(1, blocks: 16)
    }

    /// Each queue pair may post what fits into its send queue. All of them together may not post more than the completion
    /// queue can hold, for when they fail all of it completes; the simulated device traps where that is too much.
    @Test func whatIsPostedFitsIntoTheCompletionQueueWhenAllFails() throws {
        let (world, audit) = try TargetWorld(limits: { $0.maxCompletionQueueEntries = 128 + 64 }).audited()
        let hosts = try (0..<6).map { _ in try world.attach() }
        // Slow enough for all answers to be under way at once, if they may.
        world.slowDown(milliseconds: 3)
        for host in hosts { for _ in 0..<16 { _ = send(host, descriptors: 16) } }
        world.pass(milliseconds: 8)
        #expect(world.use.port.waitingAnswers > 0, "not all may be posted")
        for host in hosts { host.host.destroyAll() }
        world.slowDown(milliseconds: nil)
        audit.end()
    }

    @Test func everybodyIsServedWithASmallCompletionQueue() throws {
        let world = try TargetWorld(limits: { $0.maxCompletionQueueEntries = 128 + 20 })
        let hosts = try (0..<4).map { _ in try world.attach() }
        let sent = hosts.flatMap { host in
            (0..<16).map { (host, send(host, descriptors: 16, $0 % 2 == 0 ? nvme_cmd_read : nvme_cmd_write)) }
        }
        for (host, id) in sent { #expect(host.status(of: id) == .success) }
    }

    /// Identify Controller MSDBD says how many descriptors fit, and more are refused, not waited for.
    @Test func aShortSendQueueLimitsTheDescriptors() throws {
        let (world, host) = try TargetWorld(limits: { $0.maxWorkRequests = 8 }).attached()
        #expect(try world.identify(on: host.admin)[MemoryLayout<nvme_id_ctrl>.offset(of: \.msdbd)!] == 7)
        for opcode in [nvme_cmd_read, nvme_cmd_write] {
            #expect(host.status(of: send(host, descriptors: 7, opcode)) == .success)
            #expect(host.status(of: send(host, descriptors: 8, opcode)) == .refused(NVME_SC_SGL_INVALID_COUNT))
        }
        host.io[0].pieces = []
        host.expectServed()
    }

    /// A queue pair whose flushes never come is destroyed after a while: what it held is needed by others.
    @Test func aQueuePairThatDoesNotFlushIsDestroyed() throws {
        let (world, audit) = try TargetWorld().audited()
        let host = try world.attach()
        world.slowDown(milliseconds: 5)
        for _ in 0..<4 { _ = (host.sendWrite(1, blocks: 8), host.sendRead(blocks: 8)) }
        world.pass(milliseconds: 8)
        let port = world.use.port
        #expect(port.runningFetches > 0 && port.runningAnswers > 0)
        world.targetDevice.withholdsFlushes = true
        host.host.destroyAll()
        world.pass(milliseconds: 1000)
        #expect(world.use.requests.isEmpty == false, "the flushes have not come")
        world.targetDevice.withholdsFlushes = false
        world.slowDown(milliseconds: nil)
        audit.end(within: 10_000)
    }

    // MARK: Devices that do not answer

    /// It takes all requests that I/O may have: hosts stay, connect, and abort all the same.
    @Test func aStuckDeviceLeavesRequestsForOtherThanIO() throws {
        let (world, device) = try EngineWorld.steered(.small { ($0.sharedReceiveEntries, $0.requests) = (32, 64) })
        let (silent, busy) = (try world.attach(host: 1, keepAlive: 1000), try world.attach(host: 2, keepAlive: 1000))
        let hosts = try (3...4).map { try world.attach(host: .init($0)) }
        device.behaviour.isStuck = true
        var sent = hosts.flatMap { host in (0..<31).map { _ in (host, host.send(.flush())) } }
        world.settle()
        // One keeps its controller alive by Keep Alive, the other one by I/O that nobody takes up.
        for _ in 0..<10 {
            sent.append((busy, busy.send(.flush())))
            world.pass(milliseconds: 400)
            #expect(try silent.manage(.keepAlive).isSuccess)
        }
        #expect(world.use.lateCapsules > 0)
        #expect(silent.isThere && busy.isThere)
        #expect(try world.attach(host: 5).isThere)
        #expect(try hosts[0].manage(.abort(sent[0].1, sq: 1)).isSuccess)
        device.behaviour.isStuck = false
        for (host, id) in sent { #expect(host.answer(to: id) != nil) }
        silent.expectServed()
    }

    /// Its commands take neither all receive buffers nor all data memory: another namespace, host and later host are served.
    @Test(arguments: [512, 4096, 16384]) func aStuckNamespaceLeavesBuffersForOthers(bytes: Int) throws {
        let (world, device) = try EngineWorld.steered(
            .small { ($0.sharedReceiveEntries, $0.requests, $0.dataMemory) = (32, 1024, 512 << 10) }, namespaces: 2)
        let hosts = try (1...6).map { try world.attach(host: .init($0)) }
        device.behaviour.isStuck = true
        // In the capsule where they fit, else fetched; reads as well. More than there are buffers of any kind.
        func data(_ host: Int) -> [UInt8] { pattern(bytes).map { $0 &+ UInt8(host) } }
        var sent: [(host: Int, id: UInt16, writtenAt: UInt64?)] = []
        for command in 0..<6 * 24 {
            let (host, lba) = (command / 24, UInt64(command * 32))
            let isRead = command % 4 == 3
            let isInCapsule = bytes <= 4096 && command % 2 == 0
            let written = isInCapsule ? InProcessData.inCapsule(data(host)) : .fromHost(data(host))
            let io = RawCommand.io(isRead ? nvme_cmd_read : nvme_cmd_write, lba, bytes / 512)
            sent.append((host, hosts[host].send(io, isRead ? .toHost(bytes) : written), isRead ? nil : lba))
            if command % 24 == 23 { world.pass(milliseconds: 10) }
        }
        world.pass(milliseconds: 100)
        for host in [hosts[0], hosts[5], try world.attach(host: 7)] {
            #expect(try host.write(1, blocks: 8, nsid: 2) == .success)
            #expect(try host.read(blocks: 8, nsid: 2).allSatisfy { $0 == 1 })
        }
        #expect(world.use.lateCapsules == 0)
        #expect(sent.allSatisfy { hosts[$0.host].io[0].answer(to: $0.id) == nil })
        device.behaviour.isStuck = false
        for (host, id, lba) in sent {
            #expect(hosts[host].status(of: id) == .success)
            if let lba { #expect(try hosts[host].read(lba, blocks: bytes / 512) == data(host), "block \(lba)") }
        }
    }

    /// It has all memory for data, or as many operations as it takes: other namespaces are served, and hosts connect.
    @Test(arguments: [false, true]) func aStuckNamespaceDoesNotHoldUpOthers(hasAllMemory: Bool) throws {
        let (world, device) = try EngineWorld.steered(
            .small {
                ($0.queueDepth, $0.sharedReceiveEntries, $0.requests) = (1024, 1024, 1024)
                if hasAllMemory { $0.dataMemory = 64 << 10 }
            }, namespaces: 2)
        let host = try world.attach(host: 1, entries: 1024)
        device.behaviour.isStuck = true
        let ids = (0..<600).map { _ in hasAllMemory ? host.sendRead(blocks: 64) : host.send(.flush()) }
        world.settle()
        #expect(hasAllMemory ? world.target.subsystems[0].statistics.waitsForMemory > 0 : world.use.awaitsBlock)
        #expect(try host.execute(.flush(2)) == .success)
        #expect(try world.attach(host: 2).manage(.identify(), .toHost(4096)).isSuccess)
        #expect(ids.allSatisfy { host.io[0].answer(to: $0) == nil })
        device.behaviour.isStuck = false
        for id in ids { #expect(host.status(of: id) == .success) }
    }
}
