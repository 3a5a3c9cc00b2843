import AllocationProbe
import Base
import BlockInterface
import Glibc
import MemoryBlock
import NBDProtocol
import NBDServer
import Synchronization
import Testing

/// Sessions on a device in memory, by bytes.
@Suite struct SessionTests {
    private static let size: UInt64 = 64 << 20

    private func world(block: UInt32 = 4096, options: ExportServerOptions = ExportServerOptions()) throws -> ServerWorld
    {
        try ServerWorld(
            RAMDevice(byteCount: Self.size, blockSize: block, isPopulated: false, name: "ram"), options: options)
    }

    private func pattern(_ count: Int, _ seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &+ seed) &* 31 &+ $0 >> 8) }
    }

    @Test func writesAreRead() throws {
        let world = try world()
        let client = try RawClient(world)
        client.begin()
        let data = pattern(8192, 1)
        client.send(client.request(1, cookie: 5, offset: 4096, length: 8192, flags: 1) + data)
        #expect(
            client.receive(16) == client.bytes(NBDMagic.simpleReply) + client.bytes(UInt32(0)) + client.bytes(UInt64(5))
        )
        #expect(client.contents(4096, 8192) == data)
    }

    /// Offsets and lengths that are no blocks: the bytes around stay as they were.
    @Test(arguments: [512 as UInt32, 4096])
    func partsOfBlocks(block: UInt32) throws {
        let world = try world(block: block)
        let client = try RawClient(world)
        client.begin()
        var model = pattern(1 << 16, 9)
        client.send(client.request(1, cookie: 1, offset: 0, length: UInt32(model.count)) + model)
        _ = client.receive(16)
        var random = SeededRandom(seed: 4)
        for round in 0..<300 {
            let offset = Int(random.next() % 60_000)
            let length = 1 + Int(random.next() % (round % 3 == 0 ? 5000 : 300))
            let isZero = round % 4 == 3
            let data = isZero ? [UInt8](repeating: 0, count: length) : pattern(length, round)
            let range = UInt64(offset)
            if isZero {
                client.send(client.request(6, cookie: 2, offset: range, length: UInt32(length), flags: 1))
            } else {
                client.send(client.request(1, cookie: 2, offset: range, length: UInt32(length)) + data)
            }
            #expect(Array(client.receive(16)[4..<8]) == [0, 0, 0, 0])
            model.replaceSubrange(offset..<offset + length, with: data)
            let start = max(0, offset - 7)
            #expect(client.contents(UInt64(start), length + 14) == Array(model[start..<start + length + 14]))
        }
        #expect(client.contents(0, model.count) == model)
    }

    /// Two connections change halves of one block at the same time: neither loses its change.
    @Test func halvesOfOneBlock() throws {
        let world = try world()
        let clients = try [RawClient(world), RawClient(world)]
        for client in clients { client.begin() }
        for round in 0..<50 as Range<UInt64> {
            for (number, client) in clients.enumerated() {
                let data = [UInt8](repeating: UInt8(round) + UInt8(number), count: 2048)
                client.send(client.request(1, cookie: round, offset: UInt64(number) * 2048, length: 2048) + data)
            }
            for client in clients { #expect(client.receive(16).count == 16) }
            let block = clients[0].contents(0, 4096)
            #expect(block.prefix(2048).allSatisfy { $0 == UInt8(round) })
            #expect(block.suffix(2048).allSatisfy { $0 == UInt8(round) + 1 })
        }
    }

    @Test func trimsAreRoundedInwards() throws {
        let world = try world()
        let client = try RawClient(world)
        client.begin()
        client.send(client.request(1, cookie: 1, offset: 0, length: 12288) + [UInt8](repeating: 7, count: 12288))
        _ = client.receive(16)
        for (offset, length) in [(512, 512), (1000, 8000)] as [(UInt64, UInt32)] {
            client.send(client.request(4, cookie: 2, offset: offset, length: length, flags: 1))
            #expect(Array(client.receive(16)[4..<8]) == [0, 0, 0, 0])
        }
        let contents = client.contents(0, 12288)
        #expect(contents.prefix(4096).allSatisfy { $0 == 7 } && contents.suffix(4096).allSatisfy { $0 == 7 })
    }

    /// Reads of 16 MiB with one header, among small ones: nothing comes between their bytes.
    @Test func longReads() throws {
        let world = try world(block: 512)
        let client = try RawClient(world)
        client.begin()
        let data = pattern(16 << 20, 3)
        client.send(client.request(1, cookie: 1, offset: 512, length: 16 << 20) + data)
        #expect(client.receive(16).count == 16)
        for cookie in 0..<4 as Range<UInt64> {
            client.send(client.request(0, cookie: 2 * cookie, offset: 512, length: 16 << 20))
            client.send(client.request(0, cookie: 2 * cookie + 1, offset: 512, length: 512))
        }
        let answers = client.receive(4 * (16 + (16 << 20)) + 4 * (16 + 512))
        var position = 0
        var seen: Set<UInt64> = []
        while position < answers.count {
            let cookie = answers[position + 8..<position + 16].reduce(0) { $0 << 8 | UInt64($1) }
            let length = cookie & 1 == 0 ? 16 << 20 : 512
            #expect(answers[position + 16..<position + 16 + length].elementsEqual(data.prefix(length)))
            seen.insert(cookie)
            position += 16 + length
        }
        #expect(seen == Set(0..<8))
    }

    @Test func errorsHaveTheProtocolsNumbers() throws {
        let world = try world()
        let client = try RawClient(world)
        client.begin()
        // The payload of a refused write is dropped.
        client.send(client.request(1, cookie: 1, offset: Self.size, length: 4096) + [UInt8](repeating: 1, count: 4096))
        #expect(client.receive(16)[7] == 28)
        client.send(client.request(0, cookie: 2, offset: Self.size, length: 4096))
        #expect(client.receive(16)[7] == 22)
        client.send(client.request(9, cookie: 3))
        #expect(client.receive(16)[7] == 22)
        client.send([UInt8](repeating: 0x55, count: 28))
        world.settle()
        #expect(client.isClosed)
    }

    @Test func whoSendsHalfAndWhoDoesNotReadLoseTheirConnection() throws {
        var options = ExportServerOptions()
        options.patienceMilliseconds = 2000
        let world = try world(options: options)
        let clients = try (0..<5).map { _ in try RawClient(world) }
        let (half, payload, deaf, idle, silent) = (clients[0], clients[1], clients[2], clients[3], clients[4])
        for client in clients.prefix(4) { client.begin() }
        half.send(Array(half.request(0, cookie: 1, length: 4096).prefix(10)))
        payload.send(payload.request(1, cookie: 1, length: 8192) + [1, 2, 3])
        for cookie in 0..<64 as Range<UInt64> { deaf.send(deaf.request(0, cookie: cookie, length: 1 << 20)) }
        world.settle()
        world.advance(milliseconds: 1500)
        #expect(idle.contents(0, 4096).count == 4096)
        for client in [half, payload] { #expect(!client.isClosed) }
        world.advance(milliseconds: 1000)
        _ = silent.received()
        for client in [half, payload, silent] { #expect(client.isClosed) }
        _ = deaf.received()
        #expect(deaf.isClosed)
        #expect(idle.contents(0, 4096).count == 4096)
    }

    /// A device in memory lends what is read; a client that does not take its answers keeps nobody from writing there, and reads
    /// what was there before, or all that was written.
    @Test func aDeafClientKeepsNobodyFromWriting() throws {
        let world = try world()
        let (deaf, writer) = (try RawClient(world), try RawClient(world))
        for client in [deaf, writer] { client.begin() }
        let old = pattern(8 << 20, 6)
        writer.send(writer.request(1, cookie: 1, offset: 0, length: 8 << 20) + old)
        #expect(writer.receive(16).count == 16)
        let length = 256 << 10
        for place in 0..<32 as Range<UInt64> {
            deaf.send(deaf.request(0, cookie: place, offset: place * UInt64(length), length: UInt32(length)))
        }
        world.settle()
        for place in 0..<32 as Range<UInt64> {
            writer.send(
                writer.request(1, cookie: place, offset: place * UInt64(length), length: UInt32(length))
                    + [UInt8](repeating: 9, count: length))
            for _ in 0..<4 { world.advance(milliseconds: 5) }
        }
        #expect(writer.received().count == 32 * 16)
        let answers = deaf.receive(32 * (16 + length))
        for place in 0..<32 {
            let start = place * (16 + length) + 16
            let answer = answers[start..<start + length]
            let isOld = answer.elementsEqual(old[place * length..<(place + 1) * length])
            // More than its share of memory the server does not read for it before it takes something.
            #expect(isOld || place > 16 && answer.allSatisfy { $0 == 9 }, "read \(place)")
        }
        #expect(deaf.contents(0, 4096) == [UInt8](repeating: 9, count: 4096))
    }

    @Test func anExportHasSixteenSessions() throws {
        let world = try world()
        var clients = try (0..<16).map { _ in try RawClient(world) }
        for client in clients { client.begin() }
        let late = try RawClient(world)
        late.send(late.bytes(UInt32(3)))
        world.settle()
        _ = late.received()
        late.go()
        world.settle()
        // NBD_REP_ERR_POLICY to NBD_OPT_GO, with a reason; the handshake goes on.
        let refusal = late.received()
        #expect(
            refusal.starts(
                with: late.bytes(NBDMagic.optionReply) + late.bytes(UInt32(7)) + late.bytes(UInt32(0x8000_0002))))
        #expect(String(decoding: refusal.dropFirst(20), as: UTF8.self) == "the export \"disk\" has 16 sessions already")
        #expect(!late.isClosed)
        for client in clients { #expect(client.contents(0, 512).count == 512) }
        clients.removeFirst()
        world.settle()
        late.go()
        world.settle()
        _ = late.received()
        #expect(late.contents(0, 512).count == 512)
    }

    /// The kernel of this machine has its place, and hears the end of its session when nothing of it is under way.
    @Test func aSessionBehindTheHandshake() throws {
        let world = try world()
        let clients = try (0..<16).map { _ in try RawClient(world) }
        for client in clients { client.begin() }
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        let export = try #require(world.exports.all.first)
        let isOver = Atomic<Bool>(false)
        let session = HandedSession(
            descriptor: ends[1], export: "disk", session: export.deviceSession, isDevice: true)
        #expect(!session.session.flags.contains(.sendDF) && session.session.flags.contains(.canMultiConn))
        world.server.resume(session, export) { isOver.store(true, ordering: .relaxed) }
        let kernel = RawClient(world, descriptor: ends[0])
        #expect(kernel.contents(0, 4096).count == 4096)
        let isEarly = isOver.load(ordering: .relaxed)
        #expect(!isEarly)
        kernel.send(kernel.request(2, cookie: 0))
        world.settle()
        let isTold = isOver.load(ordering: .relaxed)
        #expect(kernel.isClosed && isTold)
    }

    /// The end of an export's sessions is told to those who wait for it when they are over, and not of others'.
    @Test func theEndOfAnExportIsTold() throws {
        let world = try world()
        let export = try #require(world.exports.all.first)
        let client = try RawClient(world)
        client.begin()
        let told = Atomic<Int>(0)
        world.server.drain(export, reason: "it ends", whenOver: { told.add(1, ordering: .relaxed) })
        world.server.drain(
            Export(name: "other", device: export.device), reason: "it ends",
            whenOver: { told.add(10, ordering: .relaxed) })
        var count = told.load(ordering: .relaxed)
        #expect(count == 10)
        world.settle()
        count = told.load(ordering: .relaxed)
        #expect(count == 11)
        #expect(client.isClosed)
    }

    @Test func requestsAllocateNothing() throws {
        try #require(allocationProbeIsActive())
        let world = try world()
        let client = try RawClient(world)
        client.begin()
        let requests =
            (0..<16 as Range<UInt64>).flatMap { client.request(0, cookie: $0, offset: $0 * 4096, length: 4096) }
            + (0..<16 as Range<UInt64>).flatMap {
                client.request(1, cookie: $0, offset: $0 * 4096, length: 4096) + [UInt8](repeating: 3, count: 4096)
            }
        var answers = [UInt8](repeating: 0, count: 1 << 20)
        var allocations: UInt64 = 0
        for round in 0..<200 {
            let sent = requests.withUnsafeBytes { write(client.descriptor, $0.baseAddress, $0.count) }
            try #require(sent == requests.count)
            let before = allocationsOfThread()
            while world.server.poll(now: world.now) > 0 {}
            // The language's run-time allocates when code runs for the first time.
            if round > 10 { allocations += allocationsOfThread() - before }
            _ = read(client.descriptor, &answers, answers.count)
        }
        #expect(allocations == 0, "\(allocations) allocations for 6000 requests")
    }
}
