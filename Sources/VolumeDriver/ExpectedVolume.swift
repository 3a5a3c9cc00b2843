import Base
import Replication

/// A registry's word on a volume. The members are right, whatever the registry says; a volume that is
/// another one than was expected is left alone.
public struct ExpectedVolume: Equatable, Sendable {
    /// The volume's name there.
    public var name: String
    public var volume: UUIDBytes
    /// Size in bytes; `nil` if it is not known.
    public var byteCount: UInt64?

    public init(name: String, volume: UUIDBytes, byteCount: UInt64?) {
        self.name = name
        self.volume = volume
        self.byteCount = byteCount
    }

    /// Why the volume is left alone: what the members hold is not what was expected, and which of the two is to be corrected;
    /// `nil` if nothing contradicts it. Members that cannot be read contradict nothing.
    public func objection(
        _ members: [MemberAddress], _ surveys: [MemberSurvey], excluded: MemberSet = []
    ) -> String? {
        let found = zip(members, surveys).enumerated().compactMap {
            place, member -> (Int, MemberAddress, Superblock)? in
            guard !excluded.contains(MemberIndex(place)), let superblock = try? member.1.superblock.get() else {
                return nil
            }
            return (place, member.0, superblock)
        }
        let ours = found.filter { $0.2.volume == volume }
        if let (place, address, other) = found.first(where: { $0.2.volume != volume }) {
            let problem =
                "the registry says that \(name) is volume \(volume), and member \(place) (\(address)) holds volume \(other.volume): "
                + "nothing was changed; "
            return problem
                + (ours.isEmpty
                    ? "no member holds the registry's volume, so correct the registry: \(registryRemedy)"
                    : "the others hold the registry's volume, so correct member \(place): its address in the registry "
                        + "(\(registryRemedy)), or the namespace (tercet volume replace \(name) --replace \(place))")
        }
        guard let newest = ours.map(\.2).max(by: { $0.stamp < $1.stamp }), let byteCount else { return nil }
        let present = newest.geometry.dataBlocks * UInt64(newest.geometry.blockSize)
        guard present != byteCount else { return nil }
        return
            "the registry says that \(name) has \(byteCount) bytes, and its members say \(present): nothing was changed; the "
            + "members are right, so correct the registry: tercet registry check, if it was grown by its name, or \(registryRemedy)"
    }

    private var registryRemedy: String { "tercet registry add \(name) --replace --member ..., three times" }
}
