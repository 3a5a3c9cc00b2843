import Base
import BlockInterface
import Glibc
import Replication
import Simulation
import VolumeDriver

/// The I/O of a second volume: little of it and steady, checked by a history of its own.
final class SecondWorkload: VolumeSink {
    /// An I/O that has not ended.
    struct Running {
        var request: HostRequest
        var value: UInt64
        var id: UInt64
        var snapshots: [BlockHistory.Snapshot] = []
        var startedSequence: UInt64
        var startedAt: UInt64

        var blocks: Range<Int> { Int(request.start)..<Int(request.start + request.count) }
    }

    enum Plan {
        case random
        case stopped
        /// Everything is read, from here on, one I/O after another.
        case reading(Int)
    }

    // Both outlive the workload's use: `die` ends it.
    private unowned(unsafe) let second: SecondVolume
    private unowned(unsafe) let volume: Volume
    unowned(unsafe) var attachment: SecondAttachment?
    private(set) var running: [UInt64: Running] = [:]
    private var cookies: UInt64 = 0
    private var nextSubmission: MonotonicTime
    private var isDead = false
    var plan = Plan.random

    private static let depth = 3

    init(_ second: SecondVolume, _ volume: Volume, now: MonotonicTime) {
        self.second = second
        self.volume = volume
        nextSubmission = now
        super.init()
        if second.world.profile.operations == 0 { plan = .stopped }
    }

    private var world: VolumeWorld { second.world }
    private var blockSize: Int { Int(world.profile.blockSize) }
    private var name: String { "the second volume" }
    private var longest: Int { min(4, world.profile.maximumTransfer / blockSize) }

    /// All blocks have been read since it was asked for.
    var hasReadAll: Bool {
        guard case .reading(let next) = plan else { return false }
        return next == second.history.blocks.count && running.isEmpty
    }

    // MARK: Submission

    /// Returns how much was submitted.
    func poll(_ now: MonotonicTime) -> Int {
        guard attachment?.takesIO ?? false, nextDeadline <= now else { return 0 }
        switch plan {
        case .stopped: return 0
        case .reading(let next):
            let count = min(longest, second.history.blocks.count - next)
            plan = .reading(next + count)
            submit(.read, start: next, count: count)
        case .random:
            nextSubmission = now.advanced(byNanoseconds: second.pause())
            submitRandom()
        }
        return 1
    }

    var nextDeadline: MonotonicTime {
        guard attachment?.takesIO ?? false else { return .distantFuture }
        switch plan {
        case .stopped: return .distantFuture
        case .reading(let next):
            return running.isEmpty && next < second.history.blocks.count
                ? MonotonicTime(nanoseconds: 0) : .distantFuture
        case .random: return running.count < Self.depth ? nextSubmission : .distantFuture
        }
    }

    private func submitRandom() {
        let blocks = second.history.blocks.count
        let start = second.below(second.chance(50) ? blocks : 8)
        let count = min(1 + second.below(longest), blocks - start)
        switch second.below(100) {
        case 0..<45: submit(.write, start: start, count: count, forceUnitAccess: second.chance(15))
        case 45..<75: submit(.read, start: start, count: count)
        case 75..<87: submit(.flush, start: 0, count: 0)
        case 87..<95: submit(.writeZeroes, start: start, count: count, forceUnitAccess: second.chance(15))
        default: submit(.deallocate, start: start, count: count)
        }
    }

    private func submit(_ kind: BlockOperation, start: Int, count: Int, forceUnitAccess: Bool = false) {
        var buffer: UnsafeMutableRawPointer?
        if kind == .read || kind == .write {
            guard let taken = volume.memory.allocate(longest * blockSize) else { return }
            buffer = taken
        }
        cookies += 1
        let request = HostRequest(
            kind, start: UInt64(start), count: UInt64(count), buffer: UInt64(UInt(bitPattern: buffer)), cookie: cookies,
            forceUnitAccess: forceUnitAccess)
        let id = second.nextValue()
        var operation = Running(
            request: request, value: kind == .write ? id : 0, id: id, startedSequence: second.history.sequence,
            startedAt: world.network.now.nanoseconds)
        for block in operation.blocks {
            switch kind {
            case .read: operation.snapshots.append(second.history.snapshot(block))
            case .flush: break
            default: second.history.writeStarted(block, id: id, value: operation.value)
            }
            guard kind == .write, let buffer else { continue }
            BlockContent.lay(
                id, of: block,
                in: UnsafeMutableRawBufferPointer(start: buffer + (block - start) * blockSize, count: blockSize))
        }
        running[cookies] = operation
        world.trace { "\(self.name): submit \(kind) \(start)+\(count) value \(operation.value)" }
        if !volume.submit(request) {
            running[cookies] = nil
            abandon(operation)
            giveBuffer(request)
        }
    }

