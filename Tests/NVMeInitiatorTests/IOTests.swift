import CLibNVMe
import InitiatorTransport
import NVMeInitiator
import NVMeSpec
import Testing
import Trace

/// Which commands operations become, and what comes back.
@Suite struct IOTests {
    let world: DirectWorld
    let controller: Controller

    init() throws {
        world = try DirectWorld()
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

    /// Values as NVMe Base 2.1 places them in the entries: opcode, namespace and command identifier; status and phase.
    @Test func theTraceTellsOfEachCommandAndItsAnswer() throws {
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        let before = world.ring.events.count
        try succeed(IOOperation(.read, startingLBA: 10, blockCount: 1, data: memory.segment))
        let recorded = world.ring.events.dropFirst(before).compactMap { event in
            TraceKind(rawValue: event.kind).map { kind in (kind, kind.fields.map { $0.value(a: event.a, b: event.b) }) }
        }
        let sent = try #require(recorded.first { $0.0 == .commandOut && $0.1[2] == 0x02 })
        let answered = try #require(recorded.first { $0.0 == .responseIn && $0.1[2] == sent.1[3] })
        #expect(sent.1[4] == 1)
        #expect(answered.1[3] == 0)
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
