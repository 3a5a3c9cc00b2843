import CLibNVMe
import FabricInterface
import NVMeTarget
import Testing

/// Capsules that no host should send.
@Suite struct CapsuleTests {
    private static let write = nvme_cmd_write.rawValue
    private static let read = nvme_cmd_read.rawValue

    /// A capsule of fewer than 64 bytes ends its connection, whatever an earlier capsule left in the buffer.
    @Test(arguments: [0, 1, 16, 63]) func aCapsuleWithoutACommandEndsItsConnection(length: Int) throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let before = try world.baseline()
        let bad = try world.attach()
        // Each buffer of the shared receive queue now holds a valid write of the whole of block 0.
        let poison = [UInt8](repeating: 0xEE, count: 512)
        let write = RawCommand(opcode: Self.write, nsid: 1).range(0, 1).with(sgl: RawSGL.offset(0, length: 512))
        for _ in 0..<200 { #expect(try world.execute(bad.io[0], write, data: poison).isSuccess) }
        try fill(world, witness, 0x11)
        bad.io[0].send(write, data: poison, length: length)
        try world.wait("the end of the connection") { bad.io[0].end != nil }
        #expect(bad.io[0].completions.isEmpty, "no command was executed")
        try expectBlock(world, witness, 0x11)
        world.expectServed(witness)
        bad.host.destroyAll()
        world.expectPools(before)
    }

