import Base
import Histogram
import Reactor
import Replication
import VolumeDriver

/// Keeps a volume at its depth with reads and writes that carry a pattern, checks what it reads, and counts by the second.
/// Lives on the volume's reactor.
final class VolumeWorker: Poller, @unchecked Sendable {
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

    private enum Phase { case idle, running, readingBack, ending }

    let plan: Plan
    private let volume: Volume
    private let memory: UnsafeMutableRawPointer
    private let sink = Sink()
    private var slots: [Slot]
    private var free: [Int]
    private var versions: [UInt32]
    private var isBusy: [Bool]
    private var random: BenchRandom
    private var cursor: UInt64 = 0
    private var submittedCount: UInt64 = 0
    private var phase = Phase.idle
    private var begin = MonotonicTime(nanoseconds: 0)
    private var end = MonotonicTime.distantFuture
    private var lastCompletion = MonotonicTime(nanoseconds: 0)
    private var finished: CheckedContinuation<Void, Never>?
    private(set) var problem: String?
    private(set) var reads: UInt64 = 0
    private(set) var writes: UInt64 = 0
    private(set) var bytesWritten: UInt64 = 0
    /// The longest time in which no I/O completed.
    private(set) var longestSilence: UInt64 = 0
    private(set) var seconds: [Second] = []
    private(set) var readLatency = VolumeWorker.histogram()
    private(set) var writeLatency = VolumeWorker.histogram()

    private static func histogram() -> Histogram<UInt64> {
        Histogram<UInt64>(
            lowestDiscernibleValue: 100, highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .three)
    }

    init(_ plan: Plan, volume: Volume, memory: UnsafeMutableRawPointer) {
        self.plan = plan
        self.volume = volume
        self.memory = memory
        slots = Array(repeating: Slot(), count: plan.depth)
        free = Array(0..<plan.depth)
        versions = Array(repeating: 0, count: Int(plan.unitCount))
        isBusy = Array(repeating: false, count: Int(plan.unitCount))
        random = BenchRandom(seed: plan.seed)
        super.init()
        sink.worker = self
        volume.sink = sink
    }

    /// Runs until `end`, then reads back all that was written. On the reactor's thread.
    func run(until end: MonotonicTime, _ finished: CheckedContinuation<Void, Never>) {
        begin = .now()
        lastCompletion = begin
        self.end = end
        self.finished = finished
        phase = .running
    }

    override func poll(now: MonotonicTime) -> Int {
        switch phase {
        case .idle: return 0
        case .running where now >= end || submittedCount >= plan.ioCount || problem != nil:
            phase = plan.verifies && problem == nil ? .readingBack : .ending
            cursor = 0
        case .readingBack where cursor >= plan.unitCount || problem != nil: phase = .ending
        default: break
        }
        if phase == .ending {
            if free.count == plan.depth {
                phase = .idle
                finished?.resume()
                finished = nil
            }
            return 0
        }
        return submit()
    }

    override var nextDeadline: MonotonicTime { phase == .running ? end : .distantFuture }

    private func submit() -> Int {
        var submitted = 0
        while let index = free.last, let unit = nextUnit() {
            let isRead = phase == .readingBack || random.next(below: 100) < plan.readPercentage
            let data = memory + index * plan.unitBytes
            slots[index] = Slot(unit: unit, version: versions[Int(unit)], isRead: isRead)
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
            isBusy[Int(unit)] = true
            free.removeLast()
            submitted += 1
            submittedCount += 1
            if phase == .running, submittedCount >= plan.ioCount { break }
        }
        return submitted
    }

    /// The next unit that nothing is under way on.
    private func nextUnit() -> UInt64? {
        if phase == .readingBack {
            while cursor < plan.unitCount {
                if isBusy[Int(cursor)] { return nil }
                cursor += 1
                if versions[Int(cursor - 1)] != 0 { return cursor - 1 }
            }
            return nil
        }
        for _ in 0..<8 {
            let unit = random.next(below: plan.unitCount)
            if !isBusy[Int(unit)] { return unit }
        }
        return nil
    }

    private func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {
        let now = MonotonicTime.now()
        longestSilence = max(longestSilence, now.nanoseconds(since: lastCompletion))
        lastCompletion = now
        for completion in completions {
            let index = Int(completion.cookie)
            let slot = slots[index]
            free.append(index)
            isBusy[Int(slot.unit)] = false
            guard completion.status == .success else {
                problem = problem ?? "\(slot.isRead ? "read" : "write") of unit \(slot.unit): \(completion.status)"
                continue
            }
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
                versions[Int(slot.unit)] = slot.version
                writeLatency.record(took)
            }
        }
        // The next ones leave in the same round.
        if phase == .running || phase == .readingBack { _ = poll(now: now) }
    }

    private func count(_ took: UInt64, at now: MonotonicTime) {
        // What ends after the time is up was begun in the last second.
        let second = Int(min(now, end).nanoseconds(since: begin) / 1_000_000_000)
        while seconds.count <= second { seconds.append(Second()) }
        seconds[second].count += 1
        seconds[second].nanoseconds += took
        seconds[second].slowest = max(seconds[second].slowest, took)
        seconds[second].membersInSync = min(seconds[second].membersInSync, volume.membersInSync)
    }
}
