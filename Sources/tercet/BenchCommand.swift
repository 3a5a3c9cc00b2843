import ArgumentParser
import Base
import Foundation
import Histogram
import LoadGenerator
import NVMeInitiator
import NVMeSpec
import Reactor
import Terminal

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure reads and writes of a namespace. WRITES DESTROY ITS CONTENTS.",
        discussion: "Latency is counted from submission to completion; percentiles come from an HDR histogram.")

    @OptionGroup var subsystem: SubsystemArguments

    @Option(help: "Namespace; needed where there are several.") var nsid: UInt32?

    @Option(name: .customLong("rw"), help: "What the I/Os are.")
    var pattern = Pattern.randread

    @Option(name: .customLong("rwmixread"), help: "Share of reads of rw and randrw, in percent.")
    var mix: UInt64 = 50

    @Option(name: .customLong("bs"), help: ByteCount.help("Size of one I/O."))
    var blockSize = ByteCount(4096)

    @Option(name: .customLong("iodepth"), help: "I/Os under way on each queue.") var depth = 32

    @Option(help: "I/O queues, each with a thread of its own.") var queues = 1

    @Option(name: .customLong("runtime"), help: "Seconds.") var seconds: Double = 10

    @Option(
        name: .customLong("number-ios"), help: "End after so many I/Os on each queue, if the time is not up before.")
    var ioCount: UInt64?

    @Option(help: ByteCount.help("How much from the beginning of the namespace to use (default: all)."))
    var size: ByteCount?

    @Flag(help: "Check each read against what was written, and read everything back at the end.") var verify = false

    @Option(help: "Where the I/Os go depends on this number only.") var seed: UInt64 = 1

    @Option(name: .customLong("fast-io-fail-tmo"), help: "Seconds without connection after which I/Os fail.")
    var fastIOFail: UInt64 = 10

    @OptionGroup var poll: PollArguments

    @Flag(help: "Print JSON.") var json = false

    enum Pattern: String, ExpressibleByArgument, CaseIterable {
        case read, write, randread, randwrite, rw, randrw
    }

    func validate() throws {
        guard mix <= 100 else { throw ValidationError("--rwmixread is a percentage") }
        guard (1...1023).contains(depth) else { throw ValidationError("--iodepth is between 1 and 1023") }
        guard (1...64).contains(queues) else { throw ValidationError("--queues is between 1 and 64") }
        guard seconds > 0, seconds < 1e7 else { throw ValidationError("--runtime is more than 0 seconds") }
        guard blockSize.value >= 512, blockSize.value % 512 == 0, blockSize.value <= 64 << 20 else {
            throw ValidationError("--bs is a multiple of 512, at most 64m")
        }
    }

    func run() async throws {
        let session = try Session(reactors: queues, waiting: poll.waiting)
        defer { session.end() }
        var options = try subsystem.options()
        options.queueEntries = depth + 1
        options.operationsPerQueue = depth
        options.fastIOFailMilliseconds = fastIOFail * 1000
        let controller = try await session.connect(options) { BenchCommand.report($0) }
        let namespace = try controller.namespace(nsid)
        let workers = try await makeWorkers(controller, namespace)
        for (index, worker) in workers.enumerated() {
            let reactor = session.reactors[index]
            await session.groups[index].run { reactor.add(worker) }
        }
        let start = MonotonicTime.now()
        let end = start.advanced(byMilliseconds: UInt64(seconds * 1000))
        let progress = showsProgress ? Task { await showProgress(workers, start: start) } : nil
        await withTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { await worker.run(until: end) } }
        }
        progress?.cancel()
        await progress?.value
        let elapsed = min(Double(MonotonicTime.now().nanoseconds(since: start)) / 1e9, seconds)
        let report = await BenchReport(workers, seconds: elapsed, blockSize: blockSize.value)
        await controller.close()
        if json { try printJSON(report.result) } else { report.show() }
        if let mismatch = report.mismatch { throw TercetError(.damaged, "verification failed: \(mismatch)") }
        if let problem = report.counts.firstProblem { throw TercetError(.failed, problem) }
        if verify, !json { print("verified: every read had what was written last") }
    }

    private func makeWorkers(_ controller: Controller, _ namespace: NamespaceDescription) async throws -> [BenchWorker]
    {
        let bytes = blockSize.value
        guard bytes % namespace.blockSize == 0 else {
            throw TercetError(
                .invalid, "--bs \(bytes) is not a multiple of the namespace's block size \(namespace.blockSize)")
        }
        let all = namespace.blockCount.multipliedReportingOverflow(by: UInt64(namespace.blockSize)).partialValue
        let used = size.map { min(UInt64($0.value), all) } ?? all
        let each = used / UInt64(bytes) / UInt64(queues)
        guard each > 0 else {
            throw TercetError(.invalid, "\(used) bytes are too few for \(queues) queues and --bs \(bytes)")
        }
        guard !verify || each * UInt64(queues) <= 1 << 30 else {
            throw TercetError(.invalid, "--verify keeps 4 bytes for each I/O-sized piece: use less with --size")
        }
        guard let association = controller.association, association.queueCount == queues else {
            throw TercetError(
                .exhausted, "the controller grants \(controller.association?.queueCount ?? 0) of \(queues) queues")
        }
        var workers: [BenchWorker] = []
        for (index, queue) in controller.queues.enumerated() {
            let load = UnitLoad(
                readPercentage: readPercentage, isRandom: pattern.rawValue.hasPrefix("rand"), unitBytes: bytes,
                firstUnit: UInt64(index) * each, unitCount: each, depth: depth, seed: seed &+ UInt64(index),
                ioCount: ioCount ?? .max, verifies: verify)
            workers.append(
                BenchWorker(
                    load, namespace: namespace, queue: queue,
                    readMemory: try await DataMemory(queue, bytes: bytes * depth, for: .reading),
                    writeMemory: try await DataMemory(queue, bytes: bytes * depth, for: .writing)))
        }
        return workers
    }

    private var readPercentage: UInt64 {
        switch pattern {
        case .read, .randread: 100
        case .write, .randwrite: 0
        case .rw, .randrw: mix
        }
    }

    private var showsProgress: Bool { !json && isatty(STDERR_FILENO) != 0 }

    /// One line, once a second.
    private func showProgress(_ workers: [BenchWorker], start: MonotonicTime) async {
        var before: UInt64 = 0
        while (try? await Task.sleep(for: .seconds(1))) != nil {
            var total: UInt64 = 0
            for worker in workers {
                let counts = await worker.snapshot()
                total += counts.reads + counts.writes
            }
            let elapsed = Double(MonotonicTime.now().nanoseconds(since: start)) / 1e9
            let rate = Double(total - before)
            before = total
            let bandwidth = rate * Double(blockSize.value) / 1e6
            let line = String(
                format: "\r\u{1B}[K%3.0f of %.0f s  %.0f IOPS  %.1f MB/s", min(elapsed, seconds), seconds, rate,
                bandwidth)
            writeToStandardError(line)
        }
        writeToStandardError("\r\u{1B}[K")
    }

    /// Prints an event of the connection to the standard error.
    private static func report(_ event: ControllerEvent) {
        let line: String
        switch event {
        case .connected(let association) where association.number > 1: line = "connected again"
        case .disconnected(_, let reason) where reason != "closed": line = "connection lost: \(reason)"
        case .reconnectFailed(let error, let delay): line = "\(error); trying again in \(delay) ms"
        case .failingFast: line = "no connection for too long: I/Os fail"
        case .lost(let error): line = "given up: \(error)"
        default: return
        }
        writeToStandardError("tercet: \(line)\n")
    }
}

extension BenchWorker {
    /// The counts as they are now.
    func snapshot() async -> BenchCounts { await group.run { self.counts } }
}
