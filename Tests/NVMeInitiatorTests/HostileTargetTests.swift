import Base
import NVMeInitiator
import NVMeSpec
import Simulation
import Testing

/// A target that lies: each lie ends in a typed error, in bounded time, and leaves nothing behind.
@Suite struct HostileTargetTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    /// A lie that the controller's bring-up finds, and the words of the error.
    struct Lie: CustomTestStringConvertible, Sendable {
        var name: String
        var error: String
        var tell: @Sendable (ScriptedTarget) -> Void
        var testDescription: String { name }

        init(_ name: String, _ error: String, _ tell: @escaping @Sendable (ScriptedTarget) -> Void) {
            self.name = name
            self.error = error
            self.tell = tell
        }
    }

    /// Lies about NVMe.
    static let lies: [Lie] = [
        Lie("connections never answered", "no answer in time") { $0.answersConnections = false },
        Lie("Connect never answered", "no answer in time: Connect") {
            $0.react = { $0.entry.opcode == 0x7F && $0.entry.fabricsCommandType == 1 ? .ignore : nil }
        },
        Lie("Connect refused", "Connect Invalid Parameters") {
            $0.react = { $0.entry.fabricsCommandType == 1 ? .answer(.connectInvalidParameters.doNotRetry) : nil }
        },
        Lie("authentication demanded", "not authenticated") {
            $0.react = { $0.entry.fabricsCommandType == 1 ? .answer(.success, result: 7 | 1 << 17) : nil }
        },
        Lie("nothing answered after Connect", "no answer in time") {
            $0.react = { $0.entry.fabricsCommandType == 1 && $0.entry.opcode == 0x7F ? nil : .ignore }
        },
        Lie("never ready", "become ready") { $0.status = ControllerStatus(rawValue: 0) },
        Lie("fatal state", "CSTS.CFS") { $0.status = ControllerStatus(rawValue: 3) },
        Lie("pages of 64 KiB", "smallest page") { $0.capabilities.memoryPageSizeMin = 4 },
        Lie("no NVM command set", "no NVM command set") { $0.capabilities.commandSets = .noIOCommandSet },
        Lie("queues of one entry", "MQES") { $0.capabilities.maxQueueEntries = 0 },
        Lie("another controller in Identify", "Identify says 8") {
            $0.react = { capsule in
                guard capsule.queue == 0, capsule.entry.opcode == 6, capsule.entry.cdw10 == 1 else { return nil }
                var identify = ScriptedTarget.honestController()
                identify.controllerID = 8
                return .data(identify.encoded)
            }
        },
        Lie("no keep alive", "KAS 0") { $0.identify.keepAliveGranularity = 0 },
        Lie("a capsule smaller than a command", "IOCCSZ 3") { $0.identify.ioCommandCapsuleSize = 3 },
        Lie("an answer smaller than a completion", "IORCSZ 0") { $0.identify.ioResponseCapsuleSize = 0 },
        Lie("in-capsule data at an offset", "ICDOFF 1") { $0.identify.inCapsuleDataOffset = 1 },
        Lie("an administrative controller", "CNTRLTYPE 3") { $0.identify.controllerType = .administrative },
        Lie("a namespace list that descends", "Namespace List") {
            $0.react = { capsule in
                guard capsule.queue == 0, capsule.entry.opcode == 6, capsule.entry.cdw10 == 2 else { return nil }
                return .data([9, 0, 0, 0, 3, 0, 0, 0] + [UInt8](repeating: 0, count: 4088))
            }
        },
        Lie("a completion for a command that does not exist", "does not exist") {
            $0.react = { $0.entry.opcode == 6 ? .complete(0x3FF) : nil }
        },
        Lie("a completion for a command that is not under way", "not under way") {
            $0.react = { $0.entry.opcode == 6 ? .complete($0.entry.commandID ^ 1) : nil }
        },
        Lie("a completion of an earlier use of the identifier", "not under way") {
            $0.react = { $0.entry.opcode == 6 ? .complete($0.entry.commandID &+ 0x400) : nil }
        },
        Lie("each answer twice", "not under way") { $0.react = { $0.entry.opcode == 9 ? .answerTwice : nil } },
        Lie("the connection ended within Identify", "connection was lost") {
            $0.react = { $0.entry.opcode == 6 ? .disconnect : nil }
        },
        Lie("an I/O queue of another controller", "became one of 99") {
            $0.react = { $0.queue > 0 && $0.entry.opcode == 0x7F ? .answer(.success, result: 99) : nil }
        },
        Lie("an I/O queue's Connect never answered", "no answer in time: Connect") {
            $0.react = { $0.queue > 0 && $0.entry.opcode == 0x7F ? .ignore : nil }
        },
    ]

    /// Lies about RDMA, and about what travels over it.
    static let transportLies: [Lie] = [
        // The connection manager fills private data up with zeroes: a short one has no receive queue entries.
        Lie("no private data", "CRQSIZE") { $0.privateData = { _ in [] } },
        Lie("private data of 31 bytes", "CRQSIZE") {
            $0.privateData = { _ in [UInt8](repeating: 0, count: 31) }
        },
        Lie("private data of another format", "record format") {
            $0.privateData = { _ in [1, 0] + [UInt8](repeating: 0, count: 30) }
        },
        Lie("a receive queue of no entries", "CRQSIZE") {
            $0.privateData = { _ in RDMAConnectReply(controllerReceiveQueueSize: 0).privateData }
        },
        Lie("a rejection with a reason", "no resources") { $0.refusal = RDMARejectStatus.noResources.privateData },
        Lie("a rejection without one", "nobody accepts NVMe connections") { $0.refusal = [] },
        Lie("a rejection of other bytes", "nobody accepts NVMe connections") { $0.refusal = [9, 9, 9, 9, 9] },
        Lie("no SGLs", "keyed SGLs") { $0.identify.sglSupport = [] },
        Lie("SGLs without keys", "keyed SGLs") { $0.identify.sglSupport = [.supported, .offset] },
        Lie("a completion of 8 bytes", "8 bytes where a completion has 16") {
            $0.react = { $0.entry.opcode == 6 ? .raw([UInt8](repeating: 0, count: 8)) : nil }
        },
        Lie("a message that is too long", "connection") {
            $0.react = { $0.entry.opcode == 6 ? .raw([UInt8](repeating: 0, count: 17)) : nil }
        },
        // The device itself refuses it, as Soft-RoCE does, and the queue pair ends.
        Lie("a key invalidated that was not offered", "the connection was lost") {
            $0.react = { $0.entry.opcode == 6 ? .invalidate(0xDEAD) : nil }
        },
    ]

    @Test(arguments: lies, [DirectTransport.Release.beforeAnswers, .afterAnswers])
    func endsInATypedError(_ lie: Lie, _ release: DirectTransport.Release) throws {
        world.transport.release = release
        try endsInATypedError(lie, world)
        #expect(world.transport.connectionCount == 0)
        world.target.tellsTheTruth()
        try world.connect(world.controller()).get()
    }

    @Test(arguments: transportLies)
    func endsInATypedErrorOverRDMA(_ lie: Lie) throws {
        let world = try FabricWorld()
        try endsInATypedError(lie, world)
        #expect(world.host.existingQueuePairs == 0)
        // Afterwards an honest target at the same place is connected to, by the same group.
        try world.replaceTarget()
        try world.connect(world.controller()).get()
    }

    private func endsInATypedError(_ lie: Lie, _ world: World) throws {
        lie.tell(world.target)
        let controller = world.controller()
        switch try world.connect(controller) {
        case .success: Issue.record("the lie was believed")
        case .failure(let error): #expect(error.description.contains(lie.error), "\(error)")
        }
        try world.close(controller)
        // The target's own side goes when it hears of the end.
        try world.run(seconds: 1) { world.target.queueCount == 0 }
        #expect(world.target.queueCount == 0)
    }

    @Test func believesNoNamespaceOfAllBlocks() throws {
        world.target.namespaces[1]!.size = .max
        let controller = world.controller()
        try world.connect(controller).get()
        #expect(controller.namespaces[0].problem?.contains("blocks of 2^9 bytes") == true)
        #expect(controller.queues[0].submit(IOOperation(.flush)) == .invalid)
    }

    @Test func takesNoLimitForNoLimitOnly() throws {
        // MDTS 0 says that there is no limit; ours stays.
        world.target.identify.maxDataTransferSize = 0
        let controller = world.controller { $0.maxTransferSize = 65536 }
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 256 * 1024)
        let queue = controller.queues[0]
        let read = try world.wait { await queue.perform(IOOperation(.read, blockCount: 512, data: memory.segment)) }
        #expect(read.isSuccess)
        #expect(world.target.commands(.read).map(\.blockCount) == [128, 128, 128, 128])
    }

    /// Lies about I/O: the connection ends, and no one learns that the operation was done.
    @Test(arguments: [Reaction.complete(0x3FF), .answerTwice, .disconnect])
    func endsTheConnection(_ reaction: Reaction) throws { try endsTheConnection(reaction, world) }

    @Test(arguments: [Reaction.answerTwice, .raw([1, 2, 3]), .invalidate(0xBEEF), .disconnect])
    func endsTheConnectionOverRDMA(_ reaction: Reaction) throws { try endsTheConnection(reaction, FabricWorld()) }

    private func endsTheConnection(_ reaction: Reaction, _ world: World) throws {
        let controller = world.controller { $0.recovery = .fail }
        try world.connect(controller).get()
        world.target.react = { $0.queue > 0 && $0.entry.opcode == NVMOpcode.read.rawValue ? reaction : nil }
        let memory = try world.memory(controller, bytes: 512)
        let queue = controller.queues[0]
        let recorder = Recorder()
        queue.sink = recorder
        // Two, so that an answer given twice finds another command under way.
        for tag in 0..<2 {
            #expect(
                queue.submit(IOOperation(.read, blockCount: 1, data: memory.segment, tag: UInt64(tag))) == .accepted)
        }
        try world.run { recorder.completions.count == 2 }
        #expect(recorder.completions.count == 2)
        try world.run(seconds: 10) {
            world.events.value.contains { if case .disconnected = $0 { true } else { false } }
        }
        #expect(world.events.value.contains { if case .disconnected = $0 { true } else { false } })
        #expect(recorder.completions.filter { $0.outcome == .surelyNotDone }.isEmpty)
    }

    @Test func readsNoDiscoveryLogOfAThousandMillionRecords() throws {
        world.target.identify.controllerType = .discovery
        world.target.react = { capsule in
            guard capsule.queue == 0, capsule.entry.opcode == AdminOpcode.getLogPage.rawValue else { return nil }
            return .data(DiscoveryLogHeader(generation: 1, recordCount: 1 << 60).encoded)
        }
        let options = world.options { $0.subsystemNQN = NQN.discovery }
        let group = world.group
        let answers = try world.wait { await Discovery.search(options, group: group) }
        guard case .failure(let error) = answers[0].result else {
            Issue.record("the log was believed")
            return
        }
        #expect(error.description.contains("discovery log of"), "\(error)")
    }

    /// The specification sets no limit to the records of a discovery log but that of NUMREC's 64 bits.
    @Test(arguments: [0, 1, 4096, 4097, 20_000])
    func readsAllRecordsOfADiscoveryLog(_ count: Int) throws {
        world.target.identify.controllerType = .discovery
        let header = DiscoveryLogHeader(generation: 3, recordCount: UInt64(count)).encoded
        world.target.react = { capsule in
            guard capsule.queue == 0, capsule.entry.opcode == AdminOpcode.getLogPage.rawValue,
                case .getLogPage(let command) = AdminCommand(capsule.entry)
            else { return nil }
            guard command.offset >= 1024 else { return .data(Array(header.prefix(Int(command.byteCount)))) }
            let first = Int(command.offset) / 1024 - 1
            return .data(
                (first..<first + Int(command.byteCount) / 1024).flatMap { number in
                    var entry = DiscoveryLogEntry()
                    entry.subsystemNQN = "nqn.2026-11.io.example:\(number)"
                    return entry.encoded
                })
        }
        let options = world.options { $0.subsystemNQN = NQN.discovery }
        let group = world.group
        let answers = try world.wait { await Discovery.search(options, group: group) }
        let entries = try answers[0].result.get().entries
        #expect(entries.map(\.subsystemNQN) == (0..<count).map { "nqn.2026-11.io.example:\($0)" })
    }

    @Test func givesUpOnADiscoveryLogThatNeverStands() throws {
        world.target.identify.controllerType = .discovery
        let generation = Box<UInt64>(0)
        world.target.react = { capsule in
            guard capsule.queue == 0, capsule.entry.opcode == AdminOpcode.getLogPage.rawValue else { return nil }
            generation.value += 1
            return .data(DiscoveryLogHeader(generation: generation.value, recordCount: 0).encoded)
        }
        let options = world.options { $0.subsystemNQN = NQN.discovery }
        let group = world.group
        let answers = try world.wait { await Discovery.search(options, group: group) }
        guard case .failure(let error) = answers[0].result else {
            Issue.record("a log that changes all the time was believed")
            return
        }
        #expect(error.description.contains("changed with each"), "\(error)")
    }

    @Test func asksEachDiscoveryControllerOnce() throws {
        world.target.identify.controllerType = .discovery
        var entry = DiscoveryLogEntry()
        entry.subsystemType = .referral
        entry.serviceID = "4420"
        entry.address = "127.0.0.1"
        entry.subsystemNQN = NQN.discovery
        var elsewhere = entry
        elsewhere.serviceID = "4421"
        let bytes = DiscoveryLog(generation: 5, entries: [entry, elsewhere, entry]).encoded
        world.target.react = { capsule in
            guard case .getLogPage(let command) = AdminCommand(capsule.entry), capsule.queue == 0,
                capsule.entry.opcode == AdminOpcode.getLogPage.rawValue
            else { return nil }
            let start = min(Int(command.offset), bytes.count)
            return .data(Array(bytes[start..<min(start + Int(command.byteCount), bytes.count)]))
        }
        let options = world.options { $0.subsystemNQN = NQN.discovery }
        let group = world.group
        let answers = try world.wait { await Discovery.search(options, group: group) }
        #expect(answers.map(\.address.port) == [4420, 4421])
        #expect(try answers[0].result.get().entries.count == 3)
        guard case .failure(.rejected) = answers[1].result else {
            Issue.record("nobody listens at the second one")
            return
        }
    }
}
