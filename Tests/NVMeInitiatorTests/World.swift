import Base
import FabricInterface
import LoopbackFabric
import Memory
import NVMeInitiator
import NVMeSpec
import Testing

/// A host and a scripted target in virtual time, on one thread: what a test does here is the same each time.
final class World {
    let network = LoopbackNetwork()
    var target: ScriptedTarget
    let group: InitiatorGroup
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    /// What the controllers reported, in order.
    let events = Box<[ControllerEvent]>([])

    /// Longest virtual time that anything may take: beyond it, it hangs.
    static let patience: UInt64 = 1_000

    init() throws {
        target = try ScriptedTarget(network)
        group = InitiatorGroup(fabric: LoopbackFabric(network))
    }

    func options(_ change: (inout ControllerOptions) -> Void = { _ in }) -> ControllerOptions {
        var options = ControllerOptions(
            address: target.address, subsystemNQN: "nqn.2026-11.io.tercet:scripted",
            hostNQN: "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001",
            hostID: UUIDBytes(high: 1, low: 2))
        change(&options)
        return options
    }

    func controller(_ queues: Int = 1, _ change: (inout ControllerOptions) -> Void = { _ in }) -> Controller {
        let events = events
        return Controller(
            options(change), home: group, groups: Array(repeating: group, count: queues)
        ) { event in events.value.append(event) }
    }

    /// One round of everything; time passes when nothing happens.
    func step() throws {
        var work = group.poll(now: now)
        work += try target.poll()
        guard work == 0 else { return now = now.advanced(byNanoseconds: 1000) }
        // Nothing can happen before the next deadline; events of the connection manager are looked for every 0.2 ms.
        let next = min(group.nextDeadline, now.advanced(byMilliseconds: 1))
        now = max(next, now.advanced(byNanoseconds: 250_000))
    }

    /// Lets the world go on until `condition` holds, for `seconds` of virtual time at most.
    @discardableResult
    func run(seconds: UInt64 = World.patience, until condition: () -> Bool) throws -> Bool {
        let limit = now.advanced(byMilliseconds: seconds * 1000)
        while !condition() {
            guard now < limit else { return false }
            try step()
        }
        return true
    }

    func run(seconds: UInt64) throws { try run(seconds: seconds) { false } }

    /// Runs a control call to its end.
    func wait<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) throws -> Value {
        let result = Box<Value?>(nil)
        group.spawn { result.value = await body() }
        try run { result.value != nil }
        return try #require(result.value, "a call did not end in \(World.patience) s of virtual time")
    }

    /// Connects and returns the controller, or what went wrong.
    func connect(_ controller: Controller) throws -> Result<Void, InitiatorError> {
        try wait {
            do throws(InitiatorError) {
                try await controller.connect()
                return .success(())
            } catch { return .failure(error) }
        }
    }

    func close(_ controller: Controller) throws { try wait { await controller.close() } }

    /// Memory registered for both directions.
    func memory(_ controller: Controller, bytes: Int) throws -> TestMemory {
        let context = try #require(controller.queues[0].context)
        return try TestMemory(context, bytes: bytes)
    }
}

/// A value that closures share; all on the test's thread.
final class Box<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}

/// Registered memory of a test.
final class TestMemory: @unchecked Sendable {
    let arena: RegisteredArena
    let segment: IOSegment

    init(_ context: FabricContext, bytes: Int) throws {
        arena = try RegisteredArena(bytes: bytes)
        let region = try arena.register(with: context, access: [.localWrite, .remoteRead, .remoteWrite])
        segment = IOSegment(
            address: arena.memory.baseAddress!, length: bytes, localKey: region.localKey, remoteKey: region.remoteKey)
    }

    func part(_ offset: Int, _ length: Int) -> IOSegment {
        IOSegment(
            address: segment.address + offset, length: length, localKey: segment.localKey, remoteKey: segment.remoteKey)
    }

    /// Fills it with bytes that depend on their place and on `seed`.
    func fill(_ seed: UInt8) {
        for index in 0..<segment.length {
            segment.address.storeBytes(
                of: UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8) ^ seed, toByteOffset: index, as: UInt8.self)
        }
    }

    var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: segment.address, count: segment.length)) }
}

/// Keeps the completions that it gets.
final class Recorder: CompletionSink, @unchecked Sendable {
    private(set) var completions: [IOCompletion] = []
    var observe: (IOCompletion) -> Void = { _ in }

    override func completed(_ batch: UnsafeBufferPointer<IOCompletion>) {
        for completion in batch {
            completions.append(completion)
            observe(completion)
        }
    }
}
