import Base
import Succession
import VolumeRegistry

/// A daemon's part among several that offer the same volumes to NVMe-oF hosts, of which one at a time serves each.
public struct SuccessionSettings: Equatable, Sendable {
    /// The daemon's name among the others.
    public var name: String
    /// Its part of the controller identifiers, which no other daemon has: 0 to 15.
    public var place: Int
    /// The time without a sign of life after which another daemon takes its volumes over.
    public var leaseSeconds: Int64
    /// Volumes that are to be served here rather than elsewhere, and when they come back where another daemon serves them.
    public var prefers: Set<String> = []
    public var failBack = FailBack.quiet
    /// An owner keeps a volume for so long at the least before it gives it back to a daemon that prefers it.
    public var staySeconds = usualStaySeconds

    public static let stays: ClosedRange<Int> = 1...3600
    public static let usualStaySeconds = 30
    public static let places = 0...15
    public static let leases: ClosedRange<Int> = 1...600
    public static let usualLeaseSeconds: Int64 = 2

    /// Throws if a name cannot be a daemon's; it has the form of a volume's.
    public init(name: String, place: Int, leaseSeconds: Int64 = usualLeaseSeconds) throws(TercetError) {
        do throws(RegistryError) { try VolumeEntry.validate(name: name) } catch {
            throw TercetError(
                .invalid,
                "'\(name)' is no name of a daemon; allowed: 1 to 128 letters, digits, dots, hyphens and underscores, beginning with a "
                    + "letter or a digit")
        }
        self.name = name
        self.place = place
        self.leaseSeconds = leaseSeconds
    }

    public var failBackTimes: FailBackTimes {
        var times = FailBackTimes()
        times.stay = UInt64(staySeconds) * 1000
        times.settle = times.stay / 3
        return times
    }

    /// The controller identifiers that are this daemon's: a host takes equal ones of one subsystem for a mistake.
    public var controllerIDs: ClosedRange<UInt16> {
        let size: UInt16 = 4094
        let first = 1 + UInt16(place) * size
        return first...first + size - 1
    }
}

extension VolumedConfiguration {
    /// Volumes that are shared are in a registry, and clients of theirs can follow from one daemon to another.
    ///
    /// - Parameter isTakingOver: the daemon is to take the sockets of another one on this machine.
    public func checkSuccession(isTakingOver: Bool) throws(TercetError) {
        guard let succession else { return }
        if let unknown = succession.prefers.subtracting(volumes.map(\.name)).min() {
            throw TercetError(
                .invalid, "volume \(unknown): the daemon is to prefer it, and does not offer it; add it to the volumes")
        }
        guard nvmeAddress != nil else {
            throw TercetError(
                .invalid, "no host could go from one daemon to another: a succession needs an address for NVMe-oF hosts"
            )
        }
        guard !isTakingOver else {
            throw TercetError(
                .invalid,
                "a daemon of a succession takes no other's sockets: hand its volumes over (tercet volume hand-over), and start it anew"
            )
        }
        for volume in volumes {
            guard volume.expected != nil else {
                throw TercetError(
                    .invalid,
                    "volume \(volume.name): daemons agree on it through a registry: give its name alone, and a registry"
                )
            }
            guard !volume.exports.contains(where: \.isBlockDevice) else {
                throw TercetError(
                    .invalid,
                    "volume \(volume.name): as a block device of this machine it cannot go to another daemon; allowed: nbd"
                )
            }
        }
    }
}
