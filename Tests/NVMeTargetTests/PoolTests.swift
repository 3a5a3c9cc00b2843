import CLibNVMe
import InProcessTransport
import NVMeSpec
import NVMeTarget
import NamespacePool
import TargetInterface
import Testing

/// Namespace Management and Namespace Attachment: one row for each rule of NVMe Base; numbers from libnvme's headers.
@Suite struct PoolTests {
    /// 8 MiB in blocks of 512 bytes, for four namespaces.
    private static let limits = PoolLimits(capacity: 8 << 20, maxNamespaces: 4, blockSize: 512)
    private static let manager = HostName(1)

    /// A world with an empty pool, one host that manages it and one that does not.
    private final class PoolWorld {
        let pool: TestPool
        let world: EngineWorld
        let host: EngineHost
        let guest: EngineHost

        init(groups: Int = 1) throws {
            pool = try TestPool(limits)
            world = try EngineWorld(groups: groups, pools: pool)
            try world.change {
                $0[EngineWorld.nqn]?.namespaces = []
                $0[EngineWorld.nqn]?.pool = PoolDefinition(
                    folder: "/pool", capacity: limits.capacity, maxNamespaces: limits.maxNamespaces,
                    blockSize: limits.blockSize, managers: [manager.nqn])
            }
            host = try world.attach(ioQueues: UInt16(groups), host: manager)
            guest = try world.attach(host: 2)
        }

        /// Sends an admin command, has the pool do what it asks for, and returns the answer.
        func manage(
            _ command: RawCommand, _ data: InProcessData = .none, by other: EngineHost? = nil
        ) throws -> InProcessAnswer {
            let admin = (other ?? host).admin
            let id = world.send(command, data, on: admin)
            world.settle()
            if pool.waitingCount > 0 {
                #expect(admin.answer(to: id) == nil, "it is not answered before it is done")
                try pool.work(in: world)
            }
            return try #require(world.answer(to: id, on: admin))
        }

        @discardableResult
        func create(blocks: UInt64) throws -> UInt32 {
            let answer = try manage(.manage(NVME_NS_MGMT_SEL_CREATE), .create(blocks))
            guard answer.isSuccess else { throw WorldError("no namespace: \(answer.status)") }
            return answer.dword0
        }

        func attach(_ nsid: UInt32, _ controllers: [UInt16]? = nil) throws -> RawStatus {
            try manage(
                .attachment(NVME_NS_ATTACH_SEL_CTRL_ATTACH, nsid: nsid), .list(controllers ?? [host.controllerID])
            ).status
        }

        func list(_ cns: nvme_identify_cns, after nsid: UInt32 = 0, by other: EngineHost? = nil) throws -> [UInt64] {
            let page = try world.identify(cns, nsid: nsid, on: (other ?? host).admin)
            return (0..<1024).map { page.number(4 * $0, 4) }.filter { $0 != 0 }
        }
    }

    @Test func aNamespaceIsMadeAttachedUsedDetachedAndDeleted() throws {
        let pool = try PoolWorld(groups: 2)
        let (world, host) = (pool.world, pool.host)
        #expect(try pool.create(blocks: 8192) == 1)
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [1])
        #expect(try pool.list(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST) == [])
        // NSZE, NCAP and NVMCAP of the allocated namespace; the active one is all zeroes.
        let allocated = try world.identify(NVME_IDENTIFY_CNS_ALLOCATED_NS, nsid: 1, on: host.admin)
        #expect(allocated.number(0, 8) == 8192 && allocated.number(8, 8) == 8192)
        #expect(allocated.number(48, 8) == 4 << 20)
        #expect(allocated.number(104, 8) != 0, "it has an NGUID")
        #expect(try world.identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: host.admin).allSatisfy { $0 == 0 })
        #expect(try world.identify(NVME_IDENTIFY_CNS_NS_CTRL_LIST, nsid: 1, on: host.admin).number(0, 2) == 0)
        #expect(try host.write(7) == Self.noSuchNamespace)

