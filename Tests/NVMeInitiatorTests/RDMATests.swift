import Base
import InitiatorTransport
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Simulation
import Testing

/// How commands and their data travel over RDMA (NVMe RDMA Transport, "Capsules", "SGL Support").
@Suite struct RDMATests {
    let world: FabricWorld
    let controller: Controller

    init() throws {
        world = try FabricWorld()
        controller = world.controller()
    }

    private func perform(_ operation: IOOperation) throws -> IOCompletion {
        let queue = controller.queues[0]
        return try world.wait { await queue.perform(operation) }
    }

    private func succeed(_ operation: IOOperation, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let completion = try perform(operation)
        #expect(completion.isSuccess, sourceLocation: sourceLocation)
    }

    @Test func connectsAndKnowsTheNamespace() throws {
        try world.connect(controller).get()
        #expect(controller.association?.controllerID == 7)
        #expect(controller.association?.number == 1)
        #expect(controller.namespaces.map(\.nsid) == [1])
        #expect(controller.namespaces[0].blockCount == 4096)
        try world.close(controller)
        #expect(world.host.existingQueuePairs == 0)
    }

    @Test func splitsByMDTSAndReadsBackWhatItWrote() throws {
        try world.connect(controller).get()
        // MDTS 5 is 128 KiB: a MiB and a block more are 9 commands.
        let bytes = (1 << 20) + 512
        let memory = try world.memory(controller, bytes: bytes)
        memory.fill(7)
        let expected = memory.bytes
        let blocks = UInt64(bytes / 512)
        let write = try perform(IOOperation(.write, startingLBA: 5, blockCount: blocks, data: memory.segment))
        #expect(write.isSuccess)
        let commands = world.target.commands(.write)
        #expect(commands.count == 9)
        #expect(commands.map(\.blockCount).reduce(0, +) == UInt32(blocks))
        #expect(commands.filter { $0.blockCount > 256 }.isEmpty)
        memory.fill(0)
        let read = try perform(IOOperation(.read, startingLBA: 5, blockCount: blocks, data: memory.segment))
        #expect(read.isSuccess)
        #expect(memory.bytes == expected)
    }

    @Test func sendsSmallWritesInTheCapsule() throws {
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 8192)
        memory.fill(3)
        try succeed(IOOperation(.write, blockCount: 8, data: memory.part(0, 4096)))
        try succeed(IOOperation(.write, startingLBA: 8, blockCount: 9, data: memory.part(0, 4608)))
        let commands = world.target.commands(.write)
        #expect(SGLDescriptor(commands[0].dataPointer) == .inCapsule(offset: 0, length: 4096))
        guard case .keyed(_, 4608, memory.segment.remoteKey, false) = SGLDescriptor(commands[1].dataPointer) else {
            Issue.record("a write beyond the capsule is fetched by its key")
            return
        }
        #expect(Array(world.target.store[1]![..<4096]) == Array(memory.bytes[..<4096]))
    }

    @Test func sendsNoDataInTheCapsuleWithoutTheOffsetBit() throws {
        world.target.identify.sglSupport = [.supported, .keyed]
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        try succeed(IOOperation(.write, blockCount: 1, data: memory.segment))
        guard case .keyed = SGLDescriptor(world.target.commands(.write)[0].dataPointer) else {
            Issue.record("SGLS bit 20 is clear: no offsets")
            return
        }
    }

    @Test(arguments: [UInt8(1), 4, 16])
    func gathersScatteredMemory(maxDescriptors: UInt8) throws {
        world.target.identify.maxSGLDescriptors = maxDescriptors
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 64 * 1024)
        memory.fill(9)
        // Pieces in a wild order, of 512 to 2048 bytes.
        let pieces = [(4096, 512), (0, 1024), (8192, 2048), (20480, 512), (1024, 1536), (32768, 2048), (512, 512)]
        let segments = UnsafeMutableBufferPointer<IOSegment>.allocate(capacity: pieces.count)
        defer { segments.deallocate() }
        for (index, piece) in pieces.enumerated() {
            segments.initializeElement(at: index, to: memory.part(piece.0, piece.1))
        }
        let bytes = pieces.map(\.1).reduce(0, +)
        let completion = try perform(
            IOOperation(
                .write, startingLBA: 100, blockCount: UInt64(bytes / 512), segments: UnsafeBufferPointer(segments)))
        #expect(completion.isSuccess)
        let all = memory.bytes
        let expected = pieces.flatMap { all[$0.0..<$0.0 + $0.1] }
        #expect(Array(world.target.store[1]![100 * 512..<100 * 512 + bytes]) == expected)
        #expect(world.target.commands(.write).count == (pieces.count + Int(maxDescriptors) - 1) / Int(maxDescriptors))
    }

    /// The SGL identifier of a command: byte 15 of its data pointer, byte 39 of the command (NVMe Base, "SGL Descriptor").
    private func descriptorType(_ entry: SubmissionEntry) -> UInt8 {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { bytes in
            entry.store(to: bytes.baseAddress!)
            return bytes[39]
        }
    }

    @Test func asksForTheInvalidationOfAKeyOnlyWhereTheCallerSaysSo() throws {
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        var segment = memory.segment
        try succeed(IOOperation(.read, blockCount: 1, data: segment))
        segment.invalidatesKey = true
        world.target.react = { $0.queue > 0 ? .invalidate(segment.remoteKey) : nil }
        try succeed(IOOperation(.read, blockCount: 1, data: segment))
        // 4h keyed data block, 0h address, Fh invalidate key.
        #expect(world.target.commands(.read).map(descriptorType) == [0x40, 0x4F])
        // A target that is asked to invalidate may leave it (the simulated fabric has ended the other key for good).
        let otherMemory = try world.memory(controller, bytes: 512)
        var other = otherMemory.segment
        other.invalidatesKey = true
        world.target.react = { _ in nil }
        try succeed(IOOperation(.read, blockCount: 1, data: other))
    }

    @Test func givesNoBufferBackWhileTheQueuePairReachesIt() throws {
        let controller = world.controller {
            $0.recovery = .fail
            $0.ioTimeoutMilliseconds = 500
        }
        try world.connect(controller).get()
        world.target.react = { $0.queue > 0 ? .ignore : nil }
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        // Admin queue and I/O queue have a queue pair each; when the operation ends, the I/O queue's is gone.
        let host = world.host
        let left = Box(-1)
        recorder.observe = { _ in left.value = host.existingQueuePairs }
        #expect(host.existingQueuePairs == 2)
        let memory = try world.memory(controller, bytes: 512)
        #expect(controller.queues[0].submit(IOOperation(.read, blockCount: 1, data: memory.segment)) == .accepted)
        let start = world.now
        try world.run { recorder.completions.count == 1 }
        #expect(left.value <= 1)
        #expect(recorder.completions[0].outcome == .unknown)
        #expect(recorder.completions[0].failure == .timeout)
        let took = world.now.nanoseconds(since: start) / 1_000_000
        #expect((500...1100).contains(took), "\(took) ms")
    }

    @Test func leavesNothingBehindAfterManyLives() throws {
        for round in 0..<50 {
            let controller = world.controller(2)
            try world.connect(controller).get()
            if round == 0 { #expect(controller.association?.queueCount == 2) }
            try world.close(controller)
            try world.run(seconds: 1) { world.target.queueCount == 0 }
        }
        #expect(world.host.existingQueuePairs == 0)
        // The control buffers, for each direction; no queue pair's.
        #expect(world.host.registeredRegions == 2)
    }
}
