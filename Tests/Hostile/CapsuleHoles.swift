import CLibNVMe
import InProcessTransport
import NVMeTarget
import TargetInterface
import Testing

@testable import NVMeTargetTests

/// Lengths and offsets that a host claims, against the bytes that came.
@Suite("Holes: capsules and data pointers")
struct CapsuleHoles {
    private let write = RawCommand.io(nvme_cmd_write)
    /// Sixteen blocks, each of another value: 1 to 16.
    private let blocks = (1...16).flatMap { [UInt8].blocks(of: $0) }

    @Test("Data beyond the first page of a large capsule is taken from there, as far as bytes have come")
    func beyondTheFirstPage() throws {
        let (world, host) = try TargetWorld(.small { $0.inCapsuleDataSize = 8192 }).attached()
        let tenth = write.with(sgl: RawSGL.offset(9 * 512, length: 512))
        #expect(try world.execute(tenth, behind: blocks, on: host.io[0]) == .success)
        #expect(try host.read() == .blocks(of: 10))
        for (offset, sent) in [(9, 9 * 512), (9, 9 * 512 + 511), (10, 8), (16, 16 * 512), (17, 16 * 512)] {
            let command = write.with(sgl: RawSGL.offset(UInt64(offset) * 512, length: 512))
            let id = world.send(command, behind: blocks, length: 64 + sent, on: host.io[0])
            #expect(
                host.status(of: id)?.code == NVME_SC_SGL_INVALID_OFFSET.rawValue, "block \(offset) of \(sent) bytes")
            #expect(try host.read() == .blocks(of: 10))
        }
    }

    @Test("An offset and a length that wrap around are beyond the capsule", arguments: [512, 513, 4096] as [UInt64])
    func wrapped(distance: UInt64) throws {
        let (world, host) = try TargetWorld().attached()
        let command = write.with(sgl: RawSGL.offset(0 &- distance, length: 512))
        let status = try world.execute(command, behind: Array(blocks.prefix(4096)), on: host.io[0])
        #expect(status.code == NVME_SC_SGL_INVALID_OFFSET.rawValue)
        #expect(try host.read() == .blocks(of: 0))
    }

    @Test("A capsule without its data is no command to write what an earlier one has left")
    func leftovers() throws {
        let (world, host) = try TargetWorld().attached()
        let other = try world.attach()
        for _ in 0..<200 {
            let status = try world.execute(
                .io(nvme_cmd_write, 8).with(sgl: RawSGL.offset(0, length: 512)), behind: .blocks(of: 0xEE),
                on: other.io[0])
            #expect(status == .success)
        }
        let id = world.send(
            write.with(sgl: RawSGL.offset(0, length: 512)), behind: .blocks(of: 0xAA), length: 64 + 100, on: host.io[0])
        #expect(host.status(of: id)?.code == NVME_SC_SGL_INVALID_OFFSET.rawValue)
        #expect(try host.read() == .blocks(of: 0))
    }

    @Test("A capsule without a whole command ends its own connection, and nothing of an earlier one is done again")
    func withoutACommand() throws {
        let (world, host) = try TargetWorld().attached()
        let audit = try world.audit()
        let command = write.with(sgl: RawSGL.offset(0, length: 512))
        for _ in 0..<200 {
            #expect(try world.execute(command, behind: .blocks(of: 0xEE), on: host.io[0]) == .success)
        }
        #expect(try audit.witness.write(0x11) == .success)
        world.send(command, behind: .blocks(of: 0xEE), length: 63, on: host.io[0])
        try world.wait("the end of the connection") { host.io[0].end != nil }
        #expect(try audit.witness.read() == .blocks(of: 0x11))
        audit.witness.expectServed()
    }

    @Test("A list of descriptors is as long as the capsule has bytes and the target has places, and holds nobody up")
    func descriptors() throws {
        let (world, host) = try TargetWorld().attached()
        let audit = try world.audit()
        let offset = host.host.allocate(512)
        let piece = host.host.keyed(offset, 32)
        func list(_ count: Int) -> [UInt8] { (0..<count).flatMap { _ in piece } }
        // Bytes that the descriptor of the list names, and bytes that come.
        for (named, count) in [(17 * 16, 17), (256 * 16, 256), (16 * 16, 15), (0xFFFF_FFF0, 16), (16 * 16 + 8, 17)] {
            let command = write.with(sgl: RawSGL.offset(0, length: UInt32(named), type: 0x31))
            let code = try world.execute(command, behind: list(count), on: host.io[0]).code
            #expect(
                [NVME_SC_SGL_INVALID_COUNT.rawValue, NVME_SC_SGL_INVALID_LAST.rawValue].contains(code),
                "\(named) bytes, \(count) descriptors")
            host.expectServed()
        }
        #expect(
            try world.execute(write.with(sgl: RawSGL.list(16 * 16)), behind: list(16), on: host.io[0]) == .success)
        audit.end()
    }

    @Test("More data than a command has use for is refused before memory is taken for it")
    func oversized() throws {
        let (world, host) = try EngineWorld().attached()
        let most = InProcessData.fromHost([UInt8](repeating: 0xEE, count: 0xFF_FFFF))
        let register = RawCommand(opcode: nvme_cmd_resv_register.rawValue, nsid: 1)
        for command in [write, .io(nvme_cmd_compare), .deallocate(ranges: 1), register] {
            // A command that has memory waits for its data as long as the transport is full.
            world.isFull = true
            let id = world.send(command, most, on: host.io[0])
            world.settle()
            #expect(world.use.bytesInUse == 0, "\(command.bytes[0])")
            world.isFull = false
            #expect(
                host.status(of: id)?.code == NVME_SC_SGL_INVALID_DATA.rawValue, "\(command.bytes[0])")
        }
        #expect(try host.read() == .blocks(of: 0))
    }
}
