import Base
import CLibNVMe
import Simulation
import Testing

/// A host whose commands are made of chance: nothing that it says may do more than end its own connections.
@Suite struct RandomHostTests {
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
