import BlockInterface
import CLibNVMe
import FabricInterface
import NVMeTarget
import Simulation
import Testing

/// Hosts whose I/O commands end their connections.
@Suite struct CommandTests {
    /// A key that the host never gave, one that is stale, memory that is too short, and memory without the right.
    @Test(arguments: [nvme_cmd_write, nvme_cmd_read].map(\.rawValue))
    func aWrongKeyEndsThatConnectionOnly(opcode: UInt32) throws {
        let world = try TargetWorld(groups: 2)
        let audit = try world.audit()
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
            // Other commands of the queue are under way with it.
            for _ in 0..<8 { bad.io[0].send(command.at(host, offset, 4096)) }
            bad.io[0].send(command.with(sgl: RawSGL.keyed(address: address, length: 4096, key: key)))
            try world.wait("the end of the connection") { bad.io[0].end != nil }
            #expect(world.events.contains("remoteAccessError"), "the operator is told of the reason")
            host.destroyAll()
            audit.end("attempt \(attempt)")
        }
    }

    @Test func moreCommandsThanTheQueueHasEntriesEndTheConnection() throws {
        // A disk that takes its time: commands pile up.
        let (world, disk) = try TargetWorld.onDisk()
        disk.behaviour.latency = 10_000_000...10_000_000
        let audit = try world.audit()
        let bad = try world.attach(sqSize: 7)
        let sgl = bad.host.keyed(bad.scratch(4096), 4096)
        let read = RawCommand.io(nvme_cmd_read, 0, 8).with(sgl: sgl)
        for _ in 0..<8 { bad.io[0].send(read) }
        try world.wait("as many as the queue has entries") { bad.io[0].completions.count == 8 || bad.io[0].end != nil }
        #expect(bad.io[0].isOpen)
        for _ in 0..<9 { bad.io[0].send(read) }
        try world.wait("the end of the connection") { bad.io[0].end != nil }
        #expect(world.events.contains("more commands than the submission queue has entries"))
        bad.host.destroyAll()
        audit.end()
    }
}
