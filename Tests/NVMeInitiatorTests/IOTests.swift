import CLibNVMe
import FabricInterface
import LoopbackFabric
import NVMeInitiator
import NVMeSpec
import Testing

/// What operations become on the wire, and what comes back.
@Suite struct IOTests {
    let world: World
    let controller: Controller

    init() throws {
        world = try World()
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
        #expect(world.network.connectionCount == 0)
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

    @Test func splitsAtTheOptimalBoundary() throws {
        world.target.namespaces[1]!.optimalIOBoundary = 64
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 200 * 512)
        let read = try perform(IOOperation(.read, startingLBA: 10, blockCount: 200, data: memory.segment))
        #expect(read.isSuccess)
        let commands = world.target.commands(.read)
        #expect(commands.map(\.startingLBA) == [10, 64, 128, 192])
        #expect(commands.map(\.blockCount) == [54, 64, 64, 18])
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

    @Test func setsTheBitsOfTheOtherCommands() throws {
        world.target.namespaces[1]?.deallocation = .writeZeroesDeallocates
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 1024)
        memory.fill(1)
        try succeed(IOOperation(.write, blockCount: 1, data: memory.part(0, 512), flags: .forceUnitAccess))
        #expect(world.target.commands(.write).last?.isForceUnitAccess == true)
        try succeed(IOOperation(.flush))
        #expect(world.target.commands(.flush).count == 1)
        try succeed(IOOperation(.compare, blockCount: 1, data: memory.part(0, 512)))
        let differs = try perform(IOOperation(.compare, blockCount: 1, data: memory.part(512, 512)))
        #expect(differs.outcome == .surelyDone && differs.status.matches(.compareFailure))
        // 100 000 blocks without data: two commands, NLB has 16 bits. The range is checked by the target alone.
        world.target.react = { $0.entry.opcode == NVMOpcode.writeZeroes.rawValue ? .answer(.success) : nil }
        try succeed(IOOperation(.writeZeroes, blockCount: 100_000, flags: .mayDeallocate))
        #expect(world.target.commands(.writeZeroes).map(\.blockCount) == [65536, 34464])
        #expect(world.target.commands(.writeZeroes).filter { !$0.mayDeallocate }.isEmpty)
        try succeed(IOOperation(.verify, blockCount: 4))
        #expect(world.target.commands(.verify).count == 1)
        DatasetManagementRange(startingLBA: 8, blockCount: 16).store(to: memory.segment.address)
        DatasetManagementRange(startingLBA: 64, blockCount: 8).store(to: memory.segment.address + 16)
        try succeed(IOOperation(.deallocate, blockCount: 2, data: memory.part(0, 32)))
        let command = try #require(world.target.commands(.datasetManagement).first)
        #expect(command.cdw10 == 1 && command.cdw11 == 4)
    }

    @Test func fusesCompareAndWrite() throws {
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 1024)
        let operation = IOOperation(
            .compareAndWrite, startingLBA: 3, blockCount: 1, data: memory.part(0, 512), second: memory.part(512, 512))
        try succeed(operation)
        let commands = world.target.capsules.filter { $0.queue > 0 }.map(\.entry).suffix(2)
        #expect(commands.map { UInt32($0.opcode) } == [nvme_cmd_compare.rawValue, nvme_cmd_write.rawValue])
        #expect(commands.map(\.fusedOperation) == [.first, .second])
        #expect(commands.map(\.startingLBA) == [3, 3])
        world.target.react = { capsule in
            guard capsule.queue > 0 else { return nil }
            return .answer(
                capsule.entry.opcode == NVMOpcode.write.rawValue ? .abortedFailedFused : .compareFailure)
        }
        let failed = try perform(operation)
        #expect(failed.status.matches(.compareFailure))
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

    @Test func refusesWhatDoesNotFit() throws {
        let queue = controller.queues[0]
        #expect(queue.submit(IOOperation(.flush)) == .notConnected)
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 1024)
        #expect(queue.submit(IOOperation(.read, blockCount: 3, data: memory.segment)) == .invalid)
        #expect(queue.submit(IOOperation(.read, blockCount: 0, data: memory.segment)) == .invalid)
        #expect(queue.submit(IOOperation(.read, blockCount: 2)) == .invalid)
        #expect(queue.submit(IOOperation(.flush, namespace: 1)) == .invalid)
        #expect(queue.submit(IOOperation(.flush, namespace: -1)) == .invalid)
        #expect(
            queue.submit(IOOperation(.read, startingLBA: .max, blockCount: 2, data: memory.segment)) == .invalid)
        #expect(queue.submit(IOOperation(.read, blockCount: .max, data: memory.segment)) == .invalid)
        let beyond = try perform(IOOperation(.read, startingLBA: 4096, blockCount: 2, data: memory.segment))
        #expect(beyond.outcome == .surelyDone && beyond.status.matches(.lbaOutOfRange))
    }

    @Test func holdsMoreOperationsThanTheSubmissionQueue() throws {
        let controller = world.controller(1) {
            $0.queueEntries = 4
            $0.operationsPerQueue = 64
        }
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        for tag in 0..<64 {
            #expect(
                controller.queues[0].submit(
                    IOOperation(.read, startingLBA: UInt64(tag), blockCount: 1, data: memory.segment, tag: UInt64(tag)))
                    == .accepted)
        }
        #expect(controller.queues[0].submit(IOOperation(.flush)) == .full)
        try world.run { recorder.completions.count == 64 }
        #expect(Set(recorder.completions.map(\.tag)) == Set(0..<64))
        #expect(recorder.completions.filter { !$0.isSuccess }.isEmpty)
        #expect(controller.queues[0].operationsInUse == 0)
    }
}