    private func giveBuffer(_ request: HostRequest) {
        guard let buffer = UnsafeMutableRawPointer(bitPattern: UInt(request.buffer)) else { return }
        memset(buffer, 0xEE, longest * blockSize)
        volume.memory.free(buffer)
    }

    // MARK: Completion

    override func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {
        guard !isDead else { return }
        for completion in completions { ended(completion) }
    }

    private func ended(_ completion: HostCompletion) {
        guard let operation = running.removeValue(forKey: completion.cookie) else {
            return world.fail(.completedTwice, "\(name): I/O \(completion.cookie) completed twice")
        }
        let request = operation.request
        world.network.note(completion.cookie ^ UInt64(completion.status.rawValue) << 32)
        world.trace {
            "\(self.name): \(completion.status) \(request.operation) \(request.start)+\(request.count) value \(operation.value)"
        }
        attachment?.look()
        check(operation, completion.status)
        giveBuffer(request)
    }

    private func check(_ operation: Running, _ status: BlockStatus) {
        let isRead = operation.request.operation == .read
        switch status {
        case .success: break
        case .unrecoveredReadError, .writeFault, .capacityExceeded:
            return world.fail(.unexplainedError, "\(name): \(status), and none of its disks is at fault")
        default:
            if isRead, case .reading = plan { world.fail(.notWhole, "\(name): a read at the end ends in \(status)") }
            return abandon(operation, isFailed: status == .unavailable)
        }
        world.counts.secondOperations += 1
        switch operation.request.operation {
        case .flush: second.history.flushed(since: operation.startedSequence)
        case .read: checkRead(operation)
        default: checkWrite(operation)
        }
    }

    private func checkWrite(_ operation: Running) {
        for block in operation.blocks {
            let isPossible = second.history.writeAcknowledged(
                block,
                BlockHistory.Acknowledgement(
                    id: operation.id, value: operation.value, isDurable: operation.request.forceUnitAccess,
                    writer: volume.attachmentKey, holders: volume.holders, startedAt: operation.startedAt,
                    lastStop: second.lastLosses(of: block)))
            if !isPossible {
                world.fail(
                    .contents, "\(name): block \(block): \(operation.value) was acknowledged, and had been ruled out")
            }
        }
    }

    private func checkRead(_ operation: Running) {
        guard let buffer = UnsafeRawPointer(bitPattern: UInt(operation.request.buffer)) else { return }
        for (index, block) in operation.blocks.enumerated() {
            let content = UnsafeRawBufferPointer(start: buffer + index * blockSize, count: blockSize)
            guard let value = BlockContent.value(of: block, in: content) else {
                return world.fail(.tornBlock, "\(name): block \(block) \(BlockContent.describe(content))")
            }
            let candidates = second.history.blocks[block].candidates
            if !second.history.readReturned(block, value, snapshot: operation.snapshots[index]) {
                world.fail(.contents, "\(name): block \(block): read \(value); possible: \(candidates)")
            }
        }
    }

    private func abandon(_ operation: Running, isFailed: Bool = false) {
        guard operation.request.operation != .read, operation.request.operation != .flush else { return }
        for block in operation.blocks {
            if isFailed {
                second.history.writeFailed(block, id: operation.id, startedAt: operation.startedAt)
            } else {
                second.history.writeAbandoned(block, id: operation.id)
            }
        }
    }

    /// The process is gone: what it had not heard of may be there or not.
    func die() {
        isDead = true
        for cookie in running.keys.sorted() {
            if let operation = running[cookie] { abandon(operation) }
        }
        running = [:]
        attachment = nil
    }
}
