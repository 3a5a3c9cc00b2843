import Base

/// Counters of reads and writes.
public struct CommandCounters: Codable, Sendable {
    public var reads: UInt64
    public var writes: UInt64
    public var bytesRead: UInt64
    public var bytesWritten: UInt64
    /// Commands that failed, whatever they were.
    public var failed: UInt64
    /// Sums of the times from a command's arrival to its answer.
    public var readSeconds: Double
    public var writeSeconds: Double

    public init(
        reads: UInt64, writes: UInt64, bytesRead: UInt64, bytesWritten: UInt64, failed: UInt64,
        readSeconds: Double, writeSeconds: Double
    ) {
        self.reads = reads
        self.writes = writes
        self.bytesRead = bytesRead
        self.bytesWritten = bytesWritten
        self.failed = failed
        self.readSeconds = readSeconds
        self.writeSeconds = writeSeconds
    }
}

extension CommandCounters {
    public static var none: Self {
        Self(reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, failed: 0, readSeconds: 0, writeSeconds: 0)
    }

    public mutating func add(_ others: CommandCounters) {
        reads += others.reads
        writes += others.writes
        bytesRead += others.bytesRead
        bytesWritten += others.bytesWritten
        failed += others.failed
        readSeconds += others.readSeconds
        writeSeconds += others.writeSeconds
    }
}

/// Latencies: how many commands took at most so long, and longer than the bucket before.
public struct LatencyBucket: Codable, Sendable {
    public var seconds: Double
    public var count: UInt64

    public init(seconds: Double, count: UInt64) {
        self.seconds = seconds
        self.count = count
    }
}

extension [LatencyBucket] {
    /// The latency that so much of the commands kept to, in seconds; `nil` if there were none.
    ///
    /// - Parameter fraction: 0.99 for the 99th percentile.
    public func percentile(_ fraction: Double) -> Double? {
        let total = reduce(0) { $0 + $1.count }
        guard total > 0 else { return nil }
        let wanted = UInt64((Double(total) * fraction).rounded(.up))
        var sum: UInt64 = 0
        for bucket in self {
            sum += bucket.count
            if sum >= wanted { return bucket.seconds }
        }
        return last?.seconds
    }

    /// The commands since an earlier time.
    public func since(_ earlier: [LatencyBucket]) -> [LatencyBucket] {
        let before = Dictionary(earlier.map { ($0.seconds, $0.count) }) { first, _ in first }
        return map { .init(seconds: $0.seconds, count: $0.count &- Swift.min($0.count, before[$0.seconds] ?? 0)) }
    }

    /// The commands of both.
    public func adding(_ others: [LatencyBucket]) -> [LatencyBucket] {
        Dictionary((self + others).map { ($0.seconds, $0.count) }) { $0 + $1 }
            .map { LatencyBucket(seconds: $0.key, count: $0.value) }.sorted { $0.seconds < $1.seconds }
    }

    /// The buckets that are not empty.
    public init(_ latencies: LatencyCounts) {
        self = zip(latencies.counts, LatencyCounts.upperNanoseconds).compactMap { count, upper in
            count > 0 ? LatencyBucket(seconds: Double(upper) / 1e9, count: count) : nil
        }
    }

    /// Buckets of whole powers of two, from 2 microseconds to 17 seconds, for metrics: an eighth of the series that quarters would
    /// be.
    public var octaves: [(upTo: Double, count: UInt64)] {
        var octaves = (11...34).map { (upTo: Double(UInt64(1) << UInt64($0)) / 1e9, count: 0 as UInt64) }
        for bucket in self {
            guard let place = octaves.firstIndex(where: { bucket.seconds <= $0.upTo }) else { continue }
            octaves[place].count += bucket.count
        }
        return octaves
    }
}
