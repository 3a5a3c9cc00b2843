import NVMeInitiator
import NVMeSpec
import Testing

/// Namespaces that change while a controller is open.
@Suite struct NamespaceTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    private var rescans: Int {
        world.events.value.filter { if case .namespacesChanged = $0 { true } else { false } }.count
    }

    /// Connects, and waits until the requests for events have arrived.
    private func connect(_ controller: Controller) throws {
        try world.connect(controller).get()
        try world.run(seconds: 1)
    }

    private func rescan() throws {
        let before = rescans
        world.target.report(.namespaceAttributeChanged)
        try #require(try world.run(seconds: 5) { rescans == before + 1 })
    }

    /// The namespace is formatted anew, with as many bytes.
    private func format(blockSize: Int) {
        world.target.namespaces[1] = IdentifyNamespace(
            blockCount: UInt64(4096 * 512 / blockSize), blockSize: blockSize)
    }

    private let zeroes = IOOperation(.writeZeroes, startingLBA: 8, blockCount: 8)

    private func isWriteZeroes(_ capsule: Capsule) -> Bool {
        capsule.queue > 0 && capsule.entry.opcode == NVMOpcode.writeZeroes.rawValue
    }

    @Test func aNamespaceWithAnotherBlockSizeIsOutOfUse() throws {
        let controller = world.controller()
        try connect(controller)
        let queue = controller.queues[0]
        let recorder = Recorder()
        queue.sink = recorder
        format(blockSize: 4096)
        try rescan()
        #expect(controller.namespaces.map(\.blockSize) == [4096])
        #expect(
            controller.namespaces.map(\.problem) == [
                "the namespace's blocks had 512 bytes, and now have 4096; it must be opened anew"
            ])
        #expect(queue.submit(zeroes) == .invalid)
        // It goes and comes back: that is no news.
        world.target.namespaces[1] = nil
        try rescan()
        format(blockSize: 4096)
        try rescan()
        #expect(queue.submit(zeroes) == .invalid)
        try world.run(seconds: 1)
        #expect(world.target.commands(.writeZeroes).isEmpty)
        format(blockSize: 512)
        try rescan()
        #expect(queue.submit(zeroes) == .accepted)
        try world.run { recorder.completions.count == 1 }
        #expect(recorder.completions[0].isSuccess)
    }

    @Test func operationsForTheFormerBlockSizeAreNotRepeatedOnTheNextConnection() throws {
        let controller = world.controller { $0.queueEntries = 4 }
        try connect(controller)
        let isWriteZeroes = isWriteZeroes
        world.target.react = { isWriteZeroes($0) ? .ignore : nil }
        let queue = controller.queues[0]
        let recorder = Recorder()
        queue.sink = recorder
        for tag in 0..<5 {
            var operation = zeroes
            operation.tag = UInt64(tag)
            #expect(queue.submit(operation) == .accepted)
        }
        try world.run { world.target.commands(.writeZeroes).count == 3 }
        world.target.vanish()
        format(blockSize: 4096)
        world.target.react = { _ in nil }
        try world.target.listen()
        try world.run { recorder.completions.count == 5 }
        let byTag = recorder.completions.sorted { $0.tag < $1.tag }
        #expect(byTag.map(\.failure) == Array(repeating: .namespaceChanged, count: 5))
        #expect(byTag.map(\.outcome) == [.unknown, .unknown, .unknown, .surelyNotDone, .surelyNotDone])
        try world.run(seconds: 1)
        #expect(world.target.commands(.writeZeroes).count == 3)
        #expect(controller.association?.number == 2)
    }

    /// Operations that wait for their turn, that wait to be repeated, and that are under way when the size changes.
    @Test(arguments: [Reaction.answer(.namespaceNotReady), .ignore])
    func operationsForTheFormerBlockSizeAreNotRepeatedOnTheSameConnection(_ reaction: Reaction) throws {
        let controller = world.controller { $0.queueEntries = 4 }
        try connect(controller)
        let isWriteZeroes = isWriteZeroes
        var isFirst = true
        let held = Box<[Capsule]>([])
        world.target.react = { capsule in
            guard isWriteZeroes(capsule) else { return nil }
            held.value.append(capsule)
            defer { isFirst = false }
            return isFirst ? .answer(.namespaceNotReady) : reaction
        }
        let queue = controller.queues[0]
        let recorder = Recorder()
        queue.sink = recorder
        for _ in 0..<5 { #expect(queue.submit(zeroes) == .accepted) }
        try world.run { world.target.commands(.writeZeroes).count >= 3 }
        format(blockSize: 4096)
        try rescan()
        let sent = world.target.commands(.writeZeroes).count
        if case .ignore = reaction {
            // Answered only now, with what an unchanged namespace's operation would be repeated for.
            let waiting = held.value.dropFirst().map(\.entry.commandID)
            var isAnswered = false
            world.target.react = { capsule in
                guard capsule.queue == 0, !isAnswered, let first = waiting.first else { return nil }
                isAnswered = true
                return .end(queue: 1, first, .namespaceNotReady)
            }
        }
        try world.run(seconds: 40) { recorder.completions.count == 5 }
        #expect(recorder.completions.count == 5)
        #expect(recorder.completions.allSatisfy { !$0.isSuccess })
        #expect(world.target.commands(.writeZeroes).count == sent)
    }

    /// Two events ask for a scan each while namespaces come and go.
    @Test func noTwoNamespacesEverHaveOnePlace() throws {
        let controller = world.controller()
        try connect(controller)
        let blocks = IdentifyNamespace(blockCount: 4096, blockSize: 512)
        world.target.namespaces[2] = blocks
        var lists = 0
        let target = world.target
        // Identify (06h) with CNS 02h: the second scan's list is another one.
        target.react = { capsule in
            guard capsule.queue == 0, capsule.entry.opcode == 0x06, capsule.entry.cdw10 & 0xFF == 2 else { return nil }
            lists += 1
            if lists == 2 {
                target.namespaces[2] = nil
                target.namespaces[3] = blocks
            }
            return nil
        }
        var places: [Int: Set<UInt32>] = [:]
        world.target.report(.namespaceAttributeChanged)
        world.target.report(.namespaceAttributeChanged)
        try world.run(seconds: 5) {
            for namespace in controller.namespaces { places[namespace.index, default: []].insert(namespace.nsid) }
            return rescans == 2
        }
        #expect(rescans == 2 && lists == 2)
        #expect(places == [0: [1], 1: [2], 2: [3]])
    }
}
