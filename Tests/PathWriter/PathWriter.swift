import Base
import FabricInterface
import Glibc
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import Synchronization
import VerbsFabric

/// A host with several paths to one namespace: writes and reads through the path that serves it, whatever becomes of the others, and looks
/// whether every acknowledged write is there, from then on.
///
/// Usage: `path-writer ADDRESS PORT,PORT... NQN [reserve|check|release]`; with one of these words it is two hosts of which one reserves the
/// namespace (`Reservers`), and ends. Without one it tells each gap between two completions of 100 ms and more, and ends with SIGTERM. A
/// status that a host with several paths would give to its users ends it.
@main
enum PathWriter {
    static func main() async {
        let arguments = CommandLine.arguments
        let ports = (4...5) ~= arguments.count ? arguments[2].split(separator: ",").compactMap { UInt16($0) } : []
        let addresses = ports.compactMap { SocketAddress(host: arguments[1], port: $0) }
        guard !addresses.isEmpty else {
            print("usage: path-writer ADDRESS PORT,PORT... NQN [reserve|check|release]")
            exit(2)
        }
        signal(SIGTERM) { _ in PathWriter.isTold.store(true, ordering: .relaxed) }
        do {
            let group = InitiatorGroup(RDMAInitiator(try VerbsFabric.open()))
            let reactor = Reactor(name: "paths")
            reactor.add(group)
            reactor.start()
            if arguments.count == 5 {
                let hosts = try await Reservers(addresses, arguments[3], group)
                print(try await hosts.perform(arguments[4]))
                exit(0)
            }
            var paths: [Path] = []
            for address in addresses { paths.append(try await Path(address, arguments[3], group)) }
            try await run(paths)
            exit(0)
        } catch {
            print("failed: \(error)")
            exit(1)
        }
    }

    /// It was told to end.
    private static let isTold = Atomic(false)

    private static func run(_ paths: [Path]) async throws {
        let host = Host(paths)
        var lanes: [Lane] = []
        for number in 0..<Host.lanes { lanes.append(Lane(number, host)) }
        print("writing")
        fflush(nil)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for lane in lanes {
                tasks.addTask {
                    while !isTold.load(ordering: .relaxed) { try await lane.turn() }
                    try await lane.readAll()
                }
            }
            try await tasks.waitForAll()
        }
        let counts = host.counts()
        print(
            "verified: \(counts.completions) operations, \(counts.repeated) repeated, by path: "
                + counts.byPath.map(String.init).joined(separator: " "))
        fflush(nil)
    }
}

struct Wrong: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// One path to the namespace. What a lost connection leaves open fails at once: there are others.
final class Path: Sendable {
    let controller: Controller
    let queue: IOQueue
    let namespace: NamespaceDescription
    private let arena: RegisteredArena
    private let incoming: MemoryRegion
    private let outgoing: MemoryRegion

    init(
        _ address: SocketAddress, _ nqn: String, _ group: InitiatorGroup,
        host: UUIDBytes = UUIDBytes(high: 0x6d1a_6a1e_0000_4000, low: 0x8000_0000_0000_0033)
    ) async throws {
        controller = Controller(
            ControllerOptions(
                address: address, subsystemNQN: nqn, hostNQN: NQN.uuid(host), hostID: host, queueEntries: 32,
                keepAliveMilliseconds: 1000, reconnectTimeoutMilliseconds: 1000, ioTimeoutMilliseconds: 1500,
                adminTimeoutMilliseconds: 1500, recovery: .fail, reconnectDelayMilliseconds: 50...200),
            home: group, groups: [group])
        try await controller.connect()
        queue = controller.queues[0]
        guard let found = controller.namespaces.first else { throw Wrong("\(address): no namespace") }
        namespace = found
        let arena = try RegisteredArena(bytes: 1 << 20)
        self.arena = arena
        incoming = try await Self.register(arena, .incoming, queue)
        outgoing = try await Self.register(arena, .outgoing, queue)
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

    /// Memory of a lane: half of it is for what is written, and half for what is read.
    func memory(_ lane: Int, isRead: Bool) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: arena.memory.baseAddress! + (2 * lane + (isRead ? 1 : 0)) * Lane.blockSize, count: Lane.blockSize)
    }

    func perform(_ kind: IOKind, lane: Int, offset: UInt64) async -> IOCompletion {
        let isRead = kind == .read
        let region = isRead ? incoming : outgoing
        let segment = IOSegment(
            address: memory(lane, isRead: isRead).baseAddress!, length: Lane.blockSize, localKey: region.localKey,
            remoteKey: region.remoteKey)
        return await queue.perform(
            IOOperation(
                kind, namespace: namespace.index, startingLBA: offset / UInt64(namespace.blockSize),
                blockCount: UInt64(Lane.blockSize / namespace.blockSize), data: segment))
    }
}

