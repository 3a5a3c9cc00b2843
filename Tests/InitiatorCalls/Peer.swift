import Base
import FabricInterface
import Glibc
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Synchronization

/// A controller of the target under test, with the memory that its commands use.
final class Peer: Sendable {
    let controller: Controller
    let events = Events()
    let queue: IOQueue
    let incoming: RegisteredArena
    let outgoing: RegisteredArena
    private let incomingRegion: MemoryRegion
    private let outgoingRegion: MemoryRegion
    let namespace: NamespaceDescription

    static let memoryBytes = 8 << 20

    /// Events of the controller.
    final class Events: Sendable {
        private let namespacesChanged = Atomic<Bool>(false)
        func take(_ event: ControllerEvent) {
            if case .namespacesChanged = event { namespacesChanged.store(true, ordering: .releasing) }
        }
        var haveNamespacesChanged: Bool { namespacesChanged.load(ordering: .acquiring) }
    }

    init(_ address: SocketAddress, _ nqn: String, host: UUIDBytes, queues: Int, group: InitiatorGroup) async throws {
        let options = ControllerOptions(
            address: address, subsystemNQN: nqn, hostNQN: NQN.uuid(host), hostID: host, queueEntries: 64)
        let events = events
        controller = Controller(options, home: group, groups: Array(repeating: group, count: queues)) {
            events.take($0)
        }
        try await controller.connect()
        queue = controller.queues[0]
        guard let found = controller.namespaces.first else { throw Wrong("the target shows no namespace") }
        namespace = found
        incoming = try RegisteredArena(bytes: Self.memoryBytes)
        outgoing = try RegisteredArena(bytes: Self.memoryBytes)
        incomingRegion = try await Self.register(incoming, .incoming, queue)
        outgoingRegion = try await Self.register(outgoing, .outgoing, queue)
    }

    private static func register(
        _ arena: RegisteredArena, _ access: MemoryAccess, _ queue: IOQueue
    ) async throws -> MemoryRegion {
        let answer = await queue.withDevice { device in
            Result { () throws(TercetError) in try device.register(arena, access: access) }
        }
        guard let region = try answer?.get() else { throw Wrong("the connection was lost") }
        return region
    }

    var identify: IdentifyController { controller.association?.identify ?? IdentifyController() }

    /// A part of the memory that the target writes into.
    func read(_ offset: Int, _ blocks: Int) -> IOSegment { segment(incoming, incomingRegion, offset, blocks) }

    /// A part of the memory that the target reads from.
    func write(_ offset: Int, _ blocks: Int) -> IOSegment { segment(outgoing, outgoingRegion, offset, blocks) }

    private func segment(_ arena: RegisteredArena, _ region: MemoryRegion, _ offset: Int, _ blocks: Int) -> IOSegment {
        IOSegment(
            address: arena.memory.baseAddress! + offset, length: blocks * namespace.blockSize,
            localKey: region.localKey, remoteKey: region.remoteKey)
    }

    /// Fills the memory that the target reads from with bytes that say where they are.
    func fill(_ seed: UInt8) {
        for index in 0..<outgoing.memory.count {
            outgoing.memory[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 9) &+ seed
        }
    }

    /// An operation on the namespace.
    func operation(
        _ kind: IOKind, at block: UInt64 = 0, _ blocks: UInt64 = 0, data: IOSegment? = nil, second: IOSegment? = nil,
        flags: IOFlags = []
    ) -> IOOperation {
        IOOperation(
            kind, namespace: namespace.index, startingLBA: block, blockCount: blocks, data: data, second: second,
            flags: flags, timeoutMilliseconds: 20_000)
    }

    func succeed(_ operation: IOOperation) async throws {
        let completion = await queue.perform(operation)
        try expect(completion.isSuccess, "\(operation.kind): \(completion.outcome) \(completion.status)")
    }

    /// Does an operation that must be answered with a status.
    func refused(_ operation: IOOperation, _ status: Status) async throws {
        let completion = await queue.perform(operation)
        try expect(
            completion.outcome == .surelyDone && completion.status.matches(status),
            "\(operation.kind): \(completion.outcome) \(completion.status), not \(status)")
    }

    /// Does an operation of an optional command: it succeeds, or where the target says that it does not have it, is refused
    /// without being sent.
    func succeedIf(_ isOffered: Bool, _ operation: IOOperation) async throws {
        if isOffered { return try await succeed(operation) }
        try expectUnsupported(await queue.perform(operation))
    }

    func expectUnsupported(_ completion: IOCompletion) throws {
        try expect(
            completion.outcome == .surelyNotDone && completion.failure == .unsupported,
            "\(completion.outcome), \(completion.failure)")
    }
}

/// Makes a call that must be answered with an error status; returns it.
@discardableResult
func refusal<Result>(_ body: () async throws(InitiatorError) -> Result) async throws -> Status {
    do throws(InitiatorError) {
        _ = try await body()
    } catch {
        if case .status(let status, _) = error { return status }
        throw error
    }
    throw Wrong("it was not refused")
}
