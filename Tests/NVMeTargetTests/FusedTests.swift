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

    /// How the two halves ended.
    private struct Ends: Equatable {
        var compare: RawStatus
        var write: RawStatus

        init(_ compare: RawStatus, _ write: RawStatus) {
            self.compare = compare
            self.write = write
        }

        static let success = Ends(.success, .success)
    }

    private static func compare(_ lba: UInt64, _ blocks: Int = 1) -> RawCommand {
        RawCommand(opcode: nvme_cmd_compare.rawValue, nsid: 1, flags: 0x41).range(lba, blocks)
    }

    private static func write(_ lba: UInt64, _ blocks: Int = 1) -> RawCommand {
        RawCommand(opcode: nvme_cmd_write.rawValue, nsid: 1, flags: 0x42).range(lba, blocks)
    }

    private static func bytes(_ value: UInt8, _ blocks: Int = 1) -> [UInt8] {
        .init(repeating: value, count: 512 * blocks)
    }

    /// A world with a disk that can be held up, and a host.
    private static func scene(groups: Int = 1) throws -> (TargetWorld, SimulatedDisk, AttachedHost) {
        let (world, disk) = try TargetWorld.onDisk(groups: groups)
        return (world, disk, try world.attach())
    }

    private static func fill(_ host: RawHost, _ offset: Int, _ content: [UInt8]) {
        UnsafeMutableRawBufferPointer(rebasing: host.memory[offset..<offset + content.count]).copyBytes(from: content)
    }

    /// Both halves with their data in the capsule; returns how each ended.
    private static func swap(
        _ world: TargetWorld, _ queue: RawQueue, at lba: UInt64, _ expected: [UInt8], _ replacement: [UInt8]
    ) throws -> Ends {
        let sgl = RawSGL.offset(0, length: UInt32(expected.count))
        let blocks = expected.count / 512
        let first = queue.send(compare(lba, blocks).with(sgl: sgl), data: expected)
        let second = queue.send(write(lba, blocks).with(sgl: sgl), data: replacement)
        return try Ends(world.completion(of: first, queue).status, world.completion(of: second, queue).status)
    }

    private static func read(_ world: TargetWorld, _ attached: AttachedHost, _ lba: UInt64, _ blocks: Int = 1) throws
        -> [UInt8]
    {
        let offset = attached.scratch(65536)
        fill(attached.host, offset, bytes(0xEE, blocks))
        let command = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(lba, blocks)
        let reply = try world.execute(
            attached.io[0], command.with(sgl: attached.host.keyed(offset, 512 * blocks)))
        #expect(reply.isSuccess)
        return Array(attached.host.memory[offset..<offset + 512 * blocks])
    }

    private static func plain() throws -> (TargetWorld, AttachedHost) {
        let world = try TargetWorld()
        return (world, try world.attach())
    }

    /// Data by RDMA READ, from one place and from several, and of one half only.
    @Test func bothHalvesFetchTheirData() throws {
        let (world, attached) = try Self.plain()
        let before = try world.baseline()
        let (host, queue) = (attached.host, attached.io[0])
        let offset = host.allocate(65536)
        let blocks = 16
        let bytes = 512 * blocks
        var content = Self.bytes(0, blocks)
        for round in 0..<8 {
            let replacement = Self.bytes(UInt8(round + 1), blocks)
            Self.fill(host, offset, content)
            Self.fill(host, offset + bytes, replacement)
            let pieces = (0..<4).flatMap { host.keyed(offset + bytes + $0 * bytes / 4, bytes / 4) }
            let list = RawSGL.offset(0, length: 64, type: 0x31)
            let inCapsule = RawSGL.offset(0, length: 4096)
            let count = round % 4 == 2 ? 8 : blocks
            let compare = Self.compare(32, count), write = Self.write(32, count)
            let first: UInt16, second: UInt16
            switch round % 4 {
            case 0:
                first = queue.send(compare.with(sgl: host.keyed(offset, bytes)))
                second = queue.send(write.with(sgl: host.keyed(offset + bytes, bytes)))
            case 1:
                first = queue.send(compare.with(sgl: host.keyed(offset, bytes)))
                second = queue.send(write.with(sgl: list), data: pieces)
            case 2:
                first = queue.send(compare.with(sgl: inCapsule), data: Array(content[..<4096]))
                second = queue.send(write.with(sgl: host.keyed(offset + bytes, 4096)))
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

    // MARK: Scarcity and loss

    /// Halves that hold memory while they wait for more would wait for each other.
    @Test func allGetOnWhereMemoryIsScarce() throws {
        var options = TargetWorld.smallOptions
        options.dataMemory = 64 << 10
        options.controlMemory = 16 << 10
        options.maxTransferSize = 32 << 10
        let world = try TargetWorld(options: options, groups: 1)
        let hosts = try (0..<6).map { _ in try world.attach() }
        let before = try world.baseline()
        let blocks = 16
        var sent: [(RawQueue, UInt16)] = []
        for (number, attached) in hosts.enumerated() {
            let offset = attached.host.allocate(65536)
            for turn in 0..<10 {
                let lba = UInt64((number * 10 + turn) * blocks)
                let sgl = attached.host.keyed(offset, 512 * blocks)
                sent.append((attached.io[0], attached.io[0].send(Self.compare(lba, blocks).with(sgl: sgl))))
                sent.append((attached.io[0], attached.io[0].send(Self.write(lba, blocks).with(sgl: sgl))))
            }
        }
        for (queue, id) in sent { #expect(try world.completion(of: id, queue).status == .success) }
        world.expectPools(before)
    }

    enum Moment: String, CaseIterable, Sendable {
        case betweenTheHalves, fetching, waitingForMemory, atTheDevice
    }

    /// The host goes away while the target has one half, or both.
    @Test(arguments: Moment.allCases, VanishingTests.Ending.allCases)
    func everythingComesBack(_ moment: Moment, _ ending: VanishingTests.Ending) throws {
        let (world, disk, witness) = try Self.scene()
        let before = try world.baseline()
        let bad = try world.attach(world.addHost(), keepAlive: 1000)
        let queue = bad.io[0]
        let offset = bad.host.allocate(1 << 20)
        switch moment {
        case .betweenTheHalves:
            queue.send(Self.compare(0).with(sgl: RawSGL.offset(0, length: 512)), data: Self.bytes(0))
            world.pass(milliseconds: 1)
        case .fetching:
            world.network.delays.transit = 1_000_000...1_000_000
            queue.send(Self.compare(0).with(sgl: bad.host.keyed(offset, 512)))
            queue.send(Self.write(0).with(sgl: bad.host.keyed(offset, 512)))
            try world.wait("READs") { world.groups[0].poolUse[0].port.runningFetches == 2 }
        case .waitingForMemory:
            disk.behaviour.isStuck = true
            let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 2048)
            for _ in 0..<7 { queue.send(read.with(sgl: bad.host.keyed(offset, 1 << 20))) }
            for _ in 0..<4 {
                queue.send(Self.compare(0).with(sgl: bad.host.keyed(offset, 512)))
                queue.send(Self.write(0).with(sgl: bad.host.keyed(offset, 512)))
            }
            try world.wait("a wait for memory") { world.groups[0].poolUse[0].awaitsBuffer }
        case .atTheDevice:
            disk.behaviour.isStuck = true
            queue.send(Self.compare(0).with(sgl: bad.host.keyed(offset, 512)))
            queue.send(Self.write(0).with(sgl: bad.host.keyed(offset, 512)))
            try world.wait("both halves") { world.groups[0].poolUse[0].requests[.executing] ?? 0 == 2 }
            world.pass(milliseconds: 1)
        }
        switch ending {
        case .disconnect: for queue in bad.host.queues { bad.host.fabric.disconnect(queue.connection!) }
        case .destroy: bad.host.destroyAll()
        case .powerLoss: bad.host.device.isReachable = false
        }
        disk.behaviour.isStuck = false
        world.network.delays = SimulatedDelays()
        world.expectPools(before, "\(moment), \(ending)", withinMilliseconds: 5000)
        world.expectServed(witness, "\(moment), \(ending)")
    }
}
