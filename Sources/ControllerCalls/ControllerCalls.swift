/// A call of a CSI controller, as `tercet-csi` gives it to `tercet controller` in JSON.
public enum ControllerRequest: Codable, Equatable, Sendable {
    case create(VolumeWish)
    case delete(volume: String)
    /// The volume is a node's from now on.
    case publish(volume: String, node: String)
    /// The volume is no longer a node's; any node's where that is empty.
    case unpublish(volume: String, node: String)
    /// Volumes by name.
    ///
    /// - Parameters:
    ///   - most: how many at most; 0 for all.
    ///   - after: the name behind which to begin; empty for the first.
    case list(most: Int, after: String)
    case get(volume: String)
    case expand(volume: String, leastBytes: UInt64, mostBytes: UInt64)
    /// The room for volumes of a class, in a failure domain; in all of them where it is `nil`.
    case capacity(parameters: [String: String], domain: String?)
    /// Parameters of a volume are others from now on: its limits.
    case modify(volume: String, parameters: [String: String])
    /// A node is there.
    case enter(node: String, domain: String?)
    /// Whether the registry can be asked.
    case ready
}

/// A volume that is to be there.
public struct VolumeWish: Codable, Equatable, Sendable {
    public var name: String
    /// 0 says nothing.
    public var leastBytes: UInt64
    public var mostBytes: UInt64
    /// The class's, by name.
    public var parameters: [String: String]
    /// Those that may be changed later, by name.
    public var mutableParameters: [String: String]
    public var domains: VolumeDomains

    public init(
        name: String, leastBytes: UInt64, mostBytes: UInt64, parameters: [String: String],
        mutableParameters: [String: String] = [:], domains: VolumeDomains = VolumeDomains()
    ) {
        self.name = name
        self.leastBytes = leastBytes
        self.mostBytes = mostBytes
        self.parameters = parameters
        self.mutableParameters = mutableParameters
        self.domains = domains
    }
}

/// The answer to a call: a failure, or what the call asks for.
public struct ControllerAnswer: Codable, Equatable, Sendable {
    public struct Failure: Codable, Equatable, Error, Sendable {
        public var code: CallCode
        /// One line: what is wrong, with what, and what to do about it.
        public var message: String

        public init(_ code: CallCode, _ message: String) {
            self.code = code
            self.message = message
        }
    }

    /// Bytes that volumes may still have.
    public struct Capacity: Codable, Equatable, Sendable {
        /// Of all new volumes together.
        public var total: UInt64
        /// Of the largest one.
        public var largest: UInt64
        /// Of the smallest one.
        public var smallest: UInt64

        public init(total: UInt64, largest: UInt64, smallest: UInt64) {
            self.total = total
            self.largest = largest
            self.smallest = smallest
        }
    }

    public var failure: Failure?
    public var volumes: [ControllerVolume]?
    /// Behind which name the next list begins; `nil` where this one has all.
    public var next: String?
    public var capacity: Capacity?

    public init(
        failure: Failure? = nil, volumes: [ControllerVolume]? = nil, next: String? = nil, capacity: Capacity? = nil
    ) {
        self.failure = failure
        self.volumes = volumes
        self.next = next
        self.capacity = capacity
    }
}

/// A volume as the registry has it.
public struct ControllerVolume: Codable, Equatable, Sendable {
    public var name: String
    public var uuid: String
    /// Bytes.
    public var size: UInt64
    /// ADDRESS:PORT/SUBNQN/NSID, three times.
    public var members: [String]
    /// The node that has it; `nil` for none.
    public var node: String?
    /// Another node had it before: what that one still has on its way is to be fenced.
    public var takesOver: Bool
    public var limits: LimitParameters

    public init(
        name: String, uuid: String, size: UInt64, members: [String], node: String?, takesOver: Bool,
        limits: LimitParameters = LimitParameters()
    ) {
        self.name = name
        self.uuid = uuid
        self.size = size
        self.members = members
        self.node = node
        self.takesOver = takesOver
        self.limits = limits
    }
}
