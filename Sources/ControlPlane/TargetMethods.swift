import JSON

/// The methods of `tercetd`'s control socket beside those that change the configuration (`ConfigurationEdit.all`, each of which
/// returns a `ChangeReport`), with their parameters and results.
public enum TargetMethod {
    /// `NoParameters` to `TargetState`.
    public static let get = "state.get"
    /// `SaveRequest` to `SaveRequest`, which says the file.
    public static let save = "state.save"
    /// `NoParameters` to `ChangeReport`: reads the configuration file again, as SIGHUP does.
    public static let reload = "state.reload"
    /// `StatisticsRequest` to `TargetStatistics`.
    public static let statistics = "statistics.get"
    /// `NoParameters` to `TraceFileName`.
    public static let dumpTrace = "trace.dump"
    /// `DrainRequest` to `DrainReport`.
    public static let drain = "drain"
    /// `NoParameters` to `NoParameters`: ends the daemon as SIGTERM does.
    public static let shutdown = "shutdown"
}

/// A file to save the configuration to.
public struct SaveRequest: Codable, Sendable {
    /// An absolute path; the file that the daemon was started with if not given.
    public var path: String?
    public init(path: String? = nil) { self.path = path }
}

/// Which counters are wanted.
public struct StatisticsRequest: Codable, Sendable {
    /// The queues of hosts too, for which each reactor is asked; not if not given.
    public var queues: Bool?
    public init(queues: Bool? = nil) { self.queues = queues }
}

/// The file that a trace was written to.
public struct TraceFileName: Codable, Sendable {
    public var path: String
    public init(path: String) { self.path = path }
}

/// Subsystems whose hosts are to go to other paths, or may come back.
public struct DrainRequest: Codable, Sendable {
    /// An NQN; all subsystems if not given.
    public var subsystem: String?
    /// `false` lets hosts come back.
    public var isDrained: Bool?
    /// How long to wait until no read or write succeeds any more; 30 if not given.
    public var seconds: Double?

    public init(subsystem: String? = nil, isDrained: Bool? = nil, seconds: Double? = nil) {
        self.subsystem = subsystem
        self.isDrained = isDrained
        self.seconds = seconds
    }
}

public struct DrainReport: Codable, Sendable {
    /// NQNs of all subsystems that are drained now.
    public var drained: [String]
    /// For a second no read or write of those that were asked for has succeeded.
    public var isQuiet: Bool
    /// How long that took.
    public var seconds: Double

    public init(drained: [String], isQuiet: Bool, seconds: Double) {
        self.drained = drained
        self.isQuiet = isQuiet
        self.seconds = seconds
    }
}

/// A part that the daemon does not have although it is configured.
public struct MissingReport: Codable, Equatable, Sendable {
    public var part: String
    public var reason: String

    public init(part: String, reason: String) {
        self.part = part
        self.reason = reason
    }
}

/// The effect of a change: all of it was done; parts that are missing were missing before.
public struct ChangeReport: Codable, Equatable, Sendable {
    /// A sentence each; none if nothing was different.
    public var done: [String]
    public var missing: [MissingReport]

    public init(done: [String], missing: [MissingReport]) {
        self.done = done
        self.missing = missing
    }
}

/// A target as it is to be, and as it is.
public struct TargetState: Codable, Sendable {
    public struct Namespace: Codable, Sendable {
        public var nsid: UInt32
        public var device: String
        /// 0 blocks: the device has vanished.
        public var blocks: UInt64
        public var blockSize: UInt32
        /// Failures of its device since it was opened.
        public var failures: UInt64

        public init(nsid: UInt32, device: String, blocks: UInt64, blockSize: UInt32, failures: UInt64) {
            self.nsid = nsid
            self.device = device
            self.blocks = blocks
            self.blockSize = blockSize
            self.failures = failures
        }
    }

    public struct Controller: Codable, Sendable {
        public var id: UInt16
        public var host: String
        /// The address at which the host sees the target; empty if that is not known.
        public var address: String
        public var ioQueues: Int

        public init(id: UInt16, host: String, address: String, ioQueues: Int) {
            self.id = id
            self.host = host
            self.address = address
            self.ioQueues = ioQueues
        }
    }

    public struct Subsystem: Codable, Sendable {
        public var nqn: String
        public var isDrained: Bool
        public var namespaces: [Namespace]
        public var controllers: [Controller]
        /// The pool that it is, if it is one.
        public var pool: PoolState?

        public init(
            nqn: String, isDrained: Bool, namespaces: [Namespace], controllers: [Controller], pool: PoolState? = nil
        ) {
            self.nqn = nqn
            self.isDrained = isDrained
            self.namespaces = namespaces
            self.controllers = controllers
            self.pool = pool
        }
    }

    /// The place of a thread that serves.
    public struct ReactorPlace: Codable, Equatable, Sendable {
        /// Its ordinal among the processors that the daemon may use, from 0.
        public var processor: Int
        /// The processor's NUMA node; `nil` where the system does not tell.
        public var node: Int?

        public init(processor: Int, node: Int?) {
            self.processor = processor
            self.node = node
        }
    }

    /// An RDMA device of the kernel.
    public struct Device: Codable, Equatable, Sendable {
        public var name: String
        /// Its NUMA node: queues that come over it go to reactors there first. `nil` where the system does not tell.
        public var node: Int?

        public init(name: String, node: Int?) {
            self.name = name
            self.node = node
        }
    }

    /// As the configuration file has it.
    public var configuration: JSONValue
    /// The configuration file; empty if there is none.
    public var file: String
    /// The file says the same as `configuration`.
    public var isSaved: Bool
    /// Threads that serve.
    public var reactors: Int
    public var reactorPlaces: [ReactorPlace]
    /// By name; a daemon of an earlier release does not tell.
    public var devices: [Device]?
    public var listeners: [String]
    public var subsystems: [Subsystem]
    public var missing: [MissingReport]

    public init(
        configuration: JSONValue, file: String, isSaved: Bool, reactorPlaces: [ReactorPlace], devices: [Device],
        listeners: [String], subsystems: [Subsystem], missing: [MissingReport]
    ) {
        self.configuration = configuration
        self.file = file
        self.isSaved = isSaved
        reactors = reactorPlaces.count
        self.reactorPlaces = reactorPlaces
        self.devices = devices
        self.listeners = listeners
        self.subsystems = subsystems
        self.missing = missing
    }
}
