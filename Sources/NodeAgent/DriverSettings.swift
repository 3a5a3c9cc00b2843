import ControllerCalls

/// The settings of `tercet-csi`, the server of `tercet-node serve`, which gives them as JSON in its only argument.
public struct DriverSettings: Codable, Equatable, Sendable {
    public var agent: NodeSettings
    /// For a driver that serves a controller's calls.
    public var controller: ControllerSettings?
    /// A node's calls are served.
    public var servesNode: Bool
    /// The registry in which the node enters itself; `nil` for none.
    public var nodeRegistry: ControllerSettings?
    /// A controller says that volumes have topologies: orchestrators then want one of each node.
    public var hasTopology: Bool
    /// The node's failure domain; `nil` where nothing is known of it.
    public var domain: String?
    /// Path of the socket.
    public var socket: String
    /// The node's name; the host's where it is `nil`.
    public var node: String?
    /// Volumes that this host may have; 0 for as many as tercet-volumed has room for.
    public var maximumVolumes: Int64
    public var logsJSON: Bool
    /// As swift-log names it.
    public var logLevel: String

    /// Bytes that a node's name may have (CSI 1.12, "NodeGetInfo").
    public static let longestNode = 256
    private static let scheme = "unix:"

    /// Throws `invalidArgument` where nothing could be served so.
    ///
    /// - Parameter endpoint: `unix:///PATH`.
    public init(
        agent: NodeSettings, controller: ControllerSettings? = nil, servesNode: Bool = true,
        nodeRegistry: ControllerSettings? = nil, hasTopology: Bool = false, domain: String? = nil, endpoint: String,
        node: String?,
        maximumVolumes: Int64, logsJSON: Bool, logLevel: String
    ) throws(NodeError) {
        let path = endpoint.hasPrefix(Self.scheme) ? String(endpoint.dropFirst(Self.scheme.count)) : endpoint
        let plain = path.hasPrefix("//") ? String(path.dropFirst(2)) : path
        guard plain.hasPrefix("/"), plain.utf8.count > 1, !plain.contains("://") else {
            throw NodeError(
                .invalidArgument,
                "the endpoint \"\(endpoint)\" is no Unix socket; allowed: unix:// with an absolute path behind it")
        }
        guard node.map({ (1...Self.longestNode).contains($0.utf8.count) }) ?? true else {
            throw NodeError(.invalidArgument, "a node's name has 1 to \(Self.longestNode) bytes")
        }
        guard maximumVolumes >= 0 else {
            throw NodeError(.invalidArgument, "\(maximumVolumes) volumes cannot be; allowed: 0 and more")
        }
        guard domain.map(VolumeDomains.isValue) ?? true else {
            throw NodeError(
                .invalidArgument,
                "the failure domain \"\(domain ?? "")\" is none; allowed: up to \(VolumeDomains.longest) letters, digits, '.', '_' and "
                    + "'-', with a letter or digit at both ends")
        }
        self.agent = agent
        self.nodeRegistry = nodeRegistry
        self.hasTopology = hasTopology
        self.domain = domain
        self.controller = controller
        self.servesNode = servesNode
        socket = plain
        self.node = node
        self.maximumVolumes = maximumVolumes
        self.logsJSON = logsJSON
        self.logLevel = logLevel
    }
}
