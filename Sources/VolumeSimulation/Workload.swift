import Base
import BlockInterface
import Glibc
import Replication
import Simulation
import VolumeDriver

/// The I/O of one initiator: random, overlapping, checked by the block history.
final class Workload {
    /// An I/O that has not ended.
    struct Running {
        var request: HostRequest
        /// Its first block in the history.
        var start: Int
        var value: UInt64
        var id: UInt64
        /// The value that a compare-and-write expects in each block.
        var expected: [UInt64] = []
        var snapshots: [BlockHistory.Snapshot] = []
        var startedSequence: UInt64
        var startedAt: UInt64
        /// Submitted when a later initiator served already: it must have no effect.
        var isLate: Bool
        /// When it is called overdue.
        var isOverdueAt = MonotonicTime.distantFuture

        var blocks: Range<Int> { start..<start + Int(request.count) }
    }

    // All of them outlive the workload's use: `die` ends it.
    private unowned(unsafe) let world: VolumeWorld
    private unowned(unsafe) let process: InitiatorProcess
    private unowned(unsafe) let volume: Volume
    let sink = Sink()
    private(set) var running: [UInt64: Running] = [:]
    private var cookies: UInt64 = 0
    private var nextSubmission: MonotonicTime
    /// Nothing is submitted but what is asked for.
    var isStopped = false
    /// How the last I/O ended.
    private(set) var lastStatus: BlockStatus?
    /// Memory that has been given back once.
    private var buffers: Set<UnsafeMutableRawPointer> = []

    final class Sink: VolumeSink {
        var workload: Workload?
        override func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {
            for completion in completions { workload?.completed(completion) }
        }
    }

    private var places: BlockPlaces { world.profile.places }
    private var bufferBytes: Int { world.profile.bufferBytes }
    private static let poison: UInt8 = 0xEE

    init(_ world: VolumeWorld, _ process: InitiatorProcess, _ volume: Volume) {
        self.world = world
        self.process = process
        self.volume = volume
        nextSubmission = world.network.now
        isStopped = world.profile.operations == 0
        sink.workload = self
    }

    // MARK: Submission

    private var mayBegin: Bool {
        switch process.phase {
        case .serving, .suspended, .recovering: !isStopped && process.servedAt != nil
        default: false
        }
    }

    func poll(now: MonotonicTime) -> Int {
        if volume.holders != process.lastInSync { world.look(at: process) }
        guard mayBegin, now >= nextSubmission, running.count < world.profile.depth else { return 0 }
        // Bursts, and pauses between them.
        let pause = world.draw(0...2 * world.thinkTime)
        nextSubmission = now.advanced(byNanoseconds: world.chance(30) ? 0 : pause)
        submitRandom()
        return 1
    }

    var nextDeadline: MonotonicTime {
        mayBegin && running.count < world.profile.depth ? nextSubmission : .distantFuture
    }

    private func submitRandom() {
        let blocks = world.history.blocks.count
        // Half of the I/O is at one place, so that it overlaps.
        let start = world.chance(50) ? world.below(blocks) : world.below(min(16, blocks))
        let most = min(
            1 + world.below(min(8, world.profile.maximumTransfer / Int(world.profile.blockSize))), blocks - start)
        let count = places.adjoining(start, count: most)
        switch world.below(100) {
        case 0..<40: submit(.write, start: start, count: count, forceUnitAccess: world.chance(15))
        case 40..<45:
            submit(
                .compareAndWrite, start: start, count: min(count, process.longestComparison),
                forceUnitAccess: world.chance(15))
        case 45..<75: submit(.read, start: start, count: count)
        case 75..<85: submit(.flush, start: 0, count: 0)
        case 85..<93: submit(.writeZeroes, start: start, count: count, forceUnitAccess: world.chance(15))
        default: submit(.deallocate, start: start, count: count)
        }
    }

