import Base
import Histogram
import NVMeInitiator
import Reactor

/// What one worker is to do.
struct BenchPlan: Sendable {
    /// Share of reads, 0 to 100.
    var readPercentage: UInt64
    var isRandom: Bool
    var blockSize: Int
    var depth: Int
    var namespace: NamespaceDescription
    /// The worker's own units of `blockSize` bytes: first one, and how many.
    var firstUnit: UInt64
    var unitCount: UInt64
    var verify: Bool
    var seed: UInt64
    /// I/Os to submit at most.
    var ioCount: UInt64
}

/// What a worker counted; read by others through the reactor.
struct BenchCounts: Sendable {
    var reads: UInt64 = 0
    var writes: UInt64 = 0
    /// Answered with an error status, not done, and not known, in this order.
    var failed: UInt64 = 0
    var notDone: UInt64 = 0
    var unknown: UInt64 = 0
    var firstProblem: String?
    var mismatch: String?
}

/// Keeps one queue at its depth. Lives on the queue's reactor; nothing is allocated after `start`.
final class BenchWorker: Poller, @unchecked Sendable {
    let plan: BenchPlan
    private let queue: IOQueue
    var group: InitiatorGroup { queue.group }
    private let readMemory: DataMemory
    private let writeMemory: DataMemory
    private let sink = Sink()
    private let slots: UnsafeMutablePointer<Slot>
    private let free: UnsafeMutablePointer<Int32>
    private var freeCount: Int
    /// Writes to each unit: 0 where its content is not known. An odd highest bit marks a unit that is being used.
    private let versions: UnsafeMutablePointer<UInt32>
    private var random: BenchRandom
    private var cursor: UInt64 = 0
    private var submittedCount: UInt64 = 0
    private var phase = Phase.idle
    private var end = MonotonicTime.distantFuture
    private var finished: CheckedContinuation<Void, Never>?
    private(set) var counts = BenchCounts()
    private(set) var readLatency = BenchWorker.histogram()
    private(set) var writeLatency = BenchWorker.histogram()

    private enum Phase { case idle, running, readingBack, ending }

    private struct Slot {
        var unit: UInt64 = 0
        var version: UInt32 = 0
        var isRead = false
        var start = MonotonicTime(nanoseconds: 0)
    }

