import NVMeInitiator
import NVMeSpec
import Testing

@testable import NVMeInitiatorTests

/// A target's answers, as the initiator takes them.
@Suite("Holes: answers to the initiator")
struct InitiatorHoles {
    /// Has two reads answered; none may be taken for done, and the connection ends.
    private func distrusts(_ reaction: @escaping (Capsule) -> Reaction, _ world: World, _ words: String) throws {
        let controller = world.controller { $0.recovery = .fail }
        try world.connect(controller).get()
        world.target.react = { $0.queue > 0 && $0.entry.opcode == NVMOpcode.read.rawValue ? reaction($0) : nil }
        let memory = try world.memory(controller, bytes: 4096)
        memory.fill(7)
        let before = memory.bytes
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        for tag in 0..<2 {
            let read = IOOperation(.read, blockCount: 1, data: memory.part(0, 512), tag: UInt64(tag))
            #expect(controller.queues[0].submit(read) == .accepted)
        }
        try world.run { recorder.completions.count == 2 }
        #expect(recorder.completions.count == 2 && recorder.completions.allSatisfy { !$0.isSuccess })
        let isTold = try world.run(seconds: 10) { world.events.value.contains { "\($0)".contains(words) } }
        #expect(isTold, "\(world.events.value)")
        #expect(memory.bytes == before)
        try world.close(controller)
        world.target.tellsTheTruth()
        try world.connect(world.controller()).get()
    }

    @Test("A completion of a command beyond the table ends the connection", arguments: [0x3FF, 0xFFFF] as [UInt16])
    func beyondTheTable(identifier: UInt16) throws {
        try distrusts({ _ in .complete(identifier) }, DirectWorld(), "does not exist")
    }

    @Test("A completion of a command that is over, or was never sent, ends the connection")
    func notUnderWay() throws {
        try distrusts({ .complete($0.entry.commandID &+ 0x400) }, DirectWorld(), "not under way")
    }

    @Test("A message that is no completion by its length ends the connection", arguments: [0, 1, 8, 15])
    func lengths(count: Int) throws {
        let bytes = [UInt8](repeating: 0, count: count)
        try distrusts({ _ in .raw(bytes) }, FabricWorld(), "\(count) bytes where a completion has 16")
    }

    @Test("Names of a discovery log that fill their fields end with them")
    func names() throws {
        let world = try DirectWorld()
        world.target.identify.controllerType = .discovery
        let (nqn, address, service) = (
            [UInt8](repeating: 0x41, count: 256), [UInt8](repeating: 0x42, count: 256),
            [UInt8](repeating: 0x31, count: 32)
        )
        world.target.react = { capsule in
            guard capsule.queue == 0, capsule.entry.opcode == AdminOpcode.getLogPage.rawValue,
                case .getLogPage(let command) = AdminCommand(capsule.entry)
            else { return nil }
            guard command.offset >= 1024 else {
                return .data(DiscoveryLogHeader(generation: 1, recordCount: 2).encoded)
            }
            // All that is not one of the three has no zero either.
            var entry = [UInt8](repeating: 0x43, count: 1024)
            entry.replaceSubrange(32..<64, with: service)
            entry.replaceSubrange(256..<512, with: nqn)
            entry.replaceSubrange(512..<768, with: address)
            return .data(entry + entry)
        }
        let (options, group) = (world.options { $0.subsystemNQN = NQN.discovery }, world.group)
        let answers = try world.wait { await Discovery.search(options, group: group) }
        let entries = try #require(answers.first).result.get().entries
        #expect(entries.count == 2)
        for entry in entries {
            #expect(entry.subsystemNQN == String(decoding: nqn, as: UTF8.self))
            #expect(entry.address == String(decoding: address, as: UTF8.self))
            #expect(entry.serviceID == String(decoding: service, as: UTF8.self))
        }
        // Nor is such an address gone to.
        #expect(answers.count == 1)
    }
}
