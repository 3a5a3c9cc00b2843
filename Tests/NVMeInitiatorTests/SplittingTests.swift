import InitiatorTransport
import NVMeInitiator
import NVMeSpec
import Testing

/// One operation, the limits that hold for it, and the commands that it must become.
struct Split: CustomTestStringConvertible, Sendable {
    var name: String
    /// MDTS, as a power of two of 4 KiB pages; 0 for no limit.
    var mdts: UInt8 = 0
    /// NOIOB, in blocks of 512 bytes.
    var boundary: UInt16 = 0
    /// MSDBD.
    var descriptors: UInt8 = 16
    var kind = IOKind.read
    var start: UInt64 = 0
    /// Blocks of each piece of memory; of all of them where the operation has no data.
    var pieces: [Int]
    var expected: [ClosedRange<UInt64>]
    var testDescription: String { name }
}

/// Which commands an operation becomes (NVMe Base, MDTS and MSDBD; NVM Command Set, NOIOB, NLB).
@Suite struct SplittingTests {
    static let table = [
        Split(name: "what fits", start: 7, pieces: [8], expected: [7...14]),
        Split(name: "no MDTS", mdts: 0, kind: .write, pieces: [2048], expected: [0...2047]),
        Split(name: "MDTS of 8 KiB", mdts: 1, start: 1, pieces: [40], expected: [1...16, 17...32, 33...40]),
        Split(name: "MDTS, exactly", mdts: 1, pieces: [32], expected: [0...15, 16...31]),
        Split(name: "NOIOB", boundary: 16, start: 10, pieces: [30], expected: [10...15, 16...31, 32...39]),
        Split(name: "NOIOB at its beginning", boundary: 16, start: 16, pieces: [16], expected: [16...31]),
        Split(
            name: "NOIOB within MDTS", mdts: 1, boundary: 24, start: 20, pieces: [30],
            expected: [20...23, 24...39, 40...47, 48...49]),
        Split(name: "one piece a command", descriptors: 1, pieces: [2, 3, 1], expected: [0...1, 2...4, 5...5]),
        Split(
            name: "two pieces a command", descriptors: 2, kind: .write, pieces: [2, 3, 1], expected: [0...4, 5...5]),
        Split(name: "pieces across MDTS", mdts: 1, pieces: [10, 10, 10], expected: [0...15, 16...29]),
        Split(name: "NLB of 16 bits", kind: .writeZeroes, pieces: [70_000], expected: [0...65_535, 65_536...69_999]),
        Split(name: "no data, no boundary", boundary: 16, kind: .verify, start: 10, pieces: [30], expected: [10...39]),
    ]

    @Test(arguments: table)
    func becomesTheseCommands(_ split: Split) throws {
        let world = try DirectWorld()
        world.target.identify.maxDataTransferSize = split.mdts
        world.target.identify.maxSGLDescriptors = split.descriptors
        world.target.namespaces[1] = IdentifyNamespace(blockCount: 1 << 20, blockSize: 512)
        world.target.namespaces[1]!.optimalIOBoundary = split.boundary
        world.target.react = { $0.queue > 0 && $0.entry.opcode != FabricsCommandType.opcode ? .answer(.success) : nil }
        let controller = world.controller { $0.maxTransferSize = 4 << 20 }
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 2 << 20)
        let segments = UnsafeMutableBufferPointer<IOSegment>.allocate(capacity: split.pieces.count)
        defer { segments.deallocate() }
        var offset = 0
        let hasData = split.kind == .read || split.kind == .write
        if hasData {
            for (index, blocks) in split.pieces.enumerated() {
                segments.initializeElement(at: index, to: memory.part(offset, blocks * 512))
                offset += blocks * 512
            }
        }
        let blocks = UInt64(split.pieces.reduce(0, +))
        let operation =
            hasData
            ? IOOperation(
                split.kind, startingLBA: split.start, blockCount: blocks, segments: UnsafeBufferPointer(segments))
            : IOOperation(split.kind, startingLBA: split.start, blockCount: blocks)
        let queue = controller.queues[0]
        let completion = try world.wait { await queue.perform(operation) }
        #expect(completion.isSuccess)
        let entries = world.target.capsules.filter {
            $0.queue > 0 && $0.entry.opcode != FabricsCommandType.opcode
        }.map(\.entry)
        #expect(entries.map { $0.startingLBA...$0.startingLBA + UInt64($0.blockCount) - 1 } == split.expected)
        try world.close(controller)
    }

    /// However many operations wait, no more commands are under way than the connection was granted.
    @Test(arguments: [1, 2, 7, 31], [DirectTransport.Release.beforeAnswers, .afterAnswers])
    func neverMoreUnderWayThanGranted(_ granted: Int, _ release: DirectTransport.Release) throws {
        let world = try DirectWorld()
        world.transport.grantedCommands = granted
        world.transport.release = release
        let controller = world.controller()
        try world.connect(controller).get()
        var underWay: [UInt16] = []
        var most = 0
        // Answered one by one, the last one that came first.
        world.target.react = { capsule in
            guard capsule.queue > 0 else { return nil }
            underWay.append(capsule.entry.commandID)
            most = max(most, underWay.count)
            return .ignore
        }
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        for tag in 0..<100 { #expect(controller.queues[0].submit(IOOperation(.flush, tag: UInt64(tag))) == .accepted) }
        while recorder.completions.count < 100 {
            for _ in 0..<4 { try world.step() }
            guard let command = underWay.popLast() else { continue }
            world.target.answer(queue: 1, command)
        }
        #expect(most == granted)
        #expect(Set(recorder.completions.map(\.tag)) == Set(0..<100))
        try world.close(controller)
    }
}