    func submit(_ kind: BlockOperation, start: Int, count: Int, forceUnitAccess: Bool = false) {
        process.touch()
        var buffer: UnsafeMutableRawPointer?
        if kind == .read || kind == .write || kind == .compareAndWrite {
            guard let taken = takeBuffer() else { return }
            buffer = taken
        }
        cookies += 1
        let request = HostRequest(
            kind, start: UInt64(places.address(of: start)), count: UInt64(count),
            buffer: UInt64(UInt(bitPattern: buffer)),
            cookie: cookies, forceUnitAccess: forceUnitAccess)
        let id = world.nextValue()
        var operation = Running(
            request: request, start: start, value: kind == .write || kind == .compareAndWrite ? id : 0, id: id,
            startedSequence: world.history.sequence,
            startedAt: world.network.now.nanoseconds, isLate: world.isServed(after: process))
        if kind == .write, let buffer {
            for place in 0..<count { lay(id, of: start + place, in: buffer, place: place) }
        }
        if kind == .compareAndWrite, let buffer { fill(buffer, &operation) }
        // Blocks that came with a growth since are unknown to it.
        if kind == .read, operation.isLate, let snapshots = process.deposedSnapshots, start + count <= snapshots.count {
            operation.snapshots = Array(snapshots[start..<start + count])
        }
        if kind != .flush, !operation.isLate {
            for block in start..<start + count {
                if kind == .read || kind == .compareAndWrite {
                    operation.snapshots.append(world.history.snapshot(block))
                }
                if kind != .read { world.history.writeStarted(block, id: id, value: operation.value) }
            }
        }
        if world.profile.onlyFaulty != nil {
            operation.isOverdueAt = world.network.now.advanced(byNanoseconds: VolumeWorld.longestOperation)
        }
        running[cookies] = operation
        world.trace {
            "h\(self.process.number) submit \(kind) \(start)+\(count)\(forceUnitAccess ? " FUA" : "") value \(operation.value)"
                + (operation.isLate ? ", deposed" : "")
        }
        world.count(kind)
        if !process.submit(request) {
            running[cookies] = nil
            abandon(operation)
            giveBuffer(request)
        }
    }

    /// Lays out what a compare-and-write compares with, which is mostly what the blocks may hold, and behind it what it
    /// writes.
    private func fill(_ buffer: UnsafeMutableRawPointer, _ operation: inout Running) {
        let (start, count) = (operation.start, Int(operation.request.count))
        for place in 0..<count {
            let candidates = world.history.blocks[start + place].candidates
            let expected = world.chance(15) ? world.nextValue() : candidates[world.below(candidates.count)]
            operation.expected.append(expected)
            lay(expected, of: start + place, in: buffer, place: place)
            lay(operation.id, of: start + place, in: buffer, place: count + place)
        }
    }

    /// Lays out what a block holds, at a place of the buffer counted in blocks.
    private func lay(_ value: UInt64, of block: Int, in buffer: UnsafeMutableRawPointer, place: Int) {
        let size = world.wordsPerBlock * 8
        BlockContent.lay(value, of: block, in: UnsafeMutableRawBufferPointer(start: buffer + place * size, count: size))
    }

    // MARK: Buffers

    private func takeBuffer() -> UnsafeMutableRawPointer? {
        guard let buffer = process.allocate(bufferBytes) else { return nil }
        if !buffers.insert(buffer).inserted {
            // All bytes equal the first if each equals the one before it.
            let isPoison =
                buffer.load(as: UInt8.self) == Self.poison && memcmp(buffer, buffer + 1, bufferBytes - 1) == 0
            if !isPoison {
                world.fail(.bufferWritten, "h\(process.number): a buffer that had been given back was written")
            }
        }
        return buffer
    }

    /// The buffer is ours again, and is used for something else at once.
    private func giveBuffer(_ request: HostRequest) {
        guard let buffer = UnsafeMutableRawPointer(bitPattern: UInt(request.buffer)) else { return }
        memset(buffer, Int32(Self.poison), bufferBytes)
        process.free(buffer)
    }

    // MARK: Completion

    func completed(_ completion: HostCompletion) {
        guard process.isAlive else { return }
        guard let operation = running.removeValue(forKey: completion.cookie) else {
            return world.fail(.completedTwice, "h\(process.number): I/O \(completion.cookie) completed twice")
        }
        let request = operation.request
        world.network.note(completion.cookie ^ UInt64(completion.status.rawValue) << 32)
        world.trace {
            "h\(self.process.number) \(completion.status) \(request.operation) \(request.start)+\(request.count) value \(operation.value)"
        }
        lastStatus = completion.status
        if operation.isOverdueAt < world.network.now {
            world.fail(
                .notAvailable,
                "h\(process.number): \(request.operation) took longer than "
                    + "\(VolumeWorld.longestOperation / 1_000_000) ms, with one member at fault")
        }
        world.look(at: process)
        check(operation, completion.status)
        giveBuffer(request)
    }

    private func check(_ operation: Running, _ status: BlockStatus) {
        if status == .compareFailure { return checkMiscompare(operation) }
        guard status == .success else {
            // One that was given back while the volume was suspended may be in a member's cache alone, as one that failed.
            if !operation.isLate { abandon(operation, isFailed: status.isOfTheMedia || status == .unavailable) }
            if !world.isExplained(status) {
                world.fail(.unexplainedError, "h\(process.number): \(status), and no disk is at fault")
            }
            return world.note(status)
        }
        world.completedOperations += 1
        switch operation.request.operation {
        case .flush: if !operation.isLate { world.history.flushed(since: operation.startedSequence) }
        case .write, .writeZeroes, .deallocate: checkWrite(operation)
        case .compareAndWrite:
            checkComparison(operation)
            checkWrite(operation)
        case .compare: break
        case .read: checkRead(operation)
        case .verify: break
        }
    }

