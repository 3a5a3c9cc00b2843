import Base
import BlockInterface
import Glibc
import Replication

/// The host's I/O: random, overlapping, checked by the oracle.
final class ModelWorkload {
    struct RunningOperation {
        var request: HostRequest
        var value: UInt64
        var id: UInt64
        var snapshots: [[UInt64]] = []
        var versions: [UInt64] = []
        var startedSequence: UInt64
        var startedAt: UInt64
        /// Submitted when a later initiator served already: it must have no effect.
        var isLate: Bool
    }

    unowned let simulation: ModelSimulation
    let host: Int
    weak var initiator: ModelInitiator?
    var running: [UInt64: RunningOperation] = [:]
    private var freeBuffers: [Int]
    private let memory: UnsafeMutableRawPointer
    static let bufferSize = 8 * ModelTarget.blockSize
    private var cookies: UInt64 = 0
    var isStopped = false
    var depth: Int

    init(_ simulation: ModelSimulation, host: Int) {
        self.simulation = simulation
        self.host = host
        depth = 1 + simulation.random.below(12)
        memory = calloc(16, Self.bufferSize)
        freeBuffers = Array(0..<16)
    }

    deinit { free(memory) }

    func buffer(_ buffer: UInt64) -> UnsafeMutableRawPointer { memory + Int(buffer) * Self.bufferSize }

    func submitMore() {
        guard let initiator, initiator.isServing, !isStopped, !initiator.isPaused else { return }
        while running.count < depth, simulation.operationsLeft > 0, !freeBuffers.isEmpty {
            simulation.operationsLeft -= 1
            submitRandom()
        }
    }

    private func submitRandom() {
        let choice = simulation.random.below(100)
        let start = simulation.random.below(simulation.dataBlocks)
        let count = min(1 + simulation.random.below(8), simulation.dataBlocks - start)
        let kind: BlockOperation =
            switch choice {
            case 0..<45: .write
            case 45..<75: .read
            case 75..<85: .flush
            case 85..<93: .writeZeroes
            default: .deallocate
            }
        submit(kind, start: start, count: count, forceUnitAccess: kind != .read && simulation.random.chance(15))
    }

    func submit(_ kind: BlockOperation, start: Int, count: Int, forceUnitAccess: Bool = false) {
        guard let initiator, let slot = freeBuffers.popLast() else { return }
        cookies += 1
        let isWrite = kind == .write || kind == .writeZeroes || kind == .deallocate
        let request = HostRequest(
            kind, start: kind == .flush ? 0 : UInt64(start), count: kind == .flush ? 0 : UInt64(count),
            buffer: UInt64(slot), cookie: cookies, forceUnitAccess: forceUnitAccess)
        simulation.values += 1
        let value = kind == .write ? simulation.values : 0
        let isLate = simulation.isServed(after: host)
        var operation = RunningOperation(
            request: request, value: value, id: simulation.values, startedSequence: simulation.oracle.sequence,
            startedAt: simulation.queue.now,
            isLate: isLate)
        if kind == .write {
            for index in 0..<count {
                let block = buffer(UInt64(slot)) + index * ModelTarget.blockSize
                memset(block, 0x77, ModelTarget.blockSize)
                block.storeBytes(of: value, as: UInt64.self)
                block.storeBytes(of: value, toByteOffset: ModelTarget.blockSize - 8, as: UInt64.self)
            }
        }
        if kind != .flush, !isLate {
            for block in start..<start + count {
                if isWrite {
                    simulation.oracle.writeStarted(block, id: operation.id, value: value)
                } else {
                    operation.snapshots.append(simulation.oracle.blocks[block].candidates)
                    operation.versions.append(simulation.oracle.blocks[block].version)
                }
            }
        }
        running[cookies] = operation
        simulation.trace {
            "h\(self.host) submit \(kind) \(start)+\(count) value=\(value) cookie=\(self.cookies) late=\(isLate)"
        }
        if !initiator.submit(request) {
            abandon(operation)
            running[cookies] = nil
            freeBuffers.append(slot)
        }
    }

