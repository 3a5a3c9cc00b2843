/// Counters of a target; all count from the start of the daemon, or from when the thing was added.
public struct TargetStatistics: Codable, Sendable {
    public struct Host: Codable, Sendable {
        /// Its NQN; `other` for all beyond the 63 hosts that came first.
        public var host: String
        public var commands: CommandCounters
        /// Commands that are neither reads nor writes.
        public var others: UInt64
        public var readLatency: [LatencyBucket]
        public var writeLatency: [LatencyBucket]
        /// Commands that had to wait, by what for.
        public var waitsForMemory: UInt64
        public var waitsForReadDepth: UInt64
        public var waitsForSendQueue: UInt64
        /// Connections that ended because the host broke the protocol.
        public var protocolErrors: UInt64
        public var mediaErrors: UInt64

        public init(
            host: String, commands: CommandCounters, others: UInt64, readLatency: [LatencyBucket],
            writeLatency: [LatencyBucket],
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
        public var commands: CommandCounters
        public var bytes: UInt64
        /// Failures of its device since it was opened.
        public var deviceFailures: UInt64

        public init(nsid: UInt32, commands: CommandCounters, bytes: UInt64, deviceFailures: UInt64) {
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