/// The paths, the one that is in use, and what has been counted.
final class Host: Sendable {
    static let lanes = 4
    let paths: [Path]

    struct Counts {
        var completions = 0
        var repeated = 0
        var byPath: [Int]
        var last = ContinuousClock.now
    }
    private let state: Mutex<Counts>
    private let present = Atomic(0)

    init(_ paths: [Path]) {
        self.paths = paths
        state = Mutex(Counts(byPath: Array(repeating: 0, count: paths.count)))
    }

    func counts() -> Counts { state.withLock { $0 } }

    /// Does an operation by whichever path does it.
    func perform(
        _ kind: IOKind, lane: Int, offset: UInt64, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) async throws -> Path {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            let number = present.load(ordering: .relaxed)
            let path = paths[number]
            if kind == .write { fill(path.memory(lane, isRead: false)) }
            let completion = await path.perform(kind, lane: lane, offset: offset)
            if completion.isSuccess {
                note(number)
                return path
            }
            guard completion.outcome != .surelyDone || completion.status.isPathError else {
                throw Wrong("\(kind) at \(offset) by path \(number): \(completion.status)")
            }
            guard ContinuousClock.now < end else { throw Wrong("\(kind) at \(offset): no path for 60 s") }
            state.withLock { $0.repeated += 1 }
            // The first lane that fails turns to the next path; the others follow.
            _ = present.compareExchange(
                expected: number, desired: (number + 1) % paths.count, ordering: .relaxed)
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    private func note(_ path: Int) {
        let gap = state.withLock { state in
            let now = ContinuousClock.now
            defer { state.last = now }
            state.completions += 1
            state.byPath[path] += 1
            return now - state.last
        }
        guard gap >= .milliseconds(100) else { return }
        print("gap: \(Int(gap / .milliseconds(1))) ms, then by path \(path)")
        fflush(nil)
    }
}

/// Blocks that one task writes and reads.
final class Lane: Sendable {
    static let blockSize = 4096
    private static let blocks = 64
    private let number: Int
    private let host: Host

    private struct State {
        var random: SeededRandom
        /// The last number that was acknowledged for each block; 0 for none.
        var written = [UInt64](repeating: 0, count: Lane.blocks)
        var next: UInt64 = 0
    }
    private let state: Mutex<State>

    init(_ number: Int, _ host: Host) {
        self.number = number
        self.host = host
        state = Mutex(State(random: SeededRandom(seed: UInt64(number) + 1)))
    }

    private func offset(_ block: Int) -> UInt64 { UInt64((number * Self.blocks + block) * Self.blockSize) }

    /// Writes a block and reads another one.
    func turn() async throws {
        let (target, sample, value) = state.withLock { state in
            state.next += 1
            return (
                Int(state.random.next() % UInt64(Self.blocks)), Int(state.random.next() % UInt64(Self.blocks)),
                state.next
            )
        }
        _ = try await host.perform(.write, lane: number, offset: offset(target)) { memory in
            for place in stride(from: 0, to: memory.count, by: 16) {
                memory.storeBytes(of: value, toByteOffset: place, as: UInt64.self)
                memory.storeBytes(of: UInt64(target), toByteOffset: place + 8, as: UInt64.self)
            }
        }
        state.withLock { $0.written[target] = value }
        try await read(sample)
    }

    func readAll() async throws { for block in 0..<Self.blocks { try await read(block) } }

    private func read(_ block: Int) async throws {
        let expected = state.withLock { $0.written[block] }
        let path = try await host.perform(.read, lane: number, offset: offset(block)) { _ in }
        guard expected > 0 else { return }
        let memory = path.memory(number, isRead: true)
        for place in stride(from: 0, to: memory.count, by: 16) {
            let found = memory.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            let owner = memory.loadUnaligned(fromByteOffset: place + 8, as: UInt64.self)
            guard found == expected, owner == UInt64(block) else {
                throw Wrong(
                    "block \(block) of lane \(number): write \(expected) was acknowledged, and write \(found) of block \(owner) is there"
                )
            }
        }
    }
}
