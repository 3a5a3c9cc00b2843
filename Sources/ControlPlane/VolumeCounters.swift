/// Counters of a volume daemon's volumes; all count from the moment at which a volume was attached.
public struct VolumeCounters: Codable, Sendable {
    public struct Member: Codable, Sendable {
        public var number: Int
        /// `in sync`, `behind` or `away`.
        public var state: String
        /// Commands that it has completed, those of copies and of the volume's own pages too.
        public var commands: UInt64
        public var underWay: Int
        /// A moving average of its latency.
        public var latencySeconds: Double

        public init(number: Int, state: String, commands: UInt64, underWay: Int, latencySeconds: Double) {
            self.number = number
            self.state = state
            self.commands = commands
            self.underWay = underWay
            self.latencySeconds = latencySeconds
        }
    }

    /// The share of a front end: `nbd`, `kernel-nbd`, `ublk`, `nvme`, or `program` for the daemon's own.
    public struct FrontEnd: Codable, Sendable {
        public var name: String
        public var commands: CommandCounters
        /// Flushes, and what else is neither read nor write.
        public var others: UInt64
        public var readLatency: [LatencyBucket]
        public var writeLatency: [LatencyBucket]

        public init(
            name: String, commands: CommandCounters, others: UInt64, readLatency: [LatencyBucket],
            writeLatency: [LatencyBucket]
        ) {
            self.name = name
            self.commands = commands
            self.others = others
            self.readLatency = readLatency
            self.writeLatency = writeLatency
        }
    }

    public struct Volume: Codable, Sendable {
        public var name: String
        public var commands: CommandCounters
        /// Flushes, and what else is neither read nor write.
        public var others: UInt64
        public var readLatency: [LatencyBucket]
        public var writeLatency: [LatencyBucket]
        /// I/Os of users that have not ended.
        public var underWay: Int
        /// I/Os that waited for an earlier one that they overlap.
        public var waitsForOverlap: UInt64
        /// Commands sent to members again after a pause.
        public var retries: UInt64
        /// Reads that another member answered after a media error.
        public var readFailovers: UInt64
        public var members: [Member]
        /// Those that the volume has had; a daemon of an earlier release does not tell.
        public var frontEnds: [FrontEnd]?

        /// The sums of all front ends are the volume's.
        public init(
            name: String, frontEnds: [FrontEnd], underWay: Int, waitsForOverlap: UInt64, retries: UInt64,
            readFailovers: UInt64, members: [Member]
        ) {
            self.name = name
            self.frontEnds = frontEnds
            commands = frontEnds.reduce(into: .none) { $0.add($1.commands) }
            others = frontEnds.reduce(0) { $0 + $1.others }
            readLatency = frontEnds.reduce([]) { $0.adding($1.readLatency) }
            writeLatency = frontEnds.reduce([]) { $0.adding($1.writeLatency) }
            self.underWay = underWay
            self.waitsForOverlap = waitsForOverlap
            self.retries = retries
            self.readFailovers = readFailovers
            self.members = members
        }
    }

    /// Since the start of the daemon.
    public var uptimeSeconds: Double
    /// Those that are attached, by name.
    public var volumes: [Volume]

    public init(uptimeSeconds: Double, volumes: [Volume]) {
        self.uptimeSeconds = uptimeSeconds
        self.volumes = volumes
    }
}
