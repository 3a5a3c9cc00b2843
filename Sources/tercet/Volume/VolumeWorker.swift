import Base
import Histogram
import Reactor
import Replication
import VolumeDriver

/// Keeps a volume at its depth with reads and writes that carry a pattern, checks what it reads, and counts by the second.
final class VolumeWorker: LoadWorker, @unchecked Sendable {
    struct Plan: Sendable {
        var startBlock: UInt64
        var readPercentage: UInt64
        var blocksPerUnit: UInt64
        var unitBytes: Int
        var unitCount: UInt64
        var depth: Int
        var seed: UInt64
        /// I/Os after which it ends.
        var ioCount: UInt64
        /// Writes carry a pattern, and reads are checked.
        var verifies: Bool
    }

    /// What happened in one second.
    struct Second: Sendable {
        var count: UInt64 = 0
        var nanoseconds: UInt64 = 0
        var slowest: UInt64 = 0
        /// The fewest members that were in sync.
        var membersInSync = memberCount
    }

    private struct Slot {
        var unit: UInt64 = 0
        var version: UInt32 = 0
        var isRead = false
        var start = MonotonicTime(nanoseconds: 0)
    }

    private final class Sink: VolumeSink {
        unowned(unsafe) var worker: VolumeWorker?
        override func completed(_ completions: UnsafeBufferPointer<HostCompletion>) { worker?.completed(completions) }
    }

    let plan: Plan
    private let volume: Volume
    private let memory: UnsafeMutableRawPointer
    private let sink = Sink()
    private var slots: [Slot]
    private var units: LoadUnits
    private var submittedCount: UInt64 = 0
    private var start = MonotonicTime(nanoseconds: 0)
    private var lastCompletion = MonotonicTime(nanoseconds: 0)
    private(set) var problem: String?
    private(set) var reads: UInt64 = 0
    private(set) var writes: UInt64 = 0
    private(set) var bytesWritten: UInt64 = 0
    /// The longest time in which no I/O completed.
    private(set) var longestSilence: UInt64 = 0
    private(set) var seconds: [Second] = []
    private(set) var readLatency = VolumeWorker.histogram()
    private(set) var writeLatency = VolumeWorker.histogram()

    init(_ plan: Plan, volume: Volume, memory: UnsafeMutableRawPointer) {
        self.plan = plan
        self.volume = volume
        self.memory = memory
        slots = Array(repeating: Slot(), count: plan.depth)
        units = LoadUnits(plan.unitCount, isRandom: true, tracked: true, seed: plan.seed)
        super.init(depth: plan.depth)
        sink.worker = self
        volume.sink = sink
    }

    deinit { units.deallocate() }

    /// Runs until `end`, then reads back all that was written. On the reactor's thread.
    func run(until end: MonotonicTime, _ finished: CheckedContinuation<Void, Never>) {
        start = .now()
        lastCompletion = start
        self.end = end
        begin(.running, finished)
    }

    override func nextPhase(_ now: MonotonicTime) -> Phase {
        switch phase {
        case .running where now >= end || submittedCount >= plan.ioCount || problem != nil:
            units.startReadingBack()
            return plan.verifies && problem == nil ? .readingBack : .ending
        case .readingBack where units.isReadBack || problem != nil: return .ending
        default: return phase
        }
    }

    override func submit() -> Int {
        var submitted = 0
        while let index = freeSlot, let unit = phase == .readingBack ? units.nextWritten() : units.next() {
            let isRead = phase == .readingBack || units.chance(plan.readPercentage)
            let data = memory + index * plan.unitBytes
            slots[index] = Slot(unit: unit, version: units.version(unit), isRead: isRead)
            if !isRead {
                slots[index].version &+= 1
                if plan.verifies {
                    BenchPattern.fill(data, bytes: plan.unitBytes, unit: unit, version: slots[index].version)
                }
            }
            slots[index].start = .now()
            let accepted = volume.submit(
                HostRequest(
                    isRead ? .read : .write, start: plan.startBlock + unit * plan.blocksPerUnit,
                    count: plan.blocksPerUnit,
                    buffer: UInt64(UInt(bitPattern: data)), cookie: UInt64(index)))
            guard accepted else { break }
            units.use(unit)
            take()
            submitted += 1
            submittedCount += 1
            if phase == .running, submittedCount >= plan.ioCount { break }
        }
        return submitted
    }

    private func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {
        let now = MonotonicTime.now()
        longestSilence = max(longestSilence, now.nanoseconds(since: lastCompletion))
        lastCompletion = now
        for completion in completions {
            let index = Int(completion.cookie)
            let slot = slots[index]
            give(index)
            guard completion.status == .success else {
                units.leave(slot.unit, version: slot.isRead ? slot.version : 0)
                problem = problem ?? "\(slot.isRead ? "read" : "write") of unit \(slot.unit): \(completion.status)"
                continue
            }
            units.leave(slot.unit, version: slot.version)
            let took = now.nanoseconds(since: slot.start)
            if phase != .readingBack { count(took, at: now) }
            if slot.isRead {
                reads += 1
                readLatency.record(took)
                if plan.verifies, slot.version != 0,
                    !BenchPattern.matches(
                        memory + index * plan.unitBytes, bytes: plan.unitBytes, unit: slot.unit, version: slot.version)
                {
                    problem = problem ?? "unit \(slot.unit) does not hold what write \(slot.version) put there"
                }
            } else {
                writes += 1
                bytesWritten += UInt64(plan.unitBytes)
                writeLatency.record(took)
            }
        }
        goOn(now)
    }

    private func count(_ took: UInt64, at now: MonotonicTime) {
        // What ends after the time is up was begun in the last second.
        let second = Int(min(now, end).nanoseconds(since: start) / 1_000_000_000)
        while seconds.count <= second { seconds.append(Second()) }
        seconds[second].count += 1
        seconds[second].nanoseconds += took
        seconds[second].slowest = max(seconds[second].slowest, took)
        seconds[second].membersInSync = min(seconds[second].membersInSync, volume.membersInSync)
    }
}
