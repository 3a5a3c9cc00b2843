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

/// Keeps one queue at its depth.
final class BenchWorker: LoadWorker, @unchecked Sendable {
    let plan: BenchPlan
    private let queue: IOQueue
    var group: InitiatorGroup { queue.group }
    private let readMemory: DataMemory
    private let writeMemory: DataMemory
    private let sink = Sink()
    private let slots: UnsafeMutablePointer<Slot>
    private var units: LoadUnits
    private var submittedCount: UInt64 = 0
    private(set) var counts = BenchCounts()
    private(set) var readLatency = BenchWorker.histogram()
    private(set) var writeLatency = BenchWorker.histogram()

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

    init(_ plan: BenchPlan, queue: IOQueue, readMemory: DataMemory, writeMemory: DataMemory) {
        self.plan = plan
        self.queue = queue
        self.readMemory = readMemory
        self.writeMemory = writeMemory
        slots = .allocate(capacity: plan.depth)
        slots.initialize(repeating: Slot(), count: plan.depth)
        units = LoadUnits(plan.unitCount, isRandom: plan.isRandom, tracked: plan.verify, seed: plan.seed)
        super.init(depth: plan.depth)
        sink.worker = self
        queue.sink = sink
    }

    deinit {
        slots.deallocate()
        units.deallocate()
    }

    /// Runs until `end`; with verification, reads everything back that was written. Returns when nothing is under way.
    func run(until end: MonotonicTime) async {
        await withCheckedContinuation { continuation in
            queue.group.send {
                self.end = end
                self.begin(.running, continuation)
            }
        }
    }

    override func nextPhase(_ now: MonotonicTime) -> Phase {
        switch phase {
        case .running where now >= end || submittedCount >= plan.ioCount || counts.mismatch != nil:
            units.startReadingBack()
            return plan.verify && counts.mismatch == nil ? .readingBack : .ending
        case .readingBack where units.isReadBack || counts.mismatch != nil: return .ending
        default: return phase
        }
    }

    override func submit() -> Int {
        var submitted = 0
        let now = freeSlot == nil ? MonotonicTime(nanoseconds: 0) : MonotonicTime.now()
        while let index = freeSlot, let unit = phase == .readingBack ? units.nextWritten() : units.next() {
            let isRead = phase == .readingBack || units.chance(plan.readPercentage)
            guard submit(index, unit, isRead: isRead, now) else { break }
            take()
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
            slot.pointee.version = units.version(unit)
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
        units.use(unit)
        return true
    }

    private func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        let now = MonotonicTime.now()
        for completion in completions {
            let index = Int(completion.tag)
            let slot = slots + index
            give(index)
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
                units.leave(slot.pointee.unit, version: isRead ? slot.pointee.version : 0)
            }
        }
        goOn(now)
    }

    private func check(_ index: Int, _ slot: Slot) {
        units.leave(slot.unit, version: slot.version)
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
