import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Simulation
import Testing
import Trace

/// A host and a scripted target in virtual time, on one thread: what a test does here is the same each time.
class World {
    var target: ScriptedTarget
    let group: InitiatorGroup
    /// Takes what the group records.
    let ring = TraceRing(name: "world", capacity: 1024)
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    /// The controllers' reports, in order.
    let events = Box<[ControllerEvent]>([])

    /// Longest virtual time that anything may take: beyond it, it hangs.
    static let patience: UInt64 = 1_000

    init(_ transport: any HostTransport, _ port: TargetPort) throws {
        target = try ScriptedTarget(port)
        group = InitiatorGroup(transport, ring: ring)
    }

    /// When something arrives of what is under way.
    var nextArrival: MonotonicTime { .distantFuture }
    /// Lets arrive what is due.
    func carry() {}
    /// Another target, honest and new, takes the place of the first one.
    func replaceTarget() throws {}

    func options(_ change: (inout ControllerOptions) -> Void = { _ in }) -> ControllerOptions {
        var options = ControllerOptions(
            address: ScriptedTarget.address, subsystemNQN: "nqn.2026-11.io.tercet:scripted",
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
        carry()
        var work = group.poll(now: now)
        work += try target.poll()
        guard work == 0 else { return now = now.advanced(byNanoseconds: 1000) }
        // Nothing can happen before the next deadline or arrival; the connection manager is asked every 0.2 ms.
        let next = min(group.nextDeadline, nextArrival, now.advanced(byMilliseconds: 1))
        now = max(next, now.advanced(byNanoseconds: nextArrival == .distantFuture ? 250_000 : 1000))
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

    /// Memory known to the controller's device, for both directions.
    func memory(_ controller: Controller, bytes: Int) throws -> TestMemory {
        let device = try #require(controller.queues[0].device)
        return try TestMemory(device.context, bytes: bytes)
    }
}

/// Without a fabric: what tests the initiator's rules needs no more.
final class DirectWorld: World {
    let transport = DirectTransport()

    init() throws { try super.init(transport, transport.port) }
}

/// Over RDMA, on the simulated fabric.
final class FabricWorld: World {
    let network: SimulatedNetwork
    let host: SimulatedDevice

    init() throws {
        network = SimulatedNetwork(seed: 1)
        host = network.makeDevice("host", addresses: ["127.0.0.2"])
        let device = network.makeDevice("target", addresses: [ScriptedTarget.address.host])
        try super.init(RDMAInitiator(SimulatedFabric([host])), FabricPort(network, device))
        now = network.now
    }

    override var nextArrival: MonotonicTime { network.nextEventTime }
    override func carry() { network.run(until: now) }

    override func replaceTarget() throws {
        guard let port = target.port as? FabricPort else { return }
        port.vanish()
        target = try ScriptedTarget(FabricPort(network, port.device))
    }
}

/// A value that closures share; all on the test's thread.
final class Box<Value>: @unchecked Sendable {
    // Unchecked: the test's thread alone uses it.
    var value: Value
    init(_ value: Value) { self.value = value }
}

/// Memory of a test, registered where the transport's devices want it.
final class TestMemory: @unchecked Sendable {
    // Unchecked: the test's thread alone uses it.
    let arena: RegisteredArena
    let segment: IOSegment

    init(_ context: FabricContext?, bytes: Int) throws {
        let arena = try RegisteredArena(bytes: bytes)
        let region = try context.map {
            try arena.register(with: $0, access: [.localWrite, .remoteRead, .remoteWrite])
        }
        self.arena = arena
        segment = IOSegment(
            address: arena.memory.baseAddress!, length: bytes, localKey: region?.localKey ?? 0,
            remoteKey: region?.remoteKey ?? 0)
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
    // Unchecked: the test's thread alone uses it.
    private(set) var completions: [IOCompletion] = []
    var observe: (IOCompletion) -> Void = { _ in }

    override func completed(_ batch: UnsafeBufferPointer<IOCompletion>) {
        for completion in batch {
            completions.append(completion)
            observe(completion)
        }
    }
}