    /// The data of a capsule that is shorter than its command says is not what an earlier capsule left in the buffer.
    @Test func aCapsuleWithoutItsDataIsRefused() throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let bad = try world.attach()
        let before = try world.baseline()
        let poison = [UInt8](repeating: 0xEE, count: 512)
        let write = RawCommand(opcode: Self.write, nsid: 1).range(0, 1).with(sgl: RawSGL.offset(0, length: 512))
        for _ in 0..<200 { #expect(try world.execute(bad.io[0], write, data: poison).isSuccess) }
        try fill(world, witness, 0x11)
        for length in [64, 65, 64 + 511] {
            let id = bad.io[0].send(write, data: poison, length: length)
            let reply = try world.completion(of: id, bad.io[0])
            #expect(reply.status.code == NVME_SC_SGL_INVALID_OFFSET.rawValue, "\(length) bytes")
            try expectBlock(world, witness, 0x11)
        }
        // The same for a list of descriptors that did not arrive.
        let list = RawCommand(opcode: Self.write, nsid: 1).range(0, 1)
            .with(sgl: RawSGL.offset(0, length: 32, type: 0x31))
        let offset = bad.scratch(1024)
        let descriptors = bad.host.keyed(offset, 256) + bad.host.keyed(offset, 256)
        for _ in 0..<200 { #expect(try world.execute(bad.io[0], list, data: descriptors).isSuccess) }
        try fill(world, witness, 0x11)
        for length in [64, 64 + 16, 64 + 31] {
            let id = bad.io[0].send(list, data: descriptors, length: length)
            let reply = try world.completion(of: id, bad.io[0])
            #expect(reply.status.code == NVME_SC_SGL_INVALID_LAST.rawValue, "\(length) bytes")
            try expectBlock(world, witness, 0x11)
        }
        world.expectServed(witness)
        world.expectPools(before)
    }

    @Test func inCapsuleOffsetsAndLengthsAreCheckedWithoutWrappingAround() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        let data = [UInt8](repeating: 1, count: 4096)
        for (offset, length) in [
            (1, 4096), (4096, 512), (UInt64.max, 512), (UInt64.max - 511, 512), (UInt64.max - 4095, 4096),
            (1 << 63, 512), (1 << 32, 512), (0x1_0000_0000 - 64, 512),
        ] as [(UInt64, UInt32)] {
            let command = RawCommand(opcode: Self.write, nsid: 1).range(0, Int(length / 512))
                .with(sgl: RawSGL.offset(offset, length: length))
            let reply = try world.execute(attached.io[0], command, data: data)
            #expect(reply.status.code == NVME_SC_SGL_INVALID_OFFSET.rawValue, "\(offset), \(length)")
            let list = RawCommand(opcode: Self.write, nsid: 1).range(0, 1)
                .with(sgl: RawSGL.offset(offset & ~15, length: 4096, type: 0x31))
            let status = try world.execute(attached.io[0], list, data: Array(data.prefix(512))).status.code
            #expect(
                status == NVME_SC_SGL_INVALID_LAST.rawValue || status == NVME_SC_SGL_INVALID_COUNT.rawValue,
                "a list at \(offset): \(status)")
        }
        // More data than the command is for, and less.
        for (length, blocks) in [(1024, 1), (512, 2), (1, 1), (UInt32.max, 1)] as [(UInt32, Int)] {
            let command = RawCommand(opcode: Self.write, nsid: 1).range(0, blocks)
                .with(sgl: RawSGL.offset(0, length: length))
            let code = try world.execute(attached.io[0], command, data: data).status.code
            #expect(
                code == NVME_SC_SGL_INVALID_DATA.rawValue || code == NVME_SC_SGL_INVALID_OFFSET.rawValue,
                "\(length) bytes for \(blocks) blocks")
        }
        world.expectServed(attached)
        world.expectPools(before)
    }

    @Test func listsOfDescriptorsAreCheckedOneByOne() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        let host = attached.host
        let offset = attached.scratch(65536)
        func reply(_ list: [UInt8], length: Int? = nil, at position: UInt64 = 0, blocks: Int = 1) throws -> UInt32 {
            let sgl = RawSGL.offset(position, length: UInt32(length ?? list.count), type: 0x31)
            let command = RawCommand(opcode: Self.write, nsid: 1).range(0, blocks).with(sgl: sgl)
            return try world.execute(attached.io[0], command, data: list).status.code
        }
        let half = host.keyed(offset, 256)
        #expect(try reply(half + half) == 0)
        #expect(try reply(Array(repeating: host.keyed(offset, 32), count: 16).flatMap { $0 }) == 0)
        // Status 0Eh for the number, 0Dh for the segment's form, 11h for a type that has no place there.
        #expect(
            try reply(Array(repeating: host.keyed(offset, 32), count: 17).flatMap { $0 })
                == NVME_SC_SGL_INVALID_COUNT.rawValue)
        #expect(try reply(half + half, length: 0) == NVME_SC_SGL_INVALID_LAST.rawValue)
        #expect(try reply(half + half, length: 24) == NVME_SC_SGL_INVALID_LAST.rawValue)
        #expect(try reply(half + half, length: 31) == NVME_SC_SGL_INVALID_LAST.rawValue)
        #expect(try reply(half + half + half, length: 32, at: 8) == NVME_SC_SGL_INVALID_LAST.rawValue)
        for type: UInt8 in [0x00, 0x01, 0x10, 0x20, 0x30, 0x31, 0x41, 0x50, 0xF0, 0xFF] {
            let bad = host.keyed(offset, 256, type: type)
            let code = try reply(half + bad)
            #expect(code == NVME_SC_SGL_INVALID_TYPE.rawValue, "type \(type)")
        }
        #expect(try reply(half) == NVME_SC_SGL_INVALID_DATA.rawValue, "too short for its blocks")
        #expect(try reply(half + half + half) == NVME_SC_SGL_INVALID_DATA.rawValue, "too long for its blocks")
        // Sixteen lengths of 24 bits make more than 32 bits can say only if they are added carelessly.
        let longest = Array(repeating: host.keyed(offset, 0xFF_FFFF), count: 16).flatMap { $0 }
        #expect(try reply(longest) == NVME_SC_SGL_INVALID_DATA.rawValue)
        world.expectServed(attached)
        world.expectPools(before)
    }

    @Test func descriptorsOfOtherTypesAreRefused() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        let offset = attached.scratch(4096)
        for type in [0x02, 0x0F, 0x10, 0x20, 0x21, 0x30, 0x32, 0x41, 0x4E, 0x50, 0x80, 0xFF] as [UInt8] {
            for opcode in [Self.write, Self.read] {
                let command = RawCommand(opcode: opcode, nsid: 1).range(0, 1)
                    .with(sgl: attached.host.keyed(offset, 512, type: type))
                let reply = try world.execute(attached.io[0], command)
                #expect(reply.status.code == NVME_SC_SGL_INVALID_TYPE.rawValue, "type \(type)")
            }
        }
        world.expectPools(before)
    }

    // MARK: Parts

    private func fill(_ world: TargetWorld, _ attached: AttachedHost, _ value: UInt8) throws {
        let offset = attached.scratch(512)
        for index in offset..<offset + 512 { attached.host.memory[index] = value }
        let command = RawCommand(opcode: Self.write, nsid: 1).range(0, 1)
            .with(sgl: attached.host.keyed(offset, 512))
        #expect(try world.execute(attached.io[0], command).isSuccess)
    }

    private func expectBlock(_ world: TargetWorld, _ attached: AttachedHost, _ value: UInt8) throws {
        let offset = attached.scratch(512)
        for index in offset..<offset + 512 { attached.host.memory[index] = 0 }
        let command = RawCommand(opcode: Self.read, nsid: 1).range(0, 1)
            .with(sgl: attached.host.keyed(offset, 512))
        #expect(try world.execute(attached.io[0], command).isSuccess)
        #expect(attached.host.memory[offset..<offset + 512].allSatisfy { $0 == value }, "block 0 is as it was")
    }
}
