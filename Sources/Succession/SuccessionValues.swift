import Base

/// The number of a lease in a registry.
public struct LeaseNumber: Hashable, Sendable {
    public var number: Int64

    public init(_ number: Int64) { self.number = number }
}

/// The number of a claim to a volume: a later claim, or a later look at all claims, has a higher one.
public struct ClaimNumber: Comparable, Hashable, Sendable {
    public var number: Int64

    public init(_ number: Int64) { self.number = number }

    public static func < (left: ClaimNumber, right: ClaimNumber) -> Bool { left.number < right.number }
}

/// A volume's owner in the registry.
public struct SeenOwner: Equatable, Sendable {
    public var name: String
    public var lease: LeaseNumber
    public var claim: ClaimNumber

    public init(name: String, lease: LeaseNumber, claim: ClaimNumber) {
        self.name = name
        self.lease = lease
        self.claim = claim
    }
}

/// The owners of all volumes at one moment of the registry.
public struct OwnersView: Equatable, Sendable {
    /// Not below any claim that was made, passed or given back before; unless the registry has been set back to an earlier state.
    public var moment: ClaimNumber
    public var owners: [String: SeenOwner]
    /// The daemons that would rather have a volume than leave it to its owner, by the volumes' names.
    public var preferences: [String: [Preference]]
    /// The moment before the registry was asked.
    public var asked: MonotonicTime

    public init(
        moment: ClaimNumber, owners: [String: SeenOwner], asked: MonotonicTime,
        preferences: [String: [Preference]] = [:]
    ) {
        self.preferences = preferences
        self.moment = moment
        self.owners = owners
        self.asked = asked
    }
}

/// The reason why a daemon serves a volume no more.
public enum Departure: Equatable, Sendable {
    /// The lease has ended, or could not be renewed in time.
    case leaseLost
    /// The registry names another owner, or none.
    case claimLost
    /// Another host has attached the volume.
    case deposed
    /// The volume could not be served for a while, and another daemon may fare better.
    case stalled
    case handOver(to: String)
    /// Another daemon prefers the volume, and can serve it.
    case failBack(to: String)
    case stopping

    /// A certain daemon takes the volume on.
    public var isToSuccessor: Bool {
        switch self {
        case .handOver, .failBack: true
        case .leaseLost, .claimLost, .deposed, .stalled, .stopping: false
        }
    }
}

/// An event that a daemon's succession is told of.
public enum SuccessionEvent: Equatable, Sendable {
    /// Time has passed.
    case time
    /// - Parameter asked: the moment before the call.
    case granted(LeaseNumber, seconds: Int64, asked: MonotonicTime)
    case grantFailed
    case renewed(LeaseNumber, seconds: Int64, asked: MonotonicTime)
    /// The registry did not answer.
    case renewalFailed(LeaseNumber)
    /// The registry says that there is no such lease.
    case leaseLost(LeaseNumber)
    case seen(OwnersView)
    /// The process of another daemon is gone: its machine says that nobody listens where it did.
    case peerGone(LeaseNumber)
    /// A volume is known here, and may be served from now on.
    case ready(String)
    case volume(String, VolumeSuccession.Event)
    /// The daemon is to end: volumes are given to others.
    case stop
}

/// A thing to do. Those of one volume are done one after another, in their order.
public enum SuccessionEffect: Equatable, Sendable {
    case grant
    case renew(LeaseNumber)
    case revoke(LeaseNumber)
    case claim(String, LeaseNumber)
    case attach(String, VolumeSuccession.Fencing)
    /// Tell hosts that this is the path to use.
    case serve(String)
    /// Tell hosts that this is not the path to use.
    case hide(String, Departure)
    /// Drain and detach.
    case detach(String)
    case pass(String, ClaimNumber, to: String)
    case release(String, ClaimNumber)
}
