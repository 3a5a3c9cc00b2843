import Base
import CLibNVMe
import FabricInterface
import Simulation
import Testing

/// Capsules that no host should send, and keys that no target may use.
@Suite struct CapsuleTests {
    private let write = RawCommand.io(nvme_cmd_write)

    /// Fills every buffer of the shared receive queue with a capsule that is right, and block 0 with something else then.
    private func poison(_ audit: Audit<TargetWorld>, _ bad: RawQueue, _ sgl: [UInt8], _ data: [UInt8]) throws {
        for _ in 0..<200 { #expect(try audit.world.execute(write.with(sgl: sgl), behind: data, on: bad) == .success) }
        #expect(try audit.witness.write(0x11) == .success)
    }

    /// A capsule of fewer than 64 bytes ends its connection, whatever an earlier capsule left in the buffer.
    @Test(arguments: [0, 1, 16, 63]) func aCapsuleWithoutACommandEndsItsConnection(length: Int) throws {
        let (world, audit) = try TargetWorld().audited()
        let bad = try world.attach()
        let (sgl, data) = (RawSGL.offset(0, length: 512), [UInt8].blocks(of: 0xEE))
        try poison(audit, bad.io[0], sgl, data)
        let answers = bad.io[0].answers.count
        world.send(write.with(sgl: sgl), behind: data, length: length, on: bad.io[0])
        try world.wait("the end of the connection") { bad.io[0].end != nil }
        #expect(bad.io[0].answers.count == answers, "no command was executed")
        #expect(try audit.witness.read() == .blocks(of: 0x11))
        bad.host.destroyAll()
        audit.end()
    }

    /// Its data are not what an earlier capsule left in the buffer; and neither are its descriptors.
    @Test(arguments: [false, true]) func aCapsuleWithoutItsDataIsRefused(isList: Bool) throws {
        let (world, bad) = try TargetWorld().attached()
        let audit = try world.audit()
        let half = bad.host.keyed(bad.host.allocate(1024), 256)
        let data = isList ? half + half : [UInt8].blocks(of: 0xEE)
        let sgl = isList ? RawSGL.list(32) : RawSGL.offset(0, length: 512)
        try poison(audit, bad.io[0], sgl, data)
        for length in isList ? [64, 64 + 16, 64 + 31] : [64, 65, 64 + 511] {
            let id = world.send(write.with(sgl: sgl), behind: data, length: length, on: bad.io[0])
            let status = isList ? NVME_SC_SGL_INVALID_LAST : NVME_SC_SGL_INVALID_OFFSET
            #expect(bad.status(of: id)?.code == status.rawValue, "\(length) bytes")
            #expect(try audit.witness.read() == .blocks(of: 0x11))
        }
        audit.end()
    }

    /// A command, what comes behind it in the capsule, and the statuses that it may end with.
    private typealias Row = (name: String, command: RawCommand, data: [UInt8], statuses: [nvme_status_field])

    private func inCapsule(_ offset: UInt64, _ length: UInt32, blocks: Int, _ statuses: nvme_status_field...) -> Row {
        let command = RawCommand.io(nvme_cmd_write, 0, blocks).with(sgl: RawSGL.offset(offset, length: length))
        return ("\(length) bytes at \(offset), \(blocks) blocks", command, .blocks(8, of: 1), statuses)
    }

    private func list(
        _ name: String, _ descriptors: [UInt8], length: Int? = nil, at position: UInt64 = 0,
        _ statuses: nvme_status_field...
    ) -> Row {
        let sgl = RawSGL.offset(position, length: UInt32(length ?? descriptors.count), type: 0x31)
        return (name, write.with(sgl: sgl), descriptors, statuses)
    }

    /// Offsets and lengths are checked without wrapping around.
    private var offsets: [Row] {
        [
            (1, 4096), (4096, 512), (UInt64.max, 512), (UInt64.max - 511, 512), (UInt64.max - 4095, 4096),
            (1 << 63, 512), (1 << 32, 512), (0x1_0000_0000 - 64, 512),
        ].flatMap { (offset: UInt64, length: UInt32) in
            [
                inCapsule(offset, length, blocks: Int(length / 512), NVME_SC_SGL_INVALID_OFFSET),
                list(
                    "a list at \(offset)", .blocks(of: 1), length: 4096, at: offset & ~15,
                    NVME_SC_SGL_INVALID_LAST, NVME_SC_SGL_INVALID_COUNT),
            ]
        }
            // More data than the command is for, and less.
            + [(1024, 1), (512, 2), (1, 1), (UInt32.max, 1)].map {
                inCapsule(0, $0, blocks: $1, NVME_SC_SGL_INVALID_DATA, NVME_SC_SGL_INVALID_OFFSET)
            }
    }

    /// Status 0Eh for the number, 0Dh for the segment's form, 11h for a type that has no place there.
    private func lists(_ host: RawHost, _ offset: Int) -> [Row] {
        func pieces(_ count: Int, _ length: Int) -> [UInt8] { (0..<count).flatMap { _ in host.keyed(offset, length) } }
        return [
            list("two halves", pieces(2, 256), NVME_SC_SUCCESS), list("sixteen", pieces(16, 32), NVME_SC_SUCCESS),
            list("seventeen", pieces(17, 32), NVME_SC_SGL_INVALID_COUNT),
            list("none", pieces(2, 256), length: 0, NVME_SC_SGL_INVALID_LAST),
            list("one and a half", pieces(2, 256), length: 24, NVME_SC_SGL_INVALID_LAST),
            list("a byte less than two", pieces(2, 256), length: 31, NVME_SC_SGL_INVALID_LAST),
            list("from the middle of one", pieces(3, 256), length: 32, at: 8, NVME_SC_SGL_INVALID_LAST),
            list("too short for its blocks", pieces(1, 256), NVME_SC_SGL_INVALID_DATA),
            list("too long for its blocks", pieces(3, 256), NVME_SC_SGL_INVALID_DATA),
            // Sixteen lengths of 24 bits make more than 32 bits can say only if they are added carelessly.
            list("the longest", pieces(16, 0xFF_FFFF), NVME_SC_SGL_INVALID_DATA),
        ]
            + [0x00, 0x01, 0x10, 0x20, 0x30, 0x31, 0x41, 0x50, 0xF0, 0xFF].map { (type: UInt8) -> Row in
                let both = pieces(1, 256) + host.keyed(offset, 256, type: type)
                return list("a descriptor of type \(type)", both, NVME_SC_SGL_INVALID_TYPE)
            }
    }

    private func types(_ host: RawHost, _ offset: Int) -> [Row] {
        [0x02, 0x0F, 0x10, 0x20, 0x21, 0x30, 0x32, 0x41, 0x4E, 0x50, 0x80, 0xFF].flatMap { (type: UInt8) in
            [nvme_cmd_write, nvme_cmd_read].map {
                ("type \(type)", .io($0).at(host, offset, 512, type: type), [], [NVME_SC_SGL_INVALID_TYPE])
            }
        }
    }

    @Test func descriptorsAreChecked() throws {
        let (world, attached) = try TargetWorld().attached()
        let audit = try world.audit()
        let offset = attached.host.allocate(65536)
        for row in offsets + lists(attached.host, offset) + types(attached.host, offset) {
            let code = try world.execute(row.command, behind: row.data, on: attached.io[0]).code
            #expect(row.statuses.map(\.rawValue).contains(code), "\(row.name): \(code)")
        }
        audit.end()
    }

    /// A key that the host never gave, one that is stale, memory that is too short, and memory without the right.
    @Test(arguments: [nvme_cmd_write, nvme_cmd_read])
    func aWrongKeyEndsThatConnectionOnly(_ opcode: nvme_io_opcode) throws {
        let (world, audit) = try TargetWorld(groups: 2).audited()
        for attempt in 0..<4 {
            let bad = try world.attach(ioQueues: 2)
            let host = bad.host
            let (offset, key) = (host.allocate(4096), host.region.remoteKey)
            let (address, wrongKey) =
                switch attempt {
                case 0: (host.address(offset), key ^ 0x00AB_CD00)
                case 1: (host.address(offset), key ^ 0xFF)
                case 2: (host.address(host.memory.count - 256), key)
                default: (host.address(offset), try host.register(offset, 4096, access: .localWrite))
                }
            let command = RawCommand.io(opcode, 0, 8)
            // Other commands of the queue are under way with it.
            for _ in 0..<8 { bad.send(command.at(host, offset, 4096)) }
            bad.send(command.with(sgl: RawSGL.keyed(address: address, length: 4096, key: wrongKey)))
            try world.wait("the end of the connection") { bad.io[0].end != nil }
            #expect(world.events.contains("remoteAccessError"), "the operator is told of the reason")
            host.destroyAll()
            audit.end("attempt \(attempt)")
        }
    }

    /// Nothing that a host says may do more than end its own connections.
    @Test(arguments: 1...24) func chanceHarmsNobodyElse(seed: UInt64) throws {
        let (world, disk) = try TargetWorld.onDisk(groups: Int(seed % 2) + 1, seed: seed)
        disk.behaviour.latency = 1_000...200_000
        let audit = try world.audit()
        var random = SeededRandom(seed: seed)
        var host = world.addHost()
        var sent = 0
        var offset = host.allocate(65536)
        for _ in 0..<40 {
            guard let attached = try? world.attach(host, ioQueues: 2, keepAlive: 2000) else {
                // It asked for the invalidation of its only key, and has none now.
                host.destroyAll()
                host = world.addHost()
                offset = host.allocate(65536)
                continue
            }
            for _ in 0..<25 {
                guard let queue = attached.queues.filter(\.isOpen).randomElement(using: &random) else { break }
                let capsule = capsule(host, offset, &random)
                world.send(capsule.command, behind: capsule.data, length: capsule.length, on: queue)
                sent += 1
                world.simulation.run(forNanoseconds: UInt64.random(in: 0...50_000, using: &random))
            }
            if Bool.random(using: &random) { world.pass(milliseconds: 5) }
            host.destroyAll()
        }
        #expect(sent > 100, "seed \(seed)")
        audit.end("seed \(seed)", within: 60_000)
    }

    /// Mostly something that looks like a command, with some of it changed.
    private func capsule(
        _ host: RawHost, _ offset: Int, _ random: inout SeededRandom
    ) -> (command: RawCommand, data: [UInt8], length: Int?) {
        func one<Value>(of values: Value...) -> Value { values.randomElement(using: &random)! }
        func number<Value: FixedWidthInteger>(_ range: ClosedRange<Value>) -> Value {
            .random(in: range, using: &random)
        }
        func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in number(0...255) } }
        let opcode: UInt32 = one(of: 0, 1, 2, 5, 8, 9, 0x0C, 0x0D, 0x0E, 0x11, 0x15, 0x7F, 6, 0x0A, 0x18)
        var command = RawCommand(opcode: opcode, nsid: one(of: 0, 1, 1, 1, 2, 0xFFFF_FFFF))
            .with(10, one(of: 0, 1, 2, 8190, number(0...(.max)))).with(11, one(of: 0, 0, 0, 4, number(0...(.max))))
            .with(12, one(of: 0, 7, 15, 127, number(0...(.max))))
        let length = one(of: 0, 512, 4096, 8192, 65536, number(0...0xFF_FFFF))
        var data: [UInt8] = []
        switch number(0...3) {
        case 0: command = command.at(host, offset, length, type: one(of: 0x40, 0x4F))
        case 1:
            data = bytes(512)
            command = command.with(sgl: RawSGL.offset(0, length: UInt32(one(of: 512, length))))
        case 2:
            data = (0..<number(0...20)).flatMap { _ in host.keyed(offset, one(of: 256, 512, length)) }
            command = command.with(sgl: RawSGL.list(data.count))
        default: command = command.with(sgl: bytes(16))
        }
        for _ in 0..<one(of: 0, 0, 1, 3, 16) { command.bytes[number(0...63)] = number(0...255) }
        return (command, data, number(0...49) == 0 ? number(0...64 + data.count) : nil)
    }
}
