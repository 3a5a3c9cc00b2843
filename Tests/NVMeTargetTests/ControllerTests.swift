import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The life of a controller: properties, reset, shutdown, keep-alive, Abort, who may stay.
@Suite struct ControllerTests {
    @Test func propertiesSayWhatTheControllerIs() throws {
        let world = try EngineWorld()
        let queue = world.open()
        #expect(try world.connect(RawConnect(), on: queue).isSuccess)
        func property(_ offset: UInt32, is8Bytes: Bool = false, set: UInt32? = nil) throws -> InProcessAnswer {
            let type = set == nil ? nvme_fabrics_type_property_get : nvme_fabrics_type_property_set
            let command = RawCommand.fabrics(type).with(10, is8Bytes ? 1 : 0).with(11, offset).with(12, set ?? 0)
            return try world.execute(command, on: queue)
        }
        let (cap, version, state) = (NVME_REG_CAP.rawValue, NVME_REG_VS.rawValue, NVME_REG_CSTS.rawValue)
        let capabilities = try property(cap, is8Bytes: true)
        // MQES is 0-based; CSS bit 37 is the NVM command set; TO is not 0.
        #expect(capabilities.isSuccess && capabilities.dword0 & 0xFFFF == 31)
        #expect(capabilities.dword1 & 1 << 5 != 0 && capabilities.dword0 >> 24 != 0)
        #expect(try property(version).dword0 >> 16 >= 1)
        #expect(try property(state).dword0 == 0)
        let invalid = NVME_SC_INVALID_FIELD.rawValue
        #expect(try property(cap).status.code == invalid, "4 bytes of 8")
        #expect(try property(version, is8Bytes: true).status.code == invalid)
        let reserved: [UInt32] = [1, 0x0C, 0x10, 0x24, 0x28, 0x30, 0x1000, .max]
        for offset in reserved {
            let read = try property(offset)
            #expect(read.isSuccess && read.dword0 == 0 && read.dword1 == 0, "offset \(offset)")
        }
        for offset in reserved + [cap, version, state] {
            #expect(try property(offset, set: 1).status.code == invalid, "offset \(offset)")
        }
        // CC, and CSTS then: entry sizes other than 64 and 16 bytes are fatal (CFS, bit 1), and RDY (bit 0) stays 0.
        for (value, expected) in [(0x0000_0001, 2), (0, 0), (0x0046_0001, 1)] as [(UInt32, UInt32)] {
            #expect(try property(NVME_REG_CC.rawValue, set: value).isSuccess)
            #expect(try property(state).dword0 & 3 == expected)
        }
    }

    @Test func theTimerCanBeSetAndSwitchedOff() throws {
        let world = try EngineWorld()
        let admin = try world.admin(keepAlive: 1000)
        for (timeout, milliseconds) in [(5000, 4000), (0, 60_000)] as [(UInt32, UInt64)] {
            #expect(try world.execute(.setFeature(NVME_FEAT_FID_KATO, timeout), on: admin).isSuccess)
            world.pass(milliseconds: milliseconds)
            #expect(!admin.isClosed)
        }
    }

    private func isReady(_ host: EngineHost) throws -> Bool {
        try host.manage(.getProperty(NVME_REG_CSTS)).dword0 & 1 == 1
    }

    /// As hosts do: enables the controller again, and opens a queue.
    private func enableAgain(_ host: EngineHost) throws {
        let world = host.world
        #expect(world.run(milliseconds: 1000) { (try? isReady(host)) == false })
        #expect(try host.manage(.keepAlive).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        #expect(try host.manage(.enable).isSuccess)
        #expect(try isReady(host))
        #expect(try host.manage(.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        let queue = world.open(queueID: 1)
        #expect(try world.connect(RawConnect(controllerID: host.controllerID, queueID: 1), on: queue).isSuccess)
        #expect(try world.execute(.flush(), on: queue).isSuccess)
    }