    private final class Sink: CompletionSink {
        unowned(unsafe) var worker: BenchWorker?
        override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) { worker?.completed(completions) }
    }

    private static let busy: UInt32 = 1 << 31

    private static func histogram() -> Histogram<UInt64> {
        Histogram<UInt64>(
            lowestDiscernibleValue: 100, highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .three)
    }

    init(_ plan: BenchPlan, queue: IOQueue, readMemory: DataMemory, writeMemory: DataMemory) {
        self.plan = plan
        self.queue = queue
        self.readMemory = readMemory
        self.writeMemory = writeMemory
        slots = .allocate(capacity: plan.depth)
        slots.initialize(repeating: Slot(), count: plan.depth)
        free = .allocate(capacity: plan.depth)
        for index in 0..<plan.depth { free[index] = Int32(index) }
        freeCount = plan.depth
        let versionCount = plan.verify ? Int(plan.unitCount) : 1
        versions = .allocate(capacity: versionCount)
        versions.initialize(repeating: 0, count: versionCount)
        random = BenchRandom(seed: plan.seed)
        super.init()
        sink.worker = self
        queue.sink = sink
    }

    deinit {
        slots.deallocate()
        free.deallocate()
        versions.deallocate()
    }

    /// Runs until `end`; with verification, reads everything back that was written. Returns when nothing is under way.
    func run(until end: MonotonicTime) async {
        await withCheckedContinuation { continuation in
            queue.group.send {
                self.end = end
                self.phase = .running
                self.finished = continuation
            }
        }
    }

    override func poll(now: MonotonicTime) -> Int {
        guard phase != .idle else { return 0 }
        switch phase {
        case .running where now >= end || submittedCount >= plan.ioCount || counts.mismatch != nil:
            phase = plan.verify && counts.mismatch == nil ? .readingBack : .ending
            cursor = 0
        case .readingBack where cursor >= plan.unitCount || counts.mismatch != nil:
            phase = .ending
        default: break
        }
        if phase == .ending {
            if freeCount == plan.depth {
                phase = .idle
                finished?.resume()
                finished = nil
            }
            return 0
        }
        return submit()
    }

    override var nextDeadline: MonotonicTime { phase == .running ? end : .distantFuture }

    /// Fills the queue up; returns how many operations were submitted.
    private func submit() -> Int {
        var submitted = 0
        let now = freeCount > 0 ? MonotonicTime.now() : MonotonicTime(nanoseconds: 0)
        while freeCount > 0 {
            guard let unit = nextUnit() else { break }
            let isRead = phase == .readingBack || random.next(below: 100) < plan.readPercentage
            let index = Int(free[freeCount - 1])
            guard submit(index, unit, isRead: isRead, now) else { break }
            freeCount -= 1
            submittedCount += 1
            if phase == .running, submittedCount >= plan.ioCount { break }
            submitted += 1
        }
        return submitted
    }

    private func submit(_ index: Int, _ unit: UInt64, isRead: Bool, _ now: MonotonicTime) -> Bool {
        let slot = slots + index
        slot.pointee.unit = unit
        slot.pointee.isRead = isRead
        slot.pointee.start = now
        let memory = (isRead ? readMemory : writeMemory).part(index * plan.blockSize, plan.blockSize)
        if plan.verify {
            slot.pointee.version = versions[Int(unit)] & ~Self.busy
            if !isRead {
                slot.pointee.version = slot.pointee.version &+ 1
                BenchPattern.fill(
                    memory.address, bytes: plan.blockSize, unit: plan.firstUnit + unit, version: slot.pointee.version)
            }
        }
        let blocks = UInt64(plan.blockSize / plan.namespace.blockSize)
        let result = queue.submit(
            IOOperation(
                isRead ? .read : .write, namespace: plan.namespace.index,
                startingLBA: (plan.firstUnit + unit) * blocks, blockCount: blocks, data: memory, tag: UInt64(index)))
        guard result == .accepted else { return false }
        if plan.verify { versions[Int(unit)] |= Self.busy }
        return true
    }

    /// The next unit that nothing is under way on; `nil` where there is none for now.
    private func nextUnit() -> UInt64? {
        if phase == .readingBack {
            // In order, and only what was written.
            while cursor < plan.unitCount {
                let version = versions[Int(cursor)]
                if version & Self.busy != 0 { return nil }
                cursor += 1
                if version != 0 { return cursor - 1 }
            }
            return nil
        }
        for _ in 0..<4 {
            let unit = plan.isRandom ? random.next(below: plan.unitCount) : cursor
            if !plan.isRandom { cursor = cursor + 1 == plan.unitCount ? 0 : cursor + 1 }
            if !plan.verify || versions[Int(unit)] & Self.busy == 0 { return unit }
        }
        return nil
    }

    private func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        let now = MonotonicTime.now()
        for completion in completions {
            let index = Int(completion.tag)
            let slot = slots + index
            free[freeCount] = Int32(index)
            freeCount += 1
            let isRead = slot.pointee.isRead
            if completion.isSuccess {
                let latency = now.nanoseconds(since: slot.pointee.start)
                if phase != .readingBack {
                    if isRead { counts.reads += 1 } else { counts.writes += 1 }
                    if isRead { readLatency.record(latency) } else { writeLatency.record(latency) }
                }
                if plan.verify { check(index, slot.pointee) }
            } else {
                count(completion, slot.pointee)
                // What the unit holds now is not known.
                if plan.verify { versions[Int(slot.pointee.unit)] = isRead ? slot.pointee.version : 0 }
            }
        }
        if phase == .running || phase == .readingBack { _ = poll(now: now) }
    }

    private func check(_ index: Int, _ slot: Slot) {
        versions[Int(slot.unit)] = slot.version
        guard slot.isRead, slot.version != 0, counts.mismatch == nil else { return }
        let memory = readMemory.segment.address + index * plan.blockSize
        let unit = plan.firstUnit + slot.unit
        guard !BenchPattern.matches(memory, bytes: plan.blockSize, unit: unit, version: slot.version) else { return }
        counts.mismatch = "unit \(unit) (\(plan.blockSize) bytes each) does not hold what write \(slot.version) wrote"
    }

    private func count(_ completion: IOCompletion, _ slot: Slot) {
        switch completion.outcome {
        case .surelyDone: counts.failed += 1
        case .surelyNotDone: counts.notDone += 1
        case .unknown: counts.unknown += 1
        }
        if counts.firstProblem == nil {
            let what = slot.isRead ? "read" : "write"
            counts.firstProblem = "\(what) of unit \(plan.firstUnit + slot.unit): \(completion.problem ?? "")"
        }
    }
}
