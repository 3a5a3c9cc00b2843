import Foundation
import Histogram
import LoadGenerator
import NVMeInitiator

/// The measurements of a bench, over all queues.
struct BenchReport {
    var counts = BenchCounts()
    /// The first mismatch that verification found.
    var mismatch: String?
    var seconds: Double
    var blockSize: Int
    var readLatency: Histogram<UInt64>
    var writeLatency: Histogram<UInt64>

    static let percentiles: [Double] = [50, 90, 99, 99.9, 99.99]

    init(_ workers: [BenchWorker], seconds: Double, blockSize: Int) async {
        self.seconds = seconds
        self.blockSize = blockSize
        var all: [(BenchCounts, String?, Histogram<UInt64>, Histogram<UInt64>)] = []
        for worker in workers {
            all.append(
                await worker.group.run { (worker.counts, worker.problem, worker.readLatency, worker.writeLatency) })
        }
        readLatency = all[0].2
        writeLatency = all[0].3
        for (index, (counts, mismatch, reads, writes)) in all.enumerated() {
            self.counts.reads += counts.reads
            self.counts.writes += counts.writes
            self.counts.failed += counts.failed
            self.counts.notDone += counts.notDone
            self.counts.unknown += counts.unknown
            self.counts.firstProblem = self.counts.firstProblem ?? counts.firstProblem
            self.mismatch = self.mismatch ?? mismatch
            if index > 0 {
                readLatency.add(reads)
                writeLatency.add(writes)
            }
        }
    }

    private var directions: [(name: String, count: UInt64, latency: Histogram<UInt64>)] {
        [("read", counts.reads, readLatency), ("write", counts.writes, writeLatency)].filter { $0.count > 0 }
    }

    /// For people.
    func show() {
        for (name, count, latency) in directions {
            let rate = Double(count) / seconds
            let bandwidth = rate * Double(blockSize) / 1e6
            print(
                String(format: "%@: %.0f IOPS, %.1f MB/s, %llu I/Os in %.2f s", name, rate, bandwidth, count, seconds))
            print(
                String(
                    format: "  latency (µs): min %.1f, mean %.1f, max %.1f", Double(latency.min) / 1e3,
                    latency.mean / 1e3, Double(latency.maxRecorded) / 1e3))
            let parts = BenchReport.percentiles.map {
                String(format: "p%g %.1f", $0, Double(latency.valueAtPercentile($0)) / 1e3)
            }
            print("  percentiles (µs): " + parts.joined(separator: ", "))
        }
        if counts.failed + counts.notDone + counts.unknown > 0 {
            print("errors: \(counts.failed) answered, \(counts.notDone) not done, \(counts.unknown) unknown")
        }
    }

    /// For programs.
    var result: BenchResult {
        var result = BenchResult(
            seconds: seconds, blockSize: blockSize, errorsAnswered: counts.failed, errorsNotDone: counts.notDone,
            errorsUnknown: counts.unknown, mismatch: mismatch)
        if counts.reads > 0 { result.read = direction(counts.reads, readLatency) }
        if counts.writes > 0 { result.write = direction(counts.writes, writeLatency) }
        return result
    }

    private func direction(_ count: UInt64, _ latency: Histogram<UInt64>) -> BenchResult.Direction {
        let rate = Double(count) / seconds
        let percentiles = BenchReport.percentiles.map {
            (String(format: "%g", $0), latency.valueAtPercentile($0))
        }
        return BenchResult.Direction(
            ios: count, iops: rate, bytesPerSecond: rate * Double(blockSize),
            latency: BenchResult.Latency(
                min: latency.min, mean: latency.mean, max: latency.maxRecorded,
                percentiles: Dictionary(uniqueKeysWithValues: percentiles)))
    }
}

/// The result of `bench --json`.
struct BenchResult: Encodable {
    var seconds: Double
    /// Bytes of one I/O.
    var blockSize: Int
    var errorsAnswered: UInt64
    var errorsNotDone: UInt64
    var errorsUnknown: UInt64
    var mismatch: String?
    var read: Direction?
    var write: Direction?

    enum CodingKeys: String, CodingKey {
        case seconds, mismatch, read, write
        case blockSize = "block_size"
        case errorsAnswered = "errors_answered"
        case errorsNotDone = "errors_not_done"
        case errorsUnknown = "errors_unknown"
    }

    struct Direction: Encodable {
        var ios: UInt64
        var iops: Double
        var bytesPerSecond: Double
        var latency: Latency

        enum CodingKeys: String, CodingKey {
            case ios, iops
            case bytesPerSecond = "bytes_per_second"
            case latency = "latency_ns"
        }
    }

    /// In nanoseconds.
    struct Latency: Encodable {
        var min: UInt64
        var mean: Double
        var max: UInt64
        /// By percentile, as "99.9".
        var percentiles: [String: UInt64]
    }
}
