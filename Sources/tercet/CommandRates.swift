import ControlPlane
import Foundation

/// Rates of reads and writes between two looks at their counters.
struct CommandRates: Encodable {
    var readsPerSecond: Double
    var writesPerSecond: Double
    var bytesReadPerSecond: Double
    var bytesWrittenPerSecond: Double
    /// Of reads and writes together; none if there were none.
    var meanSeconds: Double?
    /// The same, where latencies are counted.
    var percentile99Seconds: Double?
    var failedPerSecond: Double

    static let header = "  reads/s  writes/s    rMiB/s    wMiB/s   mean us    p99 us  fails/s"

    init(_ now: CommandCounters, since before: CommandCounters, _ seconds: Double) {
        let commands = Double(now.reads + now.writes) - Double(before.reads + before.writes)
        let time = now.readSeconds + now.writeSeconds - before.readSeconds - before.writeSeconds
        readsPerSecond = Self.rate(now.reads, before.reads, seconds)
        writesPerSecond = Self.rate(now.writes, before.writes, seconds)
        bytesReadPerSecond = Self.rate(now.bytesRead, before.bytesRead, seconds)
        bytesWrittenPerSecond = Self.rate(now.bytesWritten, before.bytesWritten, seconds)
        meanSeconds = commands > 0 ? max(0, time) / commands : nil
        failedPerSecond = Self.rate(now.failed, before.failed, seconds)
    }

    /// Finds the percentile among latencies since an earlier look.
    mutating func setPercentile(_ now: [[LatencyBucket]], since before: [[LatencyBucket]]) {
        let buckets = now.enumerated().flatMap { index, latencies in
            latencies.since(index < before.count ? before[index] : [])
        }
        percentile99Seconds = buckets.sorted { $0.seconds < $1.seconds }.percentile(0.99)
    }

    var line: String {
        func time(_ seconds: Double?) -> String { seconds.map { String(format: "%9.0f", $0 * 1e6) } ?? "        -" }
        let columns = String(
            format: "%9.0f %9.0f %9.1f %9.1f", readsPerSecond, writesPerSecond, bytesReadPerSecond / 1_048_576,
            bytesWrittenPerSecond / 1_048_576)
        return "\(columns) \(time(meanSeconds)) \(time(percentile99Seconds)) "
            + String(format: "%8.0f", failedPerSecond)
    }

    /// A part that was removed and added since begins anew.
    static func rate(_ now: UInt64, _ before: UInt64, _ seconds: Double) -> Double {
        Double(now >= before ? now - before : now) / seconds
    }
}
