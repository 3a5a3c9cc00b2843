import CLibNVMe
import NVMeTarget
import Testing

/// The first half of a fused operation, whose second half does not come.
@Suite struct LoneHalfTests {
    private static let data = [UInt8](repeating: 0, count: 512)

    private static func half(_ opcode: UInt32, _ flags: UInt8) -> RawCommand {
        RawCommand(opcode: opcode, nsid: 1, flags: flags).range(0, 1).with(sgl: RawSGL.offset(0, length: 512))
    }

    private static let compare = half(nvme_cmd_compare.rawValue, 0x41)

    /// As many first halves as there are receive buffers.
    @Test func doesNotKeepOthersOut() throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let queues = try (0..<16).flatMap { _ in try world.attach(ioQueues: 8).io }
        let before = try world.baseline()
        for queue in queues { queue.send(Self.compare, data: Self.data) }
        world.pass(milliseconds: 10)
        world.expectServed(witness, "while the halves wait")
        world.expectPools(before, "after the halves were answered", withinMilliseconds: 11_000)
        world.expectServed(witness)
    }

    @Test func goesWithAReset() throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let before = try world.baseline()
        let attached = try world.attach()
        attached.io[0].send(Self.compare, data: Self.data)
        world.pass(milliseconds: 1)
        #expect(try world.execute(attached.admin, .configure(0)).isSuccess)
        try world.wait("the I/O queue's end") { attached.io[0].end != nil }
        attached.host.destroyAll()
        world.expectPools(before)
        world.expectServed(witness)
    }
}
