import BlockInterface
import CLibNVMe
import FabricInterface
import NVMeTarget
import Simulation
import Testing

/// I/O commands that are well formed and ask for what there is not.
@Suite struct CommandTests {
    private static let transfers = [nvme_cmd_write, nvme_cmd_read, nvme_cmd_compare].map(\.rawValue)
    private static let ranged = transfers + [nvme_cmd_write_zeroes, nvme_cmd_verify].map(\.rawValue)

    @Test func blocksBeyondTheEndAreRefused() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        // 4 MiB of 512 bytes: 8192 blocks.
        let sgl8 = attached.host.keyed(attached.scratch(65536), 4096)
        for opcode in Self.ranged {
            for lba in [8185, 8192, 1 << 32, UInt64.max, UInt64.max - 7, 1 << 55, 1 << 63] as [UInt64] {
                let reply = try world.execute(
                    attached.io[0], RawCommand(opcode: opcode, nsid: 1).range(lba, 8).with(sgl: sgl8))
                #expect(
                    reply.status == RawStatus(code: NVME_SC_LBA_RANGE.rawValue, doNotRetry: true), "\(opcode) \(lba)")
            }
            let last = RawCommand(opcode: opcode, nsid: 1).range(8184, 8).with(sgl: sgl8)
            #expect(try world.execute(attached.io[0], last).isSuccess, "\(opcode) of the last blocks")
        }
        world.expectPools(before)
    }

    @Test func transfersBeyondTheLimitAreRefused() throws {
        // MDTS says 64 KiB here: 128 blocks.
        var options = TargetWorld.smallOptions
        options.maxTransferSize = 64 << 10
        let world = try TargetWorld(options: options)
        let attached = try world.attach()
        let before = try world.baseline()
        let offset = attached.scratch(1 << 20)
        for opcode in Self.transfers {
            for blocks in [129, 256, 65536] {
                let sgl = attached.host.keyed(offset, min(blocks * 512, 0xFF_FFFF))
                let reply = try world.execute(
                    attached.io[0], RawCommand(opcode: opcode, nsid: 1).range(0, blocks).with(sgl: sgl))
                let code = reply.status.code
                #expect(
                    code == NVME_SC_INVALID_FIELD.rawValue || code == NVME_SC_LBA_RANGE.rawValue, "\(blocks) blocks")
            }
            let sgl = attached.host.keyed(offset, 65536)
            #expect(
                try world.execute(attached.io[0], RawCommand(opcode: opcode, nsid: 1).range(0, 128).with(sgl: sgl))
                    .isSuccess)
        }
        world.expectPools(before)
    }

    @Test func theSGLDescribesWhatTheCommandTransfers() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        let offset = attached.scratch(65536)
        for opcode in Self.transfers {
            for length in [0, 1, 511, 513, 1024, 0xFF_FFFF] {
                let reply = try world.execute(
                    attached.io[0],
                    RawCommand(opcode: opcode, nsid: 1).range(0, 1).with(sgl: attached.host.keyed(offset, length)))
                #expect(reply.status.code == NVME_SC_SGL_INVALID_DATA.rawValue, "\(opcode), \(length) bytes")
            }
        }
        world.expectPools(before)
    }

    @Test func namespacesAndOpcodesThatAreNotThereAreRefused() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let sgl = attached.host.keyed(attached.scratch(4096), 512)
        for nsid in [0, 2, 16, 17, 0x1_0000, 0xFFFF_FFFE, 0xFFFF_FFFF] as [UInt32] {
            for opcode in Self.ranged {
                let reply = try world.execute(
                    attached.io[0], RawCommand(opcode: opcode, nsid: nsid).range(0, 1).with(sgl: sgl))
                #expect(reply.status == RawStatus(code: NVME_SC_INVALID_NS.rawValue, doNotRetry: true), "\(nsid)")
            }
        }
        let known: Set<UInt32> = [
            0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0C, 0x0D, 0x0E, 0x11, 0x15, 0x7F,
        ]
        for opcode in (0...0xFF).map(UInt32.init) where !known.contains(opcode) {
            let reply = try world.execute(attached.io[0], RawCommand(opcode: opcode, nsid: 1))
            #expect(reply.status == RawStatus(code: NVME_SC_INVALID_OPCODE.rawValue, doNotRetry: true), "\(opcode)")
        }
        let admin: Set<UInt32> = [0x02, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x18, 0x7F, 0xC0]
        for opcode in (0...0xFF).map(UInt32.init) where !admin.contains(opcode) {
            let reply = try world.execute(attached.admin, RawCommand(opcode: opcode))
            #expect(reply.status.code == NVME_SC_INVALID_OPCODE.rawValue, "admin \(opcode)")
        }
        for type in (0...0xFF).map(UInt32.init) where ![0x00, 0x01, 0x04, 0x05, 0x06, 0x08].contains(type) {
            let reply = try world.execute(attached.admin, RawCommand(opcode: 0x7F, nsid: type))
            #expect(reply.status.code == NVME_SC_INVALID_OPCODE.rawValue, "fabrics \(type)")
        }
    }

    @Test func protectionInformationIsRefused() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let sgl = attached.host.keyed(attached.scratch(4096), 512)
        for control: UInt32 in [1 << 26, 1 << 29] {
            let command = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 1, control: control)
            let reply = try world.execute(attached.io[0], command.with(sgl: sgl))
            #expect(reply.status.code == RawStatus.specific(NVME_SC_INVALID_PI).code)
        }
    }

    @Test func datasetManagementChecksItsRanges() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        func range(_ lba: UInt64, _ blocks: UInt32) -> [UInt8] {
            RawSGL.little(0, 4) + RawSGL.little(UInt64(blocks), 4) + RawSGL.little(lba, 8)
        }
        func deallocate(_ ranges: [UInt8], count: Int, length: Int? = nil) throws -> UInt32 {
            let command = RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: 1).with(10, UInt32(count - 1)).with(11, 4)
                .with(sgl: RawSGL.offset(0, length: UInt32(length ?? ranges.count)))
            return try world.execute(attached.io[0], command, data: ranges).status.code
        }
        #expect(try deallocate(range(0, 8) + range(64, 8), count: 2) == 0)
        #expect(try deallocate(range(0, 0), count: 1) == 0)
        #expect(try deallocate(range(8192, 1), count: 1) == NVME_SC_LBA_RANGE.rawValue)
        #expect(try deallocate(range(UInt64.max, 2), count: 1) == NVME_SC_LBA_RANGE.rawValue)
        #expect(try deallocate(range(0, .max), count: 1) == NVME_SC_LBA_RANGE.rawValue)
        #expect(try deallocate(range(0, 8), count: 2) == NVME_SC_SGL_INVALID_DATA.rawValue, "fewer than it names")
        #expect(try deallocate(Array(repeating: range(0, 8), count: 256).flatMap { $0 }, count: 256) == 0)
        world.expectPools(before)
    }

    /// A key that the host never gave, one that is stale, memory that is too short, and memory without the right.
    @Test(arguments: [nvme_cmd_write, nvme_cmd_read].map(\.rawValue))
    func aWrongKeyEndsThatConnectionOnly(opcode: UInt32) throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach()
        let before = try world.baseline()
        for attempt in 0..<4 {
            let bad = try world.attach(ioQueues: 2)
            let host = bad.host
            let offset = bad.scratch(4096)
            var address = host.address(offset)
            var key = host.region.remoteKey
            switch attempt {
            case 0: key ^= 0x00AB_CD00
            case 1: key ^= 0xFF
            case 2: address = host.address(0) + UInt64(host.memory.count) - 256
            default:
                let region = try host.context!.register(
                    UnsafeMutableRawBufferPointer(rebasing: host.memory[offset..<offset + 4096]), access: .localWrite)
                key = region.remoteKey
            }
            let command = RawCommand(opcode: opcode, nsid: 1).range(0, 8)
                .with(sgl: RawSGL.keyed(address: address, length: 4096, key: key))
            // Other commands of the queue are under way with it.
            for _ in 0..<8 {
                bad.io[0].send(
                    RawCommand(opcode: opcode, nsid: 1).range(8, 8).with(sgl: host.keyed(offset, 4096)))
            }
            bad.io[0].send(command)
            try world.wait("the end of the connection") { bad.io[0].end != nil }
            #expect(
                world.events.contains("remoteAccessError"), "the operator is told of the reason: \(world.events.all)")
            world.expectServed(witness, "attempt \(attempt)")
            host.destroyAll()
            world.expectPools(before, "attempt \(attempt)")
        }
    }

    @Test func moreCommandsThanTheQueueHasEntriesEndTheConnection() throws {
        // A disk that takes its time: commands pile up.
        let world = try TargetWorld { network in
            let disk = SimulatedDisk("disk", network: network, blockCount: 8192)
            disk.behaviour.latency = 10_000_000...10_000_000
            return disk
        }
        let witness = try world.attach()
        let before = try world.baseline()
        let bad = try world.attach(sqSize: 7)
        let sgl = bad.host.keyed(bad.scratch(4096), 4096)
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 8).with(sgl: sgl)
        for _ in 0..<8 { bad.io[0].send(read) }
        try world.wait("as many as the queue has entries") { bad.io[0].completions.count == 8 || bad.io[0].end != nil }
        #expect(bad.io[0].isOpen)
        for _ in 0..<9 { bad.io[0].send(read) }
        try world.wait("the end of the connection") { bad.io[0].end != nil }
        #expect(world.events.contains("more commands than the submission queue has entries"))
        world.expectServed(witness)
        bad.host.destroyAll()
        world.expectPools(before)
    }
}