    func completed(_ completion: HostCompletion) {
        guard let operation = running.removeValue(forKey: completion.cookie) else {
            return simulation.fail("h\(host): I/O \(completion.cookie) completed twice")
        }
        let request = operation.request
        simulation.note(completion.cookie ^ UInt64(completion.status.rawValue) << 32)
        simulation.trace {
            "h\(self.host) done \(request.operation) \(request.start)+\(request.count) value=\(operation.value) cookie=\(completion.cookie) \(completion.status)"
        }
        freeBuffers.append(Int(request.buffer))
        if initiator?.usesBuffer(request.buffer) ?? false {
            // A buffer that the engine gave back is used again at once.
            memset(buffer(request.buffer), 0xee, Self.bufferSize)
            return simulation.fail("h\(host): a buffer was given back while a command used it")
        }
        check(operation, completion.status)
        memset(buffer(request.buffer), 0xee, Self.bufferSize)
        submitMore()
    }

    /// How the last I/O ended.
    private(set) var lastStatus: BlockStatus?

    private func check(_ operation: RunningOperation, _ status: BlockStatus) {
        let request = operation.request
        let range = Int(request.start)..<Int(request.start + request.count)
        lastStatus = status
        guard status == .success else {
            if !operation.isLate { abandon(operation) }
            return
        }
        simulation.completedOperations += 1
        switch request.operation {
        case .flush:
            if !operation.isLate { simulation.oracle.flushed(since: operation.startedSequence) }
        case .write, .writeZeroes, .deallocate, .compareAndWrite:
            guard !operation.isLate else {
                return simulation.fail("h\(host): a write submitted after its deposition was acknowledged")
            }
            if let member = simulation.crashesAtAcknowledgement {
                simulation.crashesAtAcknowledgement = nil
                simulation.queue.after(0) { [simulation] in simulation.crashAtLoss(of: member) }
            }
            for block in range {
                let isPossible = simulation.oracle.writeAcknowledged(
                    block, id: operation.id, value: operation.value, durable: request.forceUnitAccess,
                    writer: initiator?.engine.reservationKey ?? 0,
                    holders: initiator?.engine.membersInSync ?? .all, startedAt: operation.startedAt,
                    lastStop: simulation.targets.map(\.lastStop))
                if !isPossible {
                    simulation.fail("h\(host): block \(block): acknowledged \(operation.value), ruled out before")
                }
            }
        case .compare, .verify: break
        case .read:
            guard !operation.isLate, !simulation.isServed(after: host) else { return }
            for (index, block) in range.enumerated() {
                let base = buffer(request.buffer) + index * ModelTarget.blockSize
                let value = base.load(as: UInt64.self)
                let tail = base.load(fromByteOffset: ModelTarget.blockSize - 8, as: UInt64.self)
                if value != tail { simulation.fail("block \(block): torn inside the block: \(value), \(tail)") }
                let isLegal = simulation.oracle.readReturned(
                    block, value, snapshot: operation.snapshots[index], version: operation.versions[index])
                if !isLegal {
                    simulation.fail(
                        "h\(host): block \(block): read \(value); possible: \(simulation.oracle.blocks[block].candidates)"
                    )
                }
            }
        }
    }

    private func abandon(_ operation: RunningOperation) {
        let request = operation.request
        guard request.operation != .read, request.operation != .flush else { return }
        for block in Int(request.start)..<Int(request.start + request.count) {
            simulation.oracle.writeAbandoned(block, id: operation.id)
        }
    }

    /// The host is gone: what it had not heard of may be there or not.
    func hostDied() {
        for cookie in running.keys.sorted() {
            if let operation = running[cookie], !operation.isLate { abandon(operation) }
        }
        running = [:]
        isStopped = true
    }
}
