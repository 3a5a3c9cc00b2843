/// The failure domains of pools in which the members of a volume may lie (CSI 1.12, `TopologyRequirement`).
public struct VolumeDomains: Codable, Equatable, Sendable {
    /// The key of a topology's segments that names a failure domain.
    public static let segment = "topology.csi.tercet/domain"
    /// Bytes of a domain that a segment can name (CSI 1.12, `Topology`).
    public static let longest = 63

    /// No member lies in any other; empty where each will do.
    public var allowed: [String]
    /// Those that come first, in this order.
    public var preferred: [String]

    public init(allowed: [String] = [], preferred: [String] = []) {
        self.allowed = allowed
        self.preferred = preferred
    }

    /// Whether a segment can name a domain so: letters, digits, dots, hyphens and underscores, with a letter or digit at both ends.
    public static func isValue(_ domain: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"):
                true
            default: false
            }
        }
        let bytes = domain.utf8
        return (1...longest).contains(bytes.count)
            && [bytes.first, bytes.last].allSatisfy { $0.map(isAlphanumeric) ?? false }
            && bytes.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
    }
}
