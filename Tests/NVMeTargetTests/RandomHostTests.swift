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
        let opcodes: [UInt32] = [0, 1, 2, 5, 8, 9, 0x0C, 0x0D, 0x0E, 0x11, 0x15, 0x7F, 6, 0x0A, 0x18]
        var command = RawCommand(
            opcode: opcodes.randomElement(using: &random)!,
            nsid: [0, 1, 1, 1, 2, 0xFFFF_FFFF].randomElement(using: &random)!)
        command[dword: 10] = [0, 1, 2, 8190, .random(in: 0...(.max), using: &random)].randomElement(using: &random)!
        command[dword: 11] = [0, 0, 0, 4, .random(in: 0...(.max), using: &random)].randomElement(using: &random)!
        command[dword: 12] = [0, 7, 15, 127, .random(in: 0...(.max), using: &random)].randomElement(using: &random)!
        let length = [0, 512, 4096, 8192, 65536, Int.random(in: 0...0xFF_FFFF, using: &random)].randomElement(
            using: &random)!
        var data: [UInt8] = []
        switch Int.random(in: 0...3, using: &random) {
        case 0: command.sgl = host.keyed(offset, length, type: Bool.random(using: &random) ? 0x40 : 0x4F)
        case 1:
            data = (0..<512).map { _ in .random(in: 0...255, using: &random) }
            command.sgl = RawSGL.offset(0, length: UInt32([512, length].randomElement(using: &random)!))
        case 2:
            let count = Int.random(in: 0...20, using: &random)
            data = (0..<count).flatMap { _ in host.keyed(offset, [256, 512, length].randomElement(using: &random)!) }
            command.sgl = RawSGL.list(data.count)
        default: command.sgl = (0..<16).map { _ in .random(in: 0...255, using: &random) }
        }
        for _ in 0..<[0, 0, 1, 3, 16].randomElement(using: &random)! {
            command.bytes[.random(in: 0..<64, using: &random)] = .random(in: 0...255, using: &random)
        }
        let isCut = Int.random(in: 0...49, using: &random) == 0
        return (command, data, isCut ? Int.random(in: 0...64 + data.count, using: &random) : nil)
    }
}