    /// Data that the host writes after the reset may not be overwritten by data that it wrote before. A shutdown completes.
    @Test(arguments: [1, 2], [false, true]) func aResetIsOverWhenTheCommandsAre(groups: Int, areAny: Bool) throws {
        let (world, device) = try EngineWorld.steered(groups: groups)
        let audit = try world.audit()
        let host = try world.attach(ioQueues: 4)
        device.behaviour.isStuck = areAny
        for queue in host.io.indices where areAny { _ = host.sendWrite(1, blocks: 8, queue: queue) }
        world.pass(milliseconds: 10)
        #expect(try host.manage(.configure(0)).isSuccess)
        world.pass(milliseconds: 1000)
        #expect(host.io.allSatisfy(\.isClosed) && !host.admin.isClosed)
        #expect(try isReady(host) == areAny, "writes are at the device")
        // CC.EN may be set only when CSTS.RDY is 0 (NVMe Base, "Controller Configuration").
        for command in areAny ? [RawCommand.enable, .keepAlive] : [.keepAlive] {
            #expect(try host.manage(command).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        }
        device.behaviour.isStuck = false
        try enableAgain(host)
        // CC.SHN 01b: CSTS.SHST (bits 3:2) becomes 10b, complete.
        #expect(try host.manage(.configure(0x0046_4001)).isSuccess)
        #expect(try host.manage(.getProperty(NVME_REG_CSTS)).dword0 >> 2 & 3 == 2)
        host.admin.disconnect()
        audit.end()
    }

    @Test(arguments: [1, 2]) func aSilentHostIsEndedAndABusyOneIsNot(groups: Int) throws {
        let (world, audit) = try EngineWorld(groups: groups).audited()
        let host = try world.attach(ioQueues: 2, keepAlive: 1000)
        // Traffic on any queue counts (Identify Controller, CTRATT bit 6, TBKAS).
        for round in 0..<20 {
            world.pass(milliseconds: 400)
            #expect(try host.execute(.flush(), queue: round % 2) == .success)
        }
        for _ in 0..<5 {
            world.pass(milliseconds: 700)
            #expect(try host.manage(.keepAlive).isSuccess)
        }
        #expect(host.isThere)
        world.pass(milliseconds: 1500)
        #expect(host.isGone)
        #expect(world.events.contains("keep-alive"))
        audit.end("a host without a timer stays")
    }

    @Test(arguments: [1, 2]) func anAbortWithdrawsWhatWaits(groups: Int) throws {
        let (world, device) = try EngineWorld.steered(groups: groups)
        let host = try world.attach(ioQueues: 2)
        func abort(_ id: UInt16, sq: Int) throws -> Bool {
            try world.succeed(.abort(id, sq: sq), on: host.admin).dword0 & 1 == 0
        }
        // On the same reactor and, where there are two, on the other one.
        for (queueID, queue) in zip([1, 2], host.io) {
            device.behaviour.isStuck = true
            let ids = (0..<3).map { _ in host.sendRead(blocks: 8, queue: queueID - 1) }
            world.pass(milliseconds: 10)
            #expect(try abort(ids[1], sq: queueID))
            #expect(world.status(of: ids[1], on: queue) == .generic(NVME_SC_ABORT_REQ))
            #expect(try !abort(0x7777, sq: queueID), "there is no such command")
            device.behaviour.isStuck = false
            for id in [ids[0], ids[2]] { #expect(world.status(of: id, on: queue) == .success) }
            #expect(try !abort(ids[0], sq: queueID), "it had ended")
        }
        let event = world.send(.event, on: host.admin)
        world.settle()
        #expect(try abort(event, sq: 0))
        #expect(world.status(of: event, on: host.admin) == .generic(NVME_SC_ABORT_REQ))
        // A fetch that waits for room, as the answer to the Abort does.
        world.isFull = true
        let write = host.sendWrite(9)
        world.settle()
        let id = world.send(.abort(write, sq: 1), on: host.admin)
        world.settle()
        world.isFull = false
        #expect(world.answer(to: id, on: host.admin)?.dword0 == 0, "it was aborted")
        #expect(host.status(of: write) == .generic(NVME_SC_ABORT_REQ))
        #expect(try host.read().allSatisfy { $0 == 0 })
    }

    @Test func anAbortWhoseQueueEndsMeanwhileLeavesNothingBehind() throws {
        let world = try EngineWorld(groups: 2)
        for rounds in 0..<8 {
            let host = try world.attach(ioQueues: 4)
            for queueID in 1...4 { world.send(.abort(0x7777, sq: queueID), on: host.admin) }
            for _ in 0..<rounds { _ = world.poll() }
            host.leave()
            world.pass(milliseconds: 300)
        }
    }

    @Test func whatAReloadTakesAwayIsGoneAndMayComeBack() throws {
        let (world, audit) = try EngineWorld(groups: 2).audited()
        let (friend, other) = (audit.witness, try world.attach(ioQueues: 2, host: 2))
        try world.change { $0[EngineWorld.nqn]?.access = .hosts([friend.name.nqn]) }
        #expect(world.run(milliseconds: 2000) { other.isGone })
        audit.end("a host that is no longer allowed is disconnected")
        #expect(try world.connect(RawConnect(host: friend.name), on: world.open()).isSuccess)
        #expect(!world.events.contains("connectRefused"))
        let refused = try world.connect(RawConnect(host: 2), on: world.open())
        #expect(refused.status == .specific(NVME_SC_CONNECT_INVALID_HOST), "a reload may name it again")
        #expect(world.events.contains("connectRefused"))
        try world.setNamespaces()
        #expect(try friend.write(1, blocks: 8) == .generic(NVME_SC_INVALID_NS))
        #expect(try friend.execute(ReservingHost.report(nsid: 1), .toHost(4096)) == .generic(NVME_SC_INVALID_NS))
        try world.change { $0[EngineWorld.nqn] = nil }
        #expect(world.run(milliseconds: 2000) { friend.isGone })
        // Connect Invalid Parameters without Do Not Retry: the subsystem may come back.
        #expect(try world.connect(RawConnect(), on: world.open()).status == RawStatus(code: 0x182))
        try world.change { $0[EngineWorld.nqn] = SubsystemDefinition(nqn: EngineWorld.nqn) }
        #expect(try world.connect(RawConnect(), on: world.open()).isSuccess)
    }

    @Test func queuesAreSpreadOverTheReactors() throws {
        let world = try EngineWorld(groups: 2)
        let hosts = try (1...2).map { try world.attach(ioQueues: 4, host: .init($0)) }
        let before = world.target.subsystems[0].statistics.otherCommands
        for host in hosts {
            for queue in 0..<40 { #expect(try host.execute(.flush(), queue: queue % 4) == .success) }
            host.expectServed()
        }
        #expect(world.groups.map { $0.poolUse[0].boundConnections } == [5, 5], "two admin queues and eight I/O queues")
        #expect(world.target.subsystems[0].statistics.otherCommands == before + 80)
    }

    @Test func moreCommandsThanTheQueueHasEntriesEndTheConnection() throws {
        let (world, disk) = try EngineWorld.steered()
        let audit = try world.audit()
        let bad = try world.attach(entries: 8)
        disk.behaviour.isStuck = true
        for _ in 0..<8 { _ = bad.sendRead(blocks: 8) }
        world.settle()
        #expect(!bad.io[0].isClosed, "as many as the queue has entries")
        _ = bad.sendRead(blocks: 8)
        world.settle()
        #expect(bad.io[0].isClosed)
        #expect(world.events.contains("more commands than the submission queue has entries"))
        disk.behaviour.isStuck = false
        bad.leave()
        audit.end()
    }
}
