import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The life of a controller: properties, reset, shutdown, keep-alive, Abort, who may stay.
@Suite struct ControllerTests {
    private let flush = RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: 1)
    private let keepAlive = RawCommand(opcode: nvme_admin_keep_alive.rawValue)

    @Test func propertiesSayWhatTheControllerIs() throws {
        let world = try EngineWorld()
        let queue = world.open()
        #expect(try world.connect(EngineConnect(), on: queue).isSuccess)
        func property(_ offset: UInt32, is8Bytes: Bool = false, set: UInt32? = nil) throws -> RawCompletion {
            let type = set == nil ? nvme_fabrics_type_property_get : nvme_fabrics_type_property_set
            let command = RawCommand.fabrics(type).with(10, is8Bytes ? 1 : 0).with(11, offset).with(12, set ?? 0)
            return try world.execute(command, on: queue).completion
        }
        let (cap, version) = (NVME_REG_CAP.rawValue, NVME_REG_VS.rawValue)
        let (configuration, state) = (NVME_REG_CC.rawValue, NVME_REG_CSTS.rawValue)
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
            #expect(try property(configuration, set: value).isSuccess)
            #expect(try property(state).dword0 & 3 == expected)
        }
    }

    @Test func theTimerCanBeSetAndSwitchedOff() throws {
        let world = try EngineWorld()
        let admin = try world.admin(keepAlive: 1000).queue
        for (timeout, milliseconds) in [(5000, 4000), (0, 60_000)] as [(UInt32, UInt64)] {
            #expect(try world.execute(.setFeature(NVME_FEAT_FID_KATO, timeout), on: admin).completion.isSuccess)
            world.pass(milliseconds: milliseconds)
            #expect(!admin.isClosed)
        }
    }

    private func isReady(_ world: TargetWorld, _ admin: RawQueue) throws -> Bool {
        try world.execute(admin, .getProperty(NVME_REG_CSTS)).dword0 & 1 == 1
    }

    /// As hosts do: looks at CSTS.RDY until it is 0.
    private func awaitReset(_ world: TargetWorld, _ admin: RawQueue) throws {
        for _ in 0..<100 {
            if try !isReady(world, admin) { return }
            world.pass(milliseconds: 10)
        }
        throw WorldError("the controller is still ready")
    }

    /// Data that the host writes after the reset may not be overwritten by data that it wrote before.
    @Test(arguments: [1, 2]) func aResetIsOverWhenTheCommandsAre(groups: Int) throws {
        let world = try TargetWorld(groups: groups) { SimulatedDisk("disk", network: $0, blockCount: 8192) }
        let disk = try #require(world.disk as? SimulatedDisk)
        let attached = try world.attach(ioQueues: 2)
        disk.behaviour.isStuck = true
        let offset = attached.scratch(4096)
        for queue in attached.io {
            queue.send(
                RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1).range(0, 8)
                    .with(sgl: attached.host.keyed(offset, 4096)))
        }
        world.pass(milliseconds: 5)
        #expect(try world.execute(attached.admin, .configure(0)).isSuccess)
        try world.wait("the end of the I/O queues") { attached.io.allSatisfy { $0.end != nil } }
        world.pass(milliseconds: 1000)
        #expect(try isReady(world, attached.admin), "writes are at the device")
        // CC.EN may be set only when CSTS.RDY is 0 (NVMe Base, "Controller Configuration").
        let early = try world.execute(attached.admin, .configure(0x0046_0001))
        #expect(early.status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        #expect(try world.execute(attached.admin, keepAlive).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        disk.behaviour.isStuck = false
        try awaitReset(world, attached.admin)
        try world.enable(attached.admin)
        #expect(try isReady(world, attached.admin))
        #expect(try world.execute(attached.admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        let queue = try world.io(attached.host, attached.controllerID)
        #expect(try world.execute(queue, flush).isSuccess)
    }

    @Test func aResetEndsTheIOQueuesAndAShutdownCompletes() throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach()
        let before = try world.baseline()
        let attached = try world.attach(ioQueues: 4)
        #expect(try world.execute(attached.admin, .configure(0)).isSuccess)
        try world.wait("the end of the I/O queues") { attached.io.allSatisfy { $0.end != nil } }
        #expect(attached.admin.isOpen)
        #expect(try world.execute(attached.admin, keepAlive).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        try awaitReset(world, attached.admin)
        #expect(try world.execute(attached.admin, keepAlive).status.code == NVME_SC_CMD_SEQ_ERROR.rawValue)
        try world.enable(attached.admin)
        #expect(try world.execute(attached.admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess)
        let queue = try world.io(attached.host, attached.controllerID)
        #expect(try world.execute(queue, flush).isSuccess)
        // CC.SHN 01b: CSTS.SHST (bits 3:2) becomes 10b, complete.
        #expect(try world.execute(attached.admin, .configure(0x0046_4001)).isSuccess)
        #expect(try world.execute(attached.admin, .getProperty(NVME_REG_CSTS)).dword0 >> 2 & 3 == 2)
        world.expectServed(witness)
        attached.host.destroyAll()
        world.expectPools(before)
    }

    @Test(arguments: [1, 2]) func aSilentHostIsEndedAndABusyOneIsNot(groups: Int) throws {
        let world = try TargetWorld(groups: groups)
        let witness = try world.attach()
        let before = try world.baseline()
        let attached = try world.attach(ioQueues: 2, keepAlive: 1000)
        // Traffic on any queue counts (Identify Controller, CTRATT bit 6, TBKAS).
        for round in 0..<20 {
            world.pass(milliseconds: 400)
            #expect(try world.execute(attached.io[round % 2], flush).isSuccess)
        }
        for _ in 0..<5 {
            world.pass(milliseconds: 700)
            #expect(try world.execute(attached.admin, keepAlive).isSuccess)
        }
        #expect(attached.io.allSatisfy { $0.isOpen })
        world.pass(milliseconds: 1500)
        #expect(attached.admin.end == "disconnected" && attached.io.allSatisfy { $0.end == "disconnected" })
        #expect(world.events.contains("keep-alive"))
        world.expectServed(witness, "a host without a timer stays")
        attached.host.destroyAll()
        world.expectPools(before)
    }

    // MARK: Abort

    @Test(arguments: [1, 2]) func anAbortWithdrawsWhatWaits(groups: Int) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        let attached = try world.attach(ioQueues: 2)
        let before = try world.baseline()
        // On the same reactor and, where there are two, on the other one.
        for queueID in [1, 2] {
            let queue = attached.io[queueID - 1]
            disk.behaviour.isStuck = true
            let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8)
                .with(sgl: attached.host.keyed(attached.scratch(4096), 4096))
            let ids = (0..<3).map { _ in queue.send(read) }
            world.pass(milliseconds: 5)
            func abort(_ id: UInt16, sq: Int) throws -> RawCompletion {
                try world.execute(
                    attached.admin,
                    RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(sq) | UInt32(id) << 16))
            }
            let reply = try abort(ids[1], sq: queueID)
            #expect(reply.isSuccess && reply.dword0 & 1 == 0, "it was aborted")
            #expect(try world.completion(of: ids[1], queue).status.code == NVME_SC_ABORT_REQ.rawValue)
            let unknown = try abort(0x7777, sq: queueID)
            #expect(unknown.isSuccess && unknown.dword0 & 1 == 1, "there is no such command")
            disk.behaviour.isStuck = false
            #expect(try world.completion(of: ids[0], queue).isSuccess)
            #expect(try world.completion(of: ids[2], queue).isSuccess)
            let late = try abort(ids[0], sq: queueID)
            #expect(late.isSuccess && late.dword0 & 1 == 1, "it had ended")
        }
        let event = attached.admin.send(RawCommand(opcode: nvme_admin_async_event.rawValue))
        world.pass(milliseconds: 5)
        let reply = try world.execute(
            attached.admin, RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(event) << 16))
        #expect(reply.isSuccess && reply.dword0 & 1 == 0)
        #expect(try world.completion(of: event, attached.admin).status.code == NVME_SC_ABORT_REQ.rawValue)
        world.expectPools(before)
    }

    @Test func anAbortWhoseQueueEndsMeanwhileLeavesNothingBehind() throws {
        let world = try TargetWorld(groups: 2)
        let before = try world.baseline()
        for _ in 0..<8 {
            let attached = try world.attach(ioQueues: 4)
            for queueID in 1...4 {
                attached.admin.send(
                    RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(queueID) | 0x7777 << 16))
            }
            world.simulation.run(forNanoseconds: world.network.draw(500...6_000))
            attached.host.destroyAll()
            world.pass(milliseconds: 300)
        }
        world.expectPools(before)
    }

    // MARK: Who may stay

    @Test func aHostThatIsNoLongerAllowedIsDisconnected() throws {
        let world = try TargetWorld(groups: 2)
        let friend = try world.attach(ioQueues: 2)
        let before = try world.baseline()
        let other = try world.attach(ioQueues: 2)
        try world.change { $0[TargetWorld.nqn]?.access = .hosts([friend.host.nqn]) }
        try world.wait("the end") { other.admin.end != nil && other.io.allSatisfy { $0.end != nil } }
        world.expectServed(friend)
        other.host.destroyAll()
        world.expectPools(before)
        try world.change { $0[TargetWorld.nqn] = nil }
        try world.wait("the end of all") { friend.admin.end != nil && friend.io.allSatisfy { $0.end != nil } }
    }

    @Test func queuesAreSpreadOverTheReactors() throws {
        let world = try TargetWorld(groups: 2)
        let hosts = try (0..<2).map { _ in try world.attach(ioQueues: 4) }
        let before = world.target.subsystems[0].statistics.otherCommands
        for attached in hosts {
            for queue in attached.io {
                for _ in 0..<10 { #expect(try world.execute(queue, flush).isSuccess) }
            }
            world.expectServed(attached)
        }
        let counts = world.groups.map { $0.poolUse[0].boundConnections }
        #expect(counts == [5, 5], "two admin queues and eight I/O queues")
        #expect(world.target.subsystems[0].statistics.otherCommands == before + 80)
    }
}
