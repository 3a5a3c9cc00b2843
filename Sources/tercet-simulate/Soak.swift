import Foundation
import VolumeSimulation

/// Many seeds in several processes.
struct Soak {
    let first: UInt64
    let seeds: UInt64?
    let minutes: Double?
    let jobs: Int
    /// Seconds of real time that a world may take.
    let timeLimit: TimeInterval
    let kind: WorldKind
    let printsHashes: Bool
    /// The run ends when the oracle that is meant for its variant has noticed something.
    let isUntilNoticed: Bool
    private var isNoticed = false

    private var counts = SimulationCounts()
    private var failures: [(seed: UInt64, kind: String, reason: String)] = []
    private let started = Date()
    private var lastProgress = Date()

    init(
        first: UInt64, seeds: UInt64?, minutes: Double?, jobs: Int, timeLimit: TimeInterval, kind: WorldKind,
        printsHashes: Bool, isUntilNoticed: Bool = false
    ) {
        self.isUntilNoticed = isUntilNoticed
        self.timeLimit = timeLimit
        self.first = first
        self.seeds = seeds
        self.minutes = minutes
        self.jobs = seeds.map { min(jobs, Int(clamping: max($0, 1))) } ?? jobs
        self.kind = kind
        self.printsHashes = printsHashes
    }

    /// How often progress is told, in seconds, and after how many failures a run is given up.
    private static let progressInterval = 30.0
    private static let failureLimit = 100

    /// Runs the seeds and reports; `true` where all were sound.
    mutating func run() throws -> Bool {
        let step = UInt64(jobs)
        var workers: [WorkerProcess] = []
        for job in 0..<step {
            if let count = count(of: job), count > 0 {
                workers.append(try WorkerProcess(first: first &+ job, step: step, seeds: count, kind: kind))
            } else if seeds == nil {
                workers.append(try WorkerProcess(first: first &+ job, step: step, seeds: nil, kind: kind))
            }
        }
        while !workers.isEmpty {
            var polled = workers.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            _ = poll(&polled, nfds_t(polled.count), 1000)
            for (place, worker) in workers.enumerated() where polled[place].revents != 0 {
                for event in worker.read() { try take(event, worker, &workers) }
            }
            for worker in workers {
                if let failure = worker.endIfOverdue(timeLimit) { try giveUp(worker, failure, &workers) }
            }
            workers.removeAll { $0.isEnded }
            tellProgress()
            let isOver = minutes.map { Date().timeIntervalSince(started) >= $0 * 60 } ?? false
            if isOver || isNoticed || (!isUntilNoticed && failures.count >= Self.failureLimit) {
                for worker in workers { worker.stop() }
                workers = []
            }
        }
        if isUntilNoticed, let variant = kind.variant {
            let kinds = Dictionary(grouping: failures, by: \.kind).map { "\($1.count) \($0)" }.sorted()
            print(
                "\(variant.name): \(isNoticed ? "noticed" : "NOT noticed") by \(variant.oracle.rawValue); \(summary); \(kinds)"
            )
            return isNoticed
        }
        report()
        return failures.isEmpty
    }

    /// How many seeds one of the jobs has.
    private func count(of job: UInt64) -> UInt64? {
        seeds.map { ($0 + UInt64(jobs) - 1 - job) / UInt64(jobs) }
    }

    private mutating func take(_ event: WorkerProcess.Event, _ worker: WorkerProcess, _ workers: inout [WorkerProcess])
        throws
    {
        switch event {
        case .traced: break
        case .counts(let more): counts.add(more)
        case .ended(let seed, let hash, let failure):
            if printsHashes { print("seed \(seed): \(hash)") }
            if let failure { failed(seed, failure) }
        case .died(nil): break
        case .died(let failure?): try giveUp(worker, failure, &workers)
        }
    }

    /// The world that a worker ran was its last: the others of its seeds are run by another process.
    private mutating func giveUp(_ worker: WorkerProcess, _ failure: WorldFailure, _ workers: inout [WorkerProcess])
        throws
    {
        failed(worker.seed, failure)
        let next = worker.seed &+ UInt64(jobs)
        let done = (worker.seed - first) / UInt64(jobs) + 1
        let left = count(of: (worker.seed - first) % UInt64(jobs)).map { $0 - min($0, done) }
        if left != 0 {
            workers.append(try WorkerProcess(first: next, step: UInt64(jobs), seeds: left, kind: kind))
        }
    }

    private mutating func failed(_ seed: UInt64, _ failure: WorldFailure) {
        failures.append((seed, failure.kind, failure.reason))
        if isUntilNoticed, let oracle = kind.variant?.oracle, failure.kind == oracle.rawValue { isNoticed = true }
        print("seed \(seed) FAILED: \(failure.reason)")
        fflush(nil)
    }

    private mutating func tellProgress() {
        guard Date().timeIntervalSince(lastProgress) >= Self.progressInterval else { return }
        lastProgress = Date()
        let seconds = Int(Date().timeIntervalSince(started))
        print("after \(seconds) s: \(summary)")
        fflush(nil)
    }

    private var summary: String {
        let hours = Double(counts.simulated) / 3.6e12
        return "\(counts.worlds) seeds, \(String(format: "%.2f", hours)) simulated hours, \(counts.acknowledged) I/Os, "
            + "\(failures.count) failed"
    }

    private func report() {
        print(counts.report)
        print("\(summary), in \(Int(Date().timeIntervalSince(started))) s")
        for failure in failures {
            print("again: \(kind.command(seed: failure.seed))")
        }
    }
}
