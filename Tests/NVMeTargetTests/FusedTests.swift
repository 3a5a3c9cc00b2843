import BlockInterface
import CLibNVMe
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

/// Compare and Write as a fused operation: two commands, of which the second is done where the first was right.
@Suite struct FusedTests {
    private static let failed = RawStatus.generic(NVME_SC_FUSED_FAIL)
    private static let different = RawStatus(
        code: NVME_SCT_MEDIA.rawValue << 8 | NVME_SC_COMPARE_FAILED.rawValue, doNotRetry: true)

    private static func compare(_ lba: UInt64, _ blocks: Int = 1) -> RawCommand {
        .io(nvme_cmd_compare, lba, blocks, flags: 0x41)
    }

    private static func write(_ lba: UInt64, _ blocks: Int = 1) -> RawCommand {
        .io(nvme_cmd_write, lba, blocks, flags: 0x42)
    }

    private static func bytes(_ value: UInt8, _ blocks: Int = 1) -> [UInt8] {
        .init(repeating: value, count: 512 * blocks)
    }

    /// A world with a disk that can be held up, and a host.
    private static func scene(groups: Int = 1) throws -> (TargetWorld, SimulatedDisk, AttachedHost) {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        return (world, disk, try world.attach())
    }

    private static func read(_ world: TargetWorld, _ attached: AttachedHost, _ lba: UInt64, _ blocks: Int = 1) throws
        -> [UInt8]
    {
        let offset = attached.scratch(65536)
        attached.host.fill(offset, bytes(0xEE, blocks))
        let command = RawCommand.io(nvme_cmd_read, lba, blocks)
        let reply = try world.execute(attached.io[0], command.at(attached.host, offset, 512 * blocks))
        #expect(reply.isSuccess)
        return attached.host.bytes(offset, 512 * blocks)
    }

    /// Data by RDMA READ, from one place and from several, and of one half only.
    @Test func bothHalvesFetchTheirData() throws {
        let world = try TargetWorld()
        let attached = try world.attach()
        let before = try world.baseline()
        let (host, queue) = (attached.host, attached.io[0])
        let offset = host.allocate(65536)
        let blocks = 16
        let bytes = 512 * blocks
        var content = Self.bytes(0, blocks)
        for round in 0..<8 {
            let replacement = Self.bytes(UInt8(round + 1), blocks)
            host.fill(offset, content)
            host.fill(offset + bytes, replacement)
            let pieces = (0..<4).flatMap { host.keyed(offset + bytes + $0 * bytes / 4, bytes / 4) }
            let list = RawSGL.offset(0, length: 64, type: 0x31)
            let inCapsule = RawSGL.offset(0, length: 4096)
            let count = round % 4 == 2 ? 8 : blocks
            let compare = Self.compare(32, count), write = Self.write(32, count)
            let first: UInt16, second: UInt16
            switch round % 4 {
            case 0:
                first = queue.send(compare.at(host, offset, bytes))
                second = queue.send(write.at(host, offset + bytes, bytes))
            case 1:
                first = queue.send(compare.at(host, offset, bytes))
                second = queue.send(write.with(sgl: list), data: pieces)
            case 2:
                first = queue.send(compare.with(sgl: inCapsule), data: Array(content[..<4096]))
                second = queue.send(write.at(host, offset + bytes, 4096))
            default:
                first = queue.send(
                    compare.with(sgl: list), data: (0..<4).flatMap { host.keyed(offset + $0 * 2048, 2048) })
                second = queue.send(write.with(sgl: list), data: pieces)
            }
            #expect(try world.completion(of: first, queue).status == .success, "round \(round)")
            #expect(try world.completion(of: second, queue).status == .success, "round \(round)")
            content.replaceSubrange(0..<512 * count, with: replacement[..<(512 * count)])
            #expect(try Self.read(world, attached, 32, blocks) == content, "round \(round)")
        }
        world.expectPools(before)
    }

    @Test func manyAtOnceExcludeEachOther() throws {
        // Hosts on two reactors count up; each success is one.
        for isRAM in [false, true] {
            let world = try isRAM ? TargetWorld(groups: 2) : Self.scene(groups: 2).0
            let hosts = try (0..<4).map { _ in try world.attach() }
            let before = try world.baseline()
            var counter: UInt8 = 0
            for round in 0..<20 {
                let sgl = RawSGL.offset(0, length: 512)
                let sent = hosts.enumerated().map { number, attached in
                    let queue = attached.io[0]
                    let first = queue.send(Self.compare(9).with(sgl: sgl), data: Self.bytes(counter))
                    let value = UInt8(round * 8 + number + 1)
                    return (queue, first, queue.send(Self.write(9).with(sgl: sgl), data: Self.bytes(value)), value)
                }
                var winners: [UInt8] = []
                for (queue, first, second, value) in sent {
                    let compared = try world.completion(of: first, queue).status
                    let written = try world.completion(of: second, queue).status
                    #expect(
                        compared == .success && written == .success
                            || compared == Self.different && written == Self.failed)
                    if written == .success { winners.append(value) }
                }
                #expect(winners.count == 1, "round \(round)")
                counter = winners.first ?? 0
                #expect(try Self.read(world, hosts[0], 9) == Self.bytes(counter))
            }
            world.expectPools(before)
        }
    }
}
