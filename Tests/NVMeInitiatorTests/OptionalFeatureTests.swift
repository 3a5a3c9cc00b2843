import NVMeInitiator
import NVMeSpec
import Testing

/// Optional features of a controller are used only where it says that it has them.
@Suite struct OptionalFeatureTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    private func perform(_ queue: IOQueue, _ operation: IOOperation) throws -> IOCompletion {
        try world.wait { await queue.perform(operation) }
    }

    /// DLFEAT bit 3 says that Write Zeroes may have DEAC set (NVM Command Set, "Identify Namespace"); bits 2:0 say what is
    /// read of deallocated blocks, and nothing of DEAC.
    @Test(arguments: zip([0b0000, 0b0001, 0b1000, 0b1001] as [UInt8], [false, false, true, true]))
    func zeroesAreDeallocatedWhereTheNamespaceLetsThem(_ features: UInt8, _ isSet: Bool) throws {
        world.target.namespaces[1]?.deallocation = DeallocateFeatures(rawValue: features)
        let controller = world.controller()
        try world.connect(controller).get()
        let operation = IOOperation(.writeZeroes, blockCount: 8, flags: .mayDeallocate)
        #expect(try perform(controller.queues[0], operation).isSuccess)
        #expect(world.target.commands(.writeZeroes).map(\.mayDeallocate) == [isSet])
    }

    /// ONCS and FUSES without one bit: the operation that needs it is refused here, and nothing is sent.
    @Test(arguments: [IOKind.compare, .writeZeroes, .verify, .deallocate, .compareAndWrite])
    func whatAControllerDoesNotOfferIsNotAsked(_ kind: IOKind) throws {
        switch kind {
        case .compare: world.target.identify.nvmCommands.remove(.compare)
        case .writeZeroes: world.target.identify.nvmCommands.remove(.writeZeroes)
        case .verify: world.target.identify.nvmCommands.remove(.verify)
        case .deallocate: world.target.identify.nvmCommands.remove(.datasetManagement)
        default: world.target.identify.fusedOperations = 0
        }
        let controller = world.controller()
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 1024)
        func operation(_ kind: IOKind) -> IOOperation {
            IOOperation(
                kind, blockCount: 1, data: kind == .writeZeroes || kind == .verify ? nil : memory.part(0, 512),
                second: kind == .compareAndWrite ? memory.part(512, 512) : nil)
        }
        let before = world.target.capsules.count { $0.queue > 0 }
        let refused = try perform(controller.queues[0], operation(kind))
        #expect(refused.outcome == .surelyNotDone && refused.failure == .unsupported)
        #expect(controller.queues[0].submit(operation(kind)) == .unsupported)
        #expect(world.target.capsules.count { $0.queue > 0 } == before)
        // All others are done; without Compare there is no Compare and Write.
        for other in [IOKind.read, .write, .compare, .writeZeroes, .verify] where other != kind {
            #expect(try perform(controller.queues[0], operation(other)).isSuccess, "\(other)")
        }
        let fused = try perform(controller.queues[0], operation(.compareAndWrite))
        #expect((fused.failure == .unsupported) == (kind == .compare || kind == .compareAndWrite))
    }

    /// VSL and WZSL are in units of 2^n pages of CAP.MPSMIN (NVM Command Set, "I/O Command Set Specific Identify Controller
    /// data structure"); 0 is no limit. A controller of NVMe 2.0 may not know the structure.
    @Test(arguments: zip([1, 3, 0, nil] as [UInt8?], [16, 64, 200, 200]))
    func commandsWithoutDataKeepToTheirLimits(_ limit: UInt8?, _ blocks: Int) throws {
        world.target.identify.version = SpecificationVersion(major: 2, minor: 0)
        world.target.react = { capsule in
            // Identify (06h), CNS 06h: byte 0 is VSL, byte 1 WZSL.
            guard capsule.queue == 0, capsule.entry.opcode == 0x06, capsule.entry.cdw10 & 0xFF == 6 else { return nil }
            guard let limit else { return .answer(.invalidField.doNotRetry) }
            return .data([limit, limit] + [UInt8](repeating: 0, count: 4094))
        }
        let controller = world.controller()
        try world.connect(controller).get()
        #expect(try perform(controller.queues[0], IOOperation(.writeZeroes, blockCount: 200)).isSuccess)
        #expect(try perform(controller.queues[0], IOOperation(.verify, blockCount: 200)).isSuccess)
        for opcode in [NVMOpcode.writeZeroes, .verify] {
            let counts = world.target.commands(opcode).map { Int($0.blockCount) }
            #expect(counts.allSatisfy { $0 <= blocks } && counts.reduce(0, +) == 200, "\(opcode): \(counts)")
        }
    }

    /// A controller that answers all that it need not have with Invalid Field is connected to, read, written and flushed.
    @Test func aBareControllerIsUsed() throws {
        world.target.identify.nvmCommands = []
        world.target.identify.fusedOperations = 0
        world.target.identify.asyncEvents = []
        world.target.identify.version = SpecificationVersion(major: 2, minor: 0)
        world.target.react = { capsule in
            let isFabrics = capsule.entry.opcode == FabricsCommandType.opcode
            guard !isFabrics, capsule.queue == 0 else { return nil }
            switch capsule.entry.opcode {
            // Identify: only the namespace, the controller and the list of namespaces.
            case 0x06: return capsule.entry.cdw10 & 0xFF > 2 ? .answer(.invalidField.doNotRetry) : nil
            // Set Features: only Number of Queues.
            case 0x09: return capsule.entry.cdw10 & 0xFF == 7 ? nil : .answer(.invalidField.doNotRetry)
            default: return nil
            }
        }
        let controller = world.controller()
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        memory.fill(7)
        let expected = memory.bytes
        let queue = controller.queues[0]
        #expect(try perform(queue, IOOperation(.write, startingLBA: 9, blockCount: 1, data: memory.segment)).isSuccess)
        #expect(try perform(queue, IOOperation(.flush)).isSuccess)
        memory.fill(0)
        #expect(try perform(queue, IOOperation(.read, startingLBA: 9, blockCount: 1, data: memory.segment)).isSuccess)
        #expect(memory.bytes == expected)
    }
}
