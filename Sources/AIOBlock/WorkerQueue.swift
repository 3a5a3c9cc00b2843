import Base
import BlockInterface
import CLinux
import Glibc
import Synchronization

/// A job for the worker.
struct WorkerJob: BitwiseCopyable {
    /// The channel's slot, which comes back with the result.
    var slot: OperationIndex
    var operation: BlockOperation
    var flags: BlockFlags
    var offset: UInt64
    var length: UInt64
}

/// How a job ended.
struct WorkerResult: BitwiseCopyable {
    var slot: OperationIndex
    var status: BlockStatus
}

/// Jobs of one channel on their way to the worker, and results on their way back: two rings, each with one writer and
/// one reader, and room for a job of every slot, so that neither is ever full.
final class WorkerQueue: @unchecked Sendable {
    // Unchecked: each ring has one writer and one reader, and their positions are atomic.

    private let mask: Int
    private let jobs: UnsafeMutablePointer<WorkerJob>
    private let results: UnsafeMutablePointer<WorkerResult>
    /// For each slot, who has its job: 0 nobody yet, 1 the worker, 2 the channel that withdrew it.
    private let claims: UnsafeMutablePointer<Atomic<UInt8>>
    private let depth: Int
    private let jobsWritten = Atomic<Int>(0)
    private let jobsRead = Atomic<Int>(0)
    private let resultsWritten = Atomic<Int>(0)
    private let resultsRead = Atomic<Int>(0)
    /// Told about each result; the channel's own descriptor, duplicated: a channel may close before its jobs end.
    private let eventDescriptor: Int32

    init(depth: Int, eventDescriptor: Int32) {
        var capacity = 1
        while capacity < depth { capacity *= 2 }
        mask = capacity - 1
        self.depth = depth
        jobs = .allocate(capacity: capacity)
        results = .allocate(capacity: capacity)
        claims = .allocate(capacity: depth)
        for slot in 0..<depth { (claims + slot).initialize(to: Atomic(0)) }
        self.eventDescriptor = fcntl(eventDescriptor, F_DUPFD_CLOEXEC, 0)
    }

    deinit {
        jobs.deallocate()
        results.deallocate()
        claims.deinitialize(count: depth)
        claims.deallocate()
        close(eventDescriptor)
    }

    // MARK: The channel's side

    func post(_ job: WorkerJob) {
        let written = jobsWritten.load(ordering: .relaxed)
        invariant(written &- jobsRead.load(ordering: .acquiring) <= mask, "a slot has one job at most")
        claims[job.slot.offset].store(0, ordering: .relaxed)
        jobs[written & mask] = job
        jobsWritten.store(written &+ 1, ordering: .releasing)
    }

    /// Withdraws a slot's job; false when the worker has begun it. The result still comes, as `aborted`.
    func withdraw(_ slot: OperationIndex) -> Bool {
        claims[slot.offset].compareExchange(expected: 0, desired: 2, ordering: .acquiringAndReleasing).exchanged
    }

    func nextResult() -> WorkerResult? {
        let read = resultsRead.load(ordering: .relaxed)
        guard read != resultsWritten.load(ordering: .acquiring) else { return nil }
        let result = results[read & mask]
        resultsRead.store(read &+ 1, ordering: .releasing)
        return result
    }

    // MARK: The worker's side

    func take() -> WorkerJob? {
        let read = jobsRead.load(ordering: .relaxed)
        guard read != jobsWritten.load(ordering: .acquiring) else { return nil }
        let job = jobs[read & mask]
        jobsRead.store(read &+ 1, ordering: .releasing)
        return job
    }

    func claim(_ slot: OperationIndex) -> Bool {
        claims[slot.offset].compareExchange(expected: 0, desired: 1, ordering: .acquiringAndReleasing).exchanged
    }

    func finish(slot: OperationIndex, status: BlockStatus) {
        let written = resultsWritten.load(ordering: .relaxed)
        results[written & mask] = WorkerResult(slot: slot, status: status)
        resultsWritten.store(written &+ 1, ordering: .releasing)
        var one: UInt64 = 1
        _ = write(eventDescriptor, &one, 8)
    }
}
