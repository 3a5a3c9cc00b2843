import Base
import BlockInterface
import CLibNVMe
import FabricInterface
import MemoryBlock
import NVMeSpec
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// Asynchronous events and the log pages that they point at.
@Suite struct EventAndLogTests {
    private let event = RawCommand(opcode: nvme_admin_async_event.rawValue)
    /// Type, information and log page of the events, as NVMe Base and NVMe over Fabrics number them.
    private let namespaceChanged: UInt32 = 0x0004_0002
    private let anaChanged: UInt32 = 0x000C_0302
    private let discoveryChanged: UInt32 = 0x0070_F002

    private func log(
        _ world: TargetWorld, _ host: RawHost, _ queue: RawQueue, _ page: nvme_cmd_get_log_lid, _ bytes: Int,
        retain: Bool = false
    ) throws -> [UInt8] {
        let offset = host.allocate(bytes)
        var command = RawCommand.getLog(page, bytes: bytes).with(sgl: host.keyed(offset, bytes))
        if retain { command[dword: 10] |= 1 << 15 }
        let reply = try world.execute(queue, command)
        guard reply.isSuccess else { throw WorldError("log \(page): \(reply.status)") }
        return Array(host.memory[offset..<offset + bytes])
    }

    private func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }

    private func disk(_ world: TargetWorld) throws -> SimulatedDisk { try #require(world.disk as? SimulatedDisk) }

    private func diskWorld(groups: Int = 1) throws -> TargetWorld {
        try TargetWorld(groups: groups) { SimulatedDisk("disk", network: $0, blockCount: 8192) }
    }

    private func blocks(_ world: TargetWorld, _ attached: AttachedHost) throws -> UInt64 {
        let offset = attached.scratch(4096)
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue, nsid: 1)
            .with(sgl: attached.host.keyed(offset, 4096))
        guard try world.execute(attached.admin, identify).isSuccess else { throw WorldError("Identify Namespace") }
        return number(Array(attached.host.memory[offset..<offset + 8]), 0, 8)
    }

    @Test func changesOfNamespacesAreTold() throws {
        let world = try diskWorld(groups: 2)
        let attached = try world.attach(ioQueues: 2)
        let host = attached.host
        let admin = attached.admin
        // Asynchronous Event Configuration, bit 8: namespace attribute notices.
        #expect(try world.execute(admin, .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 8)).isSuccess)
        var ids = (0..<4).map { _ in admin.send(event) }
        let fifth = try world.execute(admin, event)
        #expect(fifth.status.code == RawStatus.specific(NVME_SC_ASYNC_LIMIT).code)

        // It grows.
        #expect(try blocks(world, attached) == 8192)
        try disk(world).resize(toBlocks: 16384)
        world.target.refreshNamespaces()
        let grown = try world.completion(of: ids.removeFirst(), admin)
        #expect(grown.isSuccess && grown.dword0 == namespaceChanged)
        #expect(try blocks(world, attached) == 16384)
        let flush = RawCommand(opcode: nvme_cmd_verify.rawValue, nsid: 1).range(16383, 1)
        for queue in attached.io { #expect(try world.execute(queue, flush).isSuccess, "the new blocks are there") }

        // Another change is not told before the host has read the log.
        let second = try RAMDevice(byteCount: 1 << 20)
        try world.add(TargetWorld.namespace(2, second))
        world.pass(milliseconds: 10)
        #expect(admin.completions.isEmpty)
        let list = try log(world, host, admin, NVME_LOG_LID_CHANGED_NS, 4096)
        #expect([0, 4, 8].map { number(list, $0, 4) } == [1, 2, 0], "both namespaces changed")
        let empty = try log(world, host, admin, NVME_LOG_LID_CHANGED_NS, 4096)
        #expect(number(empty, 0, 4) == 0)
        for queue in attached.io {
            #expect(try world.execute(queue, RawCommand(opcode: 0, nsid: 2)).isSuccess, "the new namespace is there")
        }

        // It is removed; it vanishes.
        try world.remove(2)
        #expect(try world.completion(of: ids.removeFirst(), admin).dword0 == namespaceChanged)
        for queue in attached.io {
            let reply = try world.execute(queue, RawCommand(opcode: 0, nsid: 2))
            #expect(reply.status.code == NVME_SC_INVALID_NS.rawValue)
        }
        _ = try log(world, host, admin, NVME_LOG_LID_CHANGED_NS, 4096)
        try disk(world).vanish()
        world.target.refreshNamespaces()
        #expect(try world.completion(of: ids.removeFirst(), admin).dword0 == namespaceChanged)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 1)
            .with(sgl: host.keyed(attached.scratch(4096), 512))
        for queue in attached.io {
            #expect(try world.execute(queue, read).status.code != 0)
            #expect(queue.isOpen)
        }
    }

    @Test func eventsThatAreNotAskedForAreNotSent() throws {
        let world = try diskWorld()
        let attached = try world.attach()
        attached.admin.send(event)
        try disk(world).resize(toBlocks: 16384)
        world.target.refreshNamespaces()
        world.pass(milliseconds: 10)
        #expect(attached.admin.completions.isEmpty)
    }

    @Test func theANALogFollowsTheGroupsStates() throws {
        let world = try TargetWorld(groups: 2)
        let attached = try world.attach(ioQueues: 2)
        // Bit 11: asymmetric namespace access change notices.
        #expect(try world.execute(attached.admin, .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 11)).isSuccess)
        var change: UInt64 = 0
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 1)
            .with(sgl: attached.host.keyed(attached.scratch(4096), 512))
        // State, its number in the log, and the status that it gives to I/O (type 3h, path related).
        for (state, number, code) in [
            (.inaccessible, 3, 0x302), (.persistentLoss, 4, 0x301), (.change, 15, 0x303),
            (.nonOptimized, 2, 0), (.inaccessible, 3, 0x302), (.optimized, 1, 0),
        ] as [(ANAState, UInt64, UInt32)] {
            let id = attached.admin.send(event)
            try world.change { $0[TargetWorld.nqn]?.anaStates[1] = state }
            #expect(try world.completion(of: id, attached.admin).dword0 == anaChanged)
            let page = try log(world, attached.host, attached.admin, NVME_LOG_LID_ANA, 16 + 36)
            #expect(self.number(page, 0, 8) > change, "the change count grows")
            change = self.number(page, 0, 8)
            #expect(self.number(page, 8, 2) == 1, "one group")
            #expect(self.number(page, 16, 4) == 1 && self.number(page, 20, 4) == 1, "group 1, one namespace")
            #expect(self.number(page, 32, 1) == number && self.number(page, 48, 4) == 1)
            for queue in attached.io {
                let reply = try world.execute(queue, read)
                #expect(reply.status.code == code, "\(state)")
                #expect(!reply.status.doNotRetry, "another path may do it")
            }
        }
    }

    @Test func theDiscoveryLogNamesWhatAHostMayUse() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (queue, _) = try world.admin(host, nqn: TargetWorld.discovery, keepAlive: 10_000)
        #expect(try world.execute(queue, .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 31)).isSuccess)
        let first = try log(world, host, queue, NVME_LOG_LID_DISCOVER, 3072)
        #expect(number(first, 8, 8) == 1, "one record")
        #expect(number(first, 16, 2) == 0, "record format 0")
        // Transport 1 (RDMA), IPv4, an NVM subsystem, port 1, any controller, admin queue of at least 32.
        #expect(Array(first[1024..<1027]) == [1, 1, 2])
        #expect(number(first, 1024 + 4, 2) == 1 && number(first, 1024 + 6, 2) == 0xFFFF)
        #expect(number(first, 1024 + 8, 2) >= 32)
        func text(_ offset: Int, _ count: Int) -> String {
            String(decoding: first[offset..<offset + count].prefix { $0 != 0 && $0 != 0x20 }, as: UTF8.self)
        }
        #expect(text(1024 + 32, 32) == "4420" && text(1024 + 256, 256) == TargetWorld.nqn)
        #expect(text(1024 + 512, 256) == "192.0.2.1")

        // A change is told, and the generation counter grows.
        let id = queue.send(event)
        try world.change {
            $0.subsystems.append(SubsystemDefinition(nqn: "nqn.2024-01.io.tercet:second", serialNumber: "T2"))
        }
        #expect(try world.completion(of: id, queue).dword0 == discoveryChanged)
        let second = try log(world, host, queue, NVME_LOG_LID_DISCOVER, 3072)
        #expect(number(second, 8, 8) == 2 && number(second, 0, 8) > number(first, 0, 8))
        // The same host again: the counter stands while nothing changes.
        #expect(try log(world, host, queue, NVME_LOG_LID_DISCOVER, 16) == Array(second.prefix(16)))

        // A subsystem that the host may not use is not named to it.
        try world.change { $0[TargetWorld.nqn]?.access = .hosts(["nqn.2024-01.io.tercet:friend"]) }
        let third = try log(world, host, queue, NVME_LOG_LID_DISCOVER, 3072)
        #expect(number(third, 8, 8) == 1 && number(third, 0, 8) > number(second, 0, 8))
    }

    @Test func theDiscoveryLogNamesReferrals() throws {
        let world = try TargetWorld()
        let host = world.addHost()
        let (queue, _) = try world.admin(host, nqn: TargetWorld.discovery, keepAlive: 10_000)
        #expect(try world.execute(queue, .setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 31)).isSuccess)
        let before = try log(world, host, queue, NVME_LOG_LID_DISCOVER, 1024)
        let id = queue.send(event)
        let referral = try #require(SocketAddress(host: "192.0.2.77", port: 8009))
        try world.change { $0.referrals = [referral] }
        #expect(try world.completion(of: id, queue).dword0 == discoveryChanged)
        let page = try log(world, host, queue, NVME_LOG_LID_DISCOVER, 3072)
        #expect(number(page, 8, 8) == 2 && number(page, 0, 8) > number(before, 0, 8))
        // The second record, behind the subsystem's: RDMA over IPv4, another discovery subsystem, its port.
        let entry = Array(page[2048..<3072])
        #expect(
            entry[..<3] == [
                UInt8(NVMF_TRTYPE_RDMA.rawValue), UInt8(NVMF_ADDR_FAMILY_IP4.rawValue), UInt8(NVME_NQN_DISC.rawValue),
            ])
        #expect(number(entry, 4, 2) == 0)
        func text(_ offset: Int, _ count: Int) -> String {
            String(decoding: entry[offset..<offset + count].prefix { $0 != 0 && $0 != 0x20 }, as: UTF8.self)
        }
        #expect(text(32, 32) == "8009" && text(512, 256) == "192.0.2.77")
        #expect(text(256, 256) == TargetWorld.discovery)

        try world.change { $0.referrals = [] }
        #expect(number(try log(world, host, queue, NVME_LOG_LID_DISCOVER, 1024), 8, 8) == 1)
    }

    @Test func countersAndErrorsAreKept() throws {
        let world = try TargetWorld(groups: 2)
        let attached = try world.attach(ioQueues: 2)
        let host = attached.host
        let offset = attached.scratch(65536)
        let before = try log(world, host, attached.admin, NVME_LOG_LID_SMART, 512)
        for round in 0..<100 {
            let sgl = host.keyed(offset, 65536)
            let write = RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(0, 128).with(sgl: sgl)
            #expect(try world.execute(attached.io[round % 2], write).isSuccess)
            let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 128).with(sgl: sgl)
            for _ in 0..<2 { #expect(try world.execute(attached.io[round % 2], read).isSuccess) }
        }
        let after = try log(world, host, attached.admin, NVME_LOG_LID_SMART, 512)
        // Units of 1000 blocks of 512 bytes, rounded up: 12800 written, 25600 read.
        #expect(number(after, 32, 8) - number(before, 32, 8) == 26)
        #expect(number(after, 48, 8) - number(before, 48, 8) == 13)
        #expect(number(after, 64, 8) == 200 && number(after, 80, 8) == 100)

        let bad = RawCommand(opcode: nvme_admin_get_log_page.rawValue).with(10, 0xEE)
        let refused = try world.execute(attached.admin, bad)
        #expect(refused.status.code != 0)
        let errors = try log(world, host, attached.admin, NVME_LOG_LID_ERROR, 128)
        #expect(number(errors, 0, 8) == 1 && number(errors, 8, 2) == 0)
        #expect(number(errors, 10, 2) == UInt64(refused.commandID))
        // The status field without the phase tag.
        #expect(UInt32(number(errors, 12, 2)) >> 1 & 0x7FF == refused.status.code)
        #expect(number(errors, 64, 8) == 0, "one entry")
        let smart = try log(world, host, attached.admin, NVME_LOG_LID_SMART, 512)
        #expect(number(smart, 176, 8) == 1, "entries of the error log")
    }
}
