/// A node of an orchestrator, which may have volumes.
public struct NodeEntry: Codable, Equatable, Sendable {
    /// As the orchestrator calls it (CSI 1.12, `node_id`).
    public var name: String
    /// Its failure domain, as those of pools; `nil` where nothing is known of it.
    public var domain: String?

    /// Bytes of a name (CSI 1.12, "NodeGetInfo").
    private static let longest = 256

    public init(name: String, domain: String?) {
        self.name = name
        self.domain = domain
    }

    /// Throws if the entry breaks a rule.
    public func validate() throws(RegistryError) {
        guard (1...Self.longest).contains(name.utf8.count) else {
            throw RegistryError(
                .invalid,
                "node \(VolumeEntry.printable(name)): its name has \(name.utf8.count) bytes; allowed: 1 to \(Self.longest)"
            )
        }
        guard domain.map({ (1...128).contains($0.utf8.count) }) ?? true else {
            throw RegistryError(.invalid, "node \(VolumeEntry.printable(name)): its failure domain has 1 to 128 bytes")
        }
    }
}
