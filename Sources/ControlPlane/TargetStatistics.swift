/// Counters of a target; all count from the start of the daemon, or from when the thing was added.
public struct TargetStatistics: Codable, Sendable {
    /// Commands that reads and writes, or anything else, were.
    public struct Commands: Codable, Sendable {
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

    /// Latencies: how many commands took at most so long, and longer than the bucket before.
    public struct Bucket: Codable, Sendable {
        public var seconds: Double
        public var count: UInt64

        public init(seconds: Double, count: UInt64) {
            self.seconds = seconds
            self.count = count
        }
    }

    public struct Host: Codable, Sendable {
        /// Its NQN; `other` for all beyond the 63 hosts that came first.
        public var host: String
        public var commands: Commands
        /// Commands that are neither reads nor writes.
        public var others: UInt64
        public var readLatency: [Bucket]
        public var writeLatency: [Bucket]
        /// Commands that had to wait, by what for.
        public var waitsForMemory: UInt64
        public var waitsForReadDepth: UInt64
        public var waitsForSendQueue: UInt64
        /// Connections that ended because the host broke the protocol.
        public var protocolErrors: UInt64
        public var mediaErrors: UInt64

        public init(
            host: String, commands: Commands, others: UInt64, readLatency: [Bucket], writeLatency: [Bucket],
            waitsForMemory: UInt64, waitsForReadDepth: UInt64, waitsForSendQueue: UInt64, protocolErrors: UInt64,
            mediaErrors: UInt64
        ) {
            self.host = host
            self.commands = commands
            self.others = others
            self.readLatency = readLatency
            self.writeLatency = writeLatency
            self.waitsForMemory = waitsForMemory
            self.waitsForReadDepth = waitsForReadDepth
            self.waitsForSendQueue = waitsForSendQueue
            self.protocolErrors = protocolErrors
            self.mediaErrors = mediaErrors
        }
    }

    public struct Namespace: Codable, Sendable {
        public var nsid: UInt32
        public var commands: Commands
        public var bytes: UInt64
        /// Failures of its device since it was opened.
        public var deviceFailures: UInt64

        public init(nsid: UInt32, commands: Commands, bytes: UInt64, deviceFailures: UInt64) {
            self.nsid = nsid
            self.commands = commands
            self.bytes = bytes
            self.deviceFailures = deviceFailures
        }
    }

    /// A queue of a host, as it is at the moment.
    public struct Queue: Codable, Sendable {
        public var host: String
        public var controller: UInt16
        /// 0 for the admin queue.
        public var queue: UInt16
        public var reactor: Int
        /// Entries of its submission queue.
        public var entries: UInt32
        /// Commands that have arrived and are not answered.
        public var underWay: UInt32
        /// Commands answered since the host connected.
        public var answered: UInt64

        public init(
            host: String, controller: UInt16, queue: UInt16, reactor: Int, entries: UInt32, underWay: UInt32,
            answered: UInt64
        ) {
            self.host = host
            self.controller = controller
            self.queue = queue
            self.reactor = reactor
            self.entries = entries
            self.underWay = underWay
            self.answered = answered
        }
    }

    public struct Subsystem: Codable, Sendable {
        public var nqn: String
        public var controllers: Int
        public var hosts: [Host]
        public var namespaces: [Namespace]
        /// `nil` where they were not asked for.
        public var queues: [Queue]?

        public init(nqn: String, controllers: Int, hosts: [Host], namespaces: [Namespace], queues: [Queue]? = nil) {
            self.nqn = nqn
            self.controllers = controllers
            self.hosts = hosts
            self.namespaces = namespaces
            self.queues = queues
        }
    }

    /// Since the start of the daemon.
    public var uptimeSeconds: Double
    public var subsystems: [Subsystem]

    public init(uptimeSeconds: Double, subsystems: [Subsystem]) {
        self.uptimeSeconds = uptimeSeconds
        self.subsystems = subsystems
    }
}

extension TargetStatistics.Commands {
    public static func + (left: Self, right: Self) -> Self {
        Self(
            reads: left.reads + right.reads, writes: left.writes + right.writes,
            bytesRead: left.bytesRead + right.bytesRead, bytesWritten: left.bytesWritten + right.bytesWritten,
            failed: left.failed + right.failed, readSeconds: left.readSeconds + right.readSeconds,
            writeSeconds: left.writeSeconds + right.writeSeconds)
    }

    public static var none: Self {
        Self(reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, failed: 0, readSeconds: 0, writeSeconds: 0)
    }
}

extension [TargetStatistics.Bucket] {
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
    public func since(_ earlier: [TargetStatistics.Bucket]) -> [TargetStatistics.Bucket] {
        let before = Dictionary(earlier.map { ($0.seconds, $0.count) }) { first, _ in first }
        return map { .init(seconds: $0.seconds, count: $0.count &- Swift.min($0.count, before[$0.seconds] ?? 0)) }
    }
}