    private func checkWrite(_ operation: Running) {
        let request = operation.request
        guard !operation.isLate else {
            return world.fail(
                .acknowledgedAfterDeposition,
                "h\(process.number): a write submitted after its deposition was acknowledged")
        }
        world.acknowledged()
        for block in operation.blocks {
            let isPossible = world.history.writeAcknowledged(
                block,
                BlockHistory.Acknowledgement(
                    id: operation.id, value: operation.value, isDurable: request.forceUnitAccess,
                    writer: volume.attachmentKey, holders: volume.holders,
                    startedAt: operation.startedAt, lastStop: world.lastLosses(of: block)))
            if !isPossible {
                world.fail(
                    .contents,
                    "h\(process.number): block \(block): \(operation.value) was acknowledged, and had been ruled out")
            }
        }
    }

    /// Values that a block may have held while a compare-and-write ran, without its own; `nil` if nothing is known.
    private func possible(_ operation: Running, _ index: Int) -> [UInt64]? {
        let state = world.history.blocks[operation.start + index]
        if state.isUnknown { return nil }
        return (state.candidates + operation.snapshots[index].candidates).filter { $0 != operation.value }
    }

    /// A comparison found what was expected: it must have been possible.
    private func checkComparison(_ operation: Running) {
        guard !operation.isLate, !world.isServed(after: process) else { return }
        for (index, expected) in operation.expected.enumerated() {
            guard let possible = possible(operation, index), !possible.contains(expected) else { continue }
            world.fail(
                .contents,
                "h\(process.number): block \(operation.start + index) compared equal to \(expected); possible: "
                    + "\(possible)")
        }
    }

    /// A comparison found something else: one block at least may have held it, and nothing was written.
    private func checkMiscompare(_ operation: Running) {
        guard !operation.isLate else { return }
        world.completedOperations += 1
        world.meet(.miscompared)
        let differs = operation.expected.enumerated().contains { index, expected in
            possible(operation, index)?.contains { $0 != expected } ?? true
        }
        if !differs, !world.isServed(after: process) {
            world.fail(
                .contents,
                "h\(process.number): blocks from \(operation.start) on hold \(operation.expected) and compared unequal"
            )
        }
        for block in operation.blocks {
            world.history.writeRefused(block, id: operation.id, value: operation.value)
        }
    }

    private func checkRead(_ operation: Running) {
        let request = operation.request
        // The members may be another initiator's by now, which this one cannot know: what it reads may be old.
        let mayBeOld = operation.isLate || world.isServed(after: process)
        guard !operation.snapshots.isEmpty, let buffer = UnsafeRawPointer(bitPattern: UInt(request.buffer))
        else { return }
        let size = world.wordsPerBlock * 8
        for index in 0..<Int(request.count) {
            let block = operation.start + index
            let content = UnsafeRawBufferPointer(start: buffer + index * size, count: size)
            guard let value = BlockContent.value(of: block, in: content) else {
                if !world.history.blocks[block].isUnknown {
                    world.fail(.tornBlock, "h\(process.number): block \(block) \(BlockContent.describe(content))")
                }
                continue
            }
            let snapshot = operation.snapshots[index]
            if mayBeOld {
                if !world.history.wasPossible(block, value, since: snapshot) {
                    world.fail(
                        .contents,
                        "h\(process.number), deposed: block \(block): read \(value), which it has not held since it held "
                            + "one of \(snapshot.candidates)")
                }
                continue
            }
            let candidates = world.history.blocks[block].candidates
            let isLegal = world.history.readReturned(
                block, value, snapshot: snapshot)
            if !isLegal {
                world.fail(.contents, "h\(process.number): block \(block): read \(value); possible: \(candidates)")
            }
        }
    }

    private func abandon(_ operation: Running, isFailed: Bool = false) {
        let request = operation.request
        guard request.operation != .read, request.operation != .flush else { return }
        for block in operation.blocks {
            if isFailed {
                world.history.writeFailed(block, id: operation.id, startedAt: operation.startedAt)
            } else {
                world.history.writeAbandoned(block, id: operation.id)
            }
        }
    }

    /// The process is gone: what it had not heard of may be there or not.
    func die() {
        isStopped = true
        sink.workload = nil
        for cookie in running.keys.sorted() {
            if let operation = running[cookie], !operation.isLate { abandon(operation) }
        }
        running = [:]
    }
}

extension BlockStatus {
    /// No member could do it.
    fileprivate var isOfTheMedia: Bool {
        self == .unrecoveredReadError || self == .writeFault || self == .capacityExceeded
    }
}