        #expect(try pool.attach(1) == .success)
        #expect(try pool.list(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST) == [1])
        #expect(try pool.list(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, by: pool.guest) == [1], "an attachment is for all")
        let active = try world.identify(NVME_IDENTIFY_CNS_NS, nsid: 1, on: host.admin)
        #expect(active[104..<120] == allocated[104..<120], "it has the same NGUID")
        let controllers = try world.identify(NVME_IDENTIFY_CNS_NS_CTRL_LIST, nsid: 1, on: host.admin)
        #expect(controllers.number(0, 2) == 2)
        // At once, on the queues of all reactors.
        for queue in host.io.indices {
            #expect(
                try host.execute(.io(nvme_cmd_write, nsid: 1), .fromHost(.blocks(of: 7)), queue: queue) == .success)
        }

        let detach = RawCommand.attachment(NVME_NS_ATTACH_SEL_CTRL_DEATTACH, nsid: 1)
        #expect(try pool.manage(detach, .list([host.controllerID])).isSuccess)
        #expect(try pool.list(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST) == [])
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [1])
        #expect(try pool.attach(1) == .success)
        #expect(try pool.manage(.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1)).isSuccess, "an attached one")
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [])
        #expect(try host.write(7) == Self.noSuchNamespace)
        #expect(Set(pool.pool.hosts) == [Self.manager.nqn])
    }

    /// A manager that may have died asks again, and finds what it has made.
    @Test func aManagerChoosesTheIdentityOfANamespace() throws {
        let pool = try PoolWorld()
        let uuid = (1...16 as ClosedRange<UInt8>).map { $0 }
        // "30tercet" as a little-endian number, and the UUID, from byte 3072 on.
        let wanted: (inout [UInt8]) -> Void = {
            $0.replaceSubrange(3072..<3096, with: [0x33, 0x30, 0x74, 0x65, 0x72, 0x63, 0x65, 0x74] + uuid)
        }
        try pool.create(blocks: 8)
        for _ in 0..<2 {
            let answer = try pool.manage(.manage(NVME_NS_MGMT_SEL_CREATE), .create(8, wanted))
            #expect(answer.isSuccess && answer.dword0 == 2)
        }
        let page = try pool.world.identify(NVME_IDENTIFY_CNS_ALLOCATED_NS, nsid: 2, on: pool.host.admin)
        #expect(Array(page[104..<120]) == uuid)
        #expect(
            try pool.manage(.manage(NVME_NS_MGMT_SEL_CREATE), .create(16, wanted)).status
                == .specific(NVME_SC_ID_UNAVAILABLE), "of another size")
        let unmarked = try pool.manage(.manage(NVME_NS_MGMT_SEL_CREATE), .create(8) { $0[3080] = 1 })
        #expect(unmarked.dword0 == 3, "bytes without the mark mean nothing")
    }

    @Test func aManagerLetsANamespaceGrow() throws {
        let pool = try PoolWorld()
        try pool.create(blocks: 8192)
        func grow(_ blocks: UInt32, nsid: UInt32 = 1) -> RawCommand {
            RawCommand(opcode: 0xC4, nsid: nsid).with(10, blocks)
        }
        #expect(try pool.manage(grow(8200), by: pool.guest).status == .generic(NVME_SC_OP_DENIED))
        #expect(try pool.manage(grow(8200)).isSuccess)
        #expect(
            try pool.world.identify(NVME_IDENTIFY_CNS_ALLOCATED_NS, nsid: 1, on: pool.guest.admin).number(0, 8) == 8200)
        #expect(try pool.manage(grow(8199)).status == Self.invalidField)
        #expect(try pool.manage(grow(8200, nsid: 2)).status == Self.noSuchNamespace)
        #expect(try pool.manage(grow(1 << 14 + 1)).status == .specific(NVME_SC_NS_INSUFFICIENT_CAP))
    }

    @Test func listsHaveWhatIsAboveANamespace() throws {
        let pool = try PoolWorld()
        for _ in 0..<4 { try pool.create(blocks: 1) }
        #expect(try pool.manage(.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 2)).isSuccess)
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST, after: 1) == [3, 4])
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST, after: 4) == [])
        #expect(try pool.create(blocks: 1) == 2)
        #expect(try pool.manage(.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 0xFFFF_FFFF)).isSuccess)
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [], "FFFFFFFFh deletes all")
    }

    @Test func aControllerTellsWhatItsPoolHas() throws {
        let pool = try PoolWorld()
        func page(_ host: EngineHost) throws -> [UInt8] { try pool.world.identify(on: host.admin) }
        #expect(try page(pool.host).number(280, 8) == 8 << 20, "TNVMCAP")
        #expect(try page(pool.host).number(296, 8) == 8 << 20, "UNVMCAP")
        #expect(try page(pool.host).number(540, 4) == 4, "MNAN")
        try pool.create(blocks: 2048)
        #expect(try page(pool.host).number(296, 8) == 7 << 20)
        // OACS bit 3 is for those who may.
        #expect(try page(pool.host).number(256, 2) & 8 != 0)
        #expect(try page(pool.guest).number(256, 2) & 8 == 0)
        // The common format: LBADS is 9.
        let common = try pool.world.identify(NVME_IDENTIFY_CNS_NS, nsid: 0xFFFF_FFFF, on: pool.host.admin)
        #expect(common.number(0, 8) == 0 && common[25] == 0 && common[130] == 9)
        let refused = try pool.world.execute(
            .identify(NVME_IDENTIFY_CNS_NS, nsid: 0xFFFF_FFFF), .toHost(4096), on: pool.guest.admin)
        #expect(refused.status == .refused(NVME_SC_INVALID_NS))
        // Commands Supported and Effects: CSUPP and NIC.
        let effects = try pool.world.log(NVME_LOG_LID_CMD_EFFECTS, 4096, on: pool.host.admin)
        #expect(effects.number(4 * 0x0D, 4) == 0b1001 && effects.number(4 * 0x15, 4) == 0b1001)
        #expect(try pool.world.log(NVME_LOG_LID_CMD_EFFECTS, 4096, on: pool.guest.admin).number(4 * 0x0D, 4) == 0)
    }

    @Test func onlyManagersManage() throws {
        let pool = try PoolWorld()
        try pool.create(blocks: 1)
        let denied = RawStatus.generic(NVME_SC_OP_DENIED)
        for command in [
            RawCommand.manage(NVME_NS_MGMT_SEL_CREATE), .manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1),
            .attachment(NVME_NS_ATTACH_SEL_CTRL_ATTACH, nsid: 1),
        ] {
            #expect(try pool.manage(command, .create(1), by: pool.guest).status == denied)
        }
        #expect(pool.pool.hosts.count == 1)
        // A change of the configuration lets it.
        try pool.world.change { $0[EngineWorld.nqn]?.pool?.managers.insert(pool.guest.name.nqn) }
        #expect(try pool.manage(.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1), by: pool.guest).isSuccess)
        // A subsystem that is no pool has no such commands.
        let (world, host) = try EngineWorld().attached()
        #expect(
            try world.execute(.manage(NVME_NS_MGMT_SEL_CREATE), .create(1), on: host.admin).status
                == .refused(NVME_SC_INVALID_OPCODE))
    }

    /// A command, and how it ends in a pool whose namespace 1 is attached, whose namespace 2 is not, and in which 4 MiB are left.
    struct Rule: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let command: RawCommand
        let data: InProcessData
        let status: RawStatus

        init(_ name: String, _ command: RawCommand, _ data: InProcessData, _ status: RawStatus) {
            (testDescription, self.command, self.data, self.status) = (name, command, data, status)
        }
    }

    private static func create(
        _ name: String, _ data: InProcessData, _ status: RawStatus, nsid: UInt32 = 0, dword11: UInt32 = 0
    ) -> Rule { Rule(name, .manage(NVME_NS_MGMT_SEL_CREATE, nsid: nsid).with(11, dword11), data, status) }

    private static func attach(
        _ name: String, nsid: UInt32, _ data: InProcessData, _ status: RawStatus,
        _ action: nvme_ns_attach_sel = NVME_NS_ATTACH_SEL_CTRL_ATTACH
    ) -> Rule { Rule(name, .attachment(action, nsid: nsid), data, status) }

    private static let invalidField = RawStatus.refused(NVME_SC_INVALID_FIELD)
    private static let noSuchNamespace = RawStatus.generic(NVME_SC_INVALID_NS)

    static let rules: [Rule] = [
        create("of no blocks", .create(0), invalidField),
        create("for an identifier", .create(1), invalidField, nsid: 3),
        create(
            "of another command set", .create(1), .specific(NVME_SC_IOCS_NOT_SUPPORTED, doNotRetry: true),
            dword11: 2 << 24),
        create("without data", .none, .refused(NVME_SC_SGL_INVALID_DATA)),
        create(
            "in another format", .create(1) { $0[26] = 1 }, .specific(NVME_SC_INVALID_FORMAT, doNotRetry: true)),
        create(
            "with protection information", .create(1) { $0[29] = 1 },
            .specific(NVME_SC_INVALID_FORMAT, doNotRetry: true)),
        create("in an NVM set", .create(1) { $0[100] = 1 }, invalidField),
        create("in an endurance group", .create(1) { $0[102] = 1 }, invalidField),
        create(
            "in ANA group 2", .create(1) { $0[92] = 2 }, .specific(NVME_SC_ANA_GROUP_ID_INVALID, doNotRetry: true)),
        create(
            "of less capacity than size", .create(2) { $0[8] = 1 },
            .specific(NVME_SC_THIN_PROV_NOT_SUPP, doNotRetry: true)),
        create("of more capacity than size", .create(2) { $0[8] = 3 }, invalidField),
        create("of more than is left", .create(8193), .specific(NVME_SC_NS_INSUFFICIENT_CAP)),
        create("of more than can be counted", .create(.max), .specific(NVME_SC_NS_INSUFFICIENT_CAP)),
        Rule("deleting none", .manage(NVME_NS_MGMT_SEL_DELETE, nsid: 0), .none, .refused(NVME_SC_INVALID_NS)),
        Rule("deleting what is not there", .manage(NVME_NS_MGMT_SEL_DELETE, nsid: 3), .none, noSuchNamespace),
        Rule(
            "deleting what cannot be", .manage(NVME_NS_MGMT_SEL_DELETE, nsid: 17), .none, .refused(NVME_SC_INVALID_NS)),
        Rule("something else", RawCommand.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1).with(10, 2), .none, invalidField),
        attach("attaching to nobody", nsid: 2, .list([]), .specific(NVME_SC_CTRL_LIST_INVALID)),
        attach("attaching to a stranger", nsid: 2, .list([0xFFEE]), .specific(NVME_SC_CTRL_LIST_INVALID)),
        attach(
            "attaching to more than a list holds", nsid: 2,
            .fromHost(little(2048, 2) + [UInt8](repeating: 1, count: 4094)),
            .specific(NVME_SC_CTRL_LIST_INVALID)),
        attach("attaching with a short list", nsid: 2, .fromHost([1, 0, 1, 0]), .refused(NVME_SC_SGL_INVALID_DATA)),
    ]

    @Test func rules() throws {
        let pool = try PoolWorld()
        try pool.create(blocks: 4096)
        try pool.create(blocks: 4096)
        #expect(try pool.attach(1) == .success)
        for rule in Self.rules {
            #expect(try pool.manage(rule.command, rule.data).status == rule.status, "\(rule.testDescription)")
        }
        let own = InProcessData.list([pool.host.controllerID])
        let (attach, detach) = (NVME_NS_ATTACH_SEL_CTRL_ATTACH, NVME_NS_ATTACH_SEL_CTRL_DEATTACH)
        for (nsid, action, status) in [
            (1, attach, .specific(NVME_SC_NS_ALREADY_ATTACHED)), (2, detach, .specific(NVME_SC_NS_NOT_ATTACHED)),
            (3, attach, Self.noSuchNamespace), (0, attach, .refused(NVME_SC_INVALID_NS)),
            (0xFFFF_FFFF, detach, .refused(NVME_SC_INVALID_NS)),
        ] as [(UInt32, nvme_ns_attach_sel, RawStatus)] {
            #expect(try pool.manage(.attachment(action, nsid: nsid), own).status == status, "\(action) \(nsid)")
        }
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [1, 2], "nothing has changed")
        try pool.create(blocks: 1)
        try pool.create(blocks: 1)
        #expect(
            try pool.manage(.manage(NVME_NS_MGMT_SEL_CREATE), .create(1)).status
                == .specific(NVME_SC_NS_ID_UNAVAILABLE))
        pool.pool.fail(.failed("the disk is broken"))
        #expect(
            try pool.manage(.manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1)).status == .generic(NVME_SC_INTERNAL))
    }

    /// Namespace Attribute Changed, once until the Changed Namespace List is read (NVMe Base, "Asynchronous Event Information -
    /// Notice"). A namespace that is made, and not attached, is in no controller's inventory.
    @Test func hostsHearOfWhatChanges() throws {
        let pool = try PoolWorld()
        let admin = pool.guest.admin
        try pool.world.execute(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 8), on: admin)
        var event = pool.world.send(.event, on: admin)
        try pool.create(blocks: 8192)
        #expect(pool.world.answer(to: event, on: admin) == nil)
        let (attach, detach) = (NVME_NS_ATTACH_SEL_CTRL_ATTACH, NVME_NS_ATTACH_SEL_CTRL_DEATTACH)
        for command in [
            RawCommand.attachment(attach, nsid: 1), .attachment(detach, nsid: 1), .attachment(attach, nsid: 1),
            .manage(NVME_NS_MGMT_SEL_DELETE, nsid: 1),
        ] {
            #expect(try pool.manage(command, .list([pool.host.controllerID])).isSuccess)
            #expect(pool.world.answer(to: event, on: admin)?.dword0 == 0x0004_0002)
            #expect(try pool.world.log(NVME_LOG_LID_CHANGED_NS, 4096, on: admin).number(0, 8) == 1)
            event = pool.world.send(.event, on: admin)
        }
    }

    /// A host that goes while its namespace is made leaves nothing behind, and the namespace is there.
    @Test func aHostMayGoMeanwhile() throws {
        let pool = try PoolWorld()
        let other = try pool.world.attach(host: Self.manager)
        pool.world.send(.manage(NVME_NS_MGMT_SEL_CREATE), .create(1), on: other.admin)
        pool.world.settle()
        #expect(pool.pool.waitingCount == 1)
        other.leave()
        try pool.pool.work(in: pool.world)
        pool.world.settle()
        #expect(try pool.list(NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST) == [1])
    }
}
