import Base
import Foundation

/// The owners of volumes, and the daemons that stand by: what several daemons agree on through a registry.
///
/// An owner is the one that serves a volume, for as long as its lease lasts. Nothing that is written to a volume depends on it: the
/// fencing at the members keeps a former owner out, whether it knows that its lease has ended or not.
public protocol VolumeOwners: Sendable {
    /// Begins a lease.
    ///
    /// - Parameter seconds: the time that it lasts without a renewal. More may be granted, and never less.
    func grantLease(seconds: Int64) async throws(RegistryError) -> Lease

    /// Renews a lease: its time begins anew, at some moment between the call and its return.
    ///
    /// - Returns: the time in seconds.
    /// - Throws: `leaseLost` if it has ended.
    @discardableResult
    func keepAlive(_ lease: Lease) async throws(RegistryError) -> Int64

    /// Ends a lease, and with it what was claimed with it. A lease that has ended already is no error.
    func revoke(_ lease: Lease) async throws(RegistryError)

    /// Makes `owner` a volume's owner while a lease lasts, if it has none.
    ///
    /// - Returns: the revision of the claim.
    /// - Throws: `conflict` if it has one, `leaseLost`.
    func claim(_ volume: String, for owner: String, _ lease: Lease) async throws(RegistryError) -> Revision

    /// Makes another daemon a volume's owner, while that one's lease lasts, with nobody in between. If it is that already, nothing
    /// changes.
    ///
    /// - Parameter claim: the revision of the present owner's claim.
    /// - Returns: the revision of the new owner's claim.
    /// - Throws: `conflict` if the present claim is another one, or there is none; `leaseLost` if the other's lease has ended.
    func pass(
        _ volume: String, claim: Revision, to daemon: PresentDaemon
    ) async throws(RegistryError) -> Revision

    /// Leaves a volume without an owner; one that has none is left as it is. Throws `conflict` if the present claim is another one.
    ///
    /// - Returns: a revision at which it has none, or another one.
    @discardableResult
    func release(_ volume: String, claim: Revision) async throws(RegistryError) -> Revision

    /// Says that a daemon is there, for as long as its lease lasts. Throws `leaseLost`; `inUse` while the lease of another one with its
    /// name lasts.
    func announce(_ daemon: DaemonRecord, _ lease: Lease) async throws(RegistryError)

    /// The reservation of a volume's hosts, as an owner has kept it; `nil` if there is none.
    func hostReservation(of volume: UUIDBytes) async throws(RegistryError) -> [UInt8]?

    /// Keeps the reservation of a volume's hosts, for the owners to come. It is durable when this returns.
    ///
    /// - Parameters:
    ///   - reservation: as the owners write it; `nil` for none.
    ///   - name: the volume's.
    ///   - claim: the revision of the owner's claim.
    /// - Throws: `conflict` if the present claim is another one: then nothing is changed.
    func keep(
        hostReservation reservation: [UInt8]?, of volume: UUIDBytes, _ name: String, claim: Revision
    ) async throws(RegistryError)

    /// Forgets the reservation of the hosts of a volume that is no more.
    func forgetHostReservation(of volume: UUIDBytes) async throws(RegistryError)

    /// All owners and daemons, as they were at one moment.
    func owners() async throws(RegistryError) -> OwnersListing
}

extension VolumeOwners {
    /// A volume's owner; `nil` if it has none.
    public func owner(of volume: String) async throws(RegistryError) -> VolumeOwner? {
        try VolumeEntry.validate(name: volume)
        return try await owners().owners[volume]
    }
}

/// A right for some time, which ends by itself where nobody renews it. What is bound to it is removed then.
///
/// A lease never proves that another has stopped: a process may sleep, and not know that its lease has ended.
public struct Lease: Equatable, Sendable {
    public var id: Int64
    /// The time that it lasts without a renewal, as it was granted.
    public var seconds: Int64

    public init(id: Int64, seconds: Int64) {
        self.id = id
        self.seconds = seconds
    }
}

/// A volume's owner, as long as its lease lasts.
public struct VolumeOwner: Equatable, Sendable {
    /// The owner's name, as it was claimed.
    public var name: String
    /// The number of its lease.
    public var lease: Int64
    /// The revision of the claim.
    public var revision: Revision

    public init(name: String, lease: Int64, revision: Revision) {
        self.name = name
        self.lease = lease
        self.revision = revision
    }
}

/// A daemon's words on itself, for others.
public struct DaemonRecord: Codable, Equatable, Sendable {
    public var name: String
    /// Its part of the controller identifiers, 0 to 15.
    public var place: Int
    /// The volumes that it serves, or stands by for.
    public var volumes: [String]
    /// Volumes that it would rather serve than leave to others, and could serve now, by their names; `nil` for none.
    public var preferences: [String: VolumePreference]?
    /// The address at which it offers volumes to hosts, with the port; `nil` where it is not known.
    public var address: String?

    /// The longest record in its text form, in bytes.
    public static let greatestTextSize = 1 << 20

    public init(
        name: String, place: Int, volumes: [String], preferences: [String: VolumePreference]? = nil,
        address: String? = nil
    ) {
        self.address = address
        self.name = name
        self.place = place
        self.volumes = volumes
        self.preferences = preferences
    }

    /// The text form: JSON.
    public func text() throws(RegistryError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self), data.count <= Self.greatestTextSize else {
            throw RegistryError(.invalid, "daemon \(name): it has too many volumes for one record of a registry")
        }
        return String(decoding: data, as: UTF8.self)
    }

    /// `nil` if the text is none of a daemon's.
    public init?(text: some DataProtocol) {
        guard text.count <= Self.greatestTextSize, let record = try? JSONDecoder().decode(Self.self, from: Data(text))
        else { return nil }
        self = record
    }
}

/// A daemon's word that it prefers to serve a volume, and could.
public struct VolumePreference: Codable, Equatable, Sendable {
    /// When the volume is to go back to it: `quiet`, `always`, or what later releases know.
    public var failBack: String
    /// The NQNs of the hosts that are connected to it for the volume, in their order.
    public var hosts: [String]

    /// Hosts that are told of at the most: a record has room for so many.
    public static let mostHosts = 64

    public init(failBack: String, hosts: Set<String>) {
        self.failBack = failBack
        self.hosts = Array(hosts.sorted().prefix(Self.mostHosts))
    }
}

/// A daemon whose lease lasts.
public struct PresentDaemon: Equatable, Sendable {
    public var record: DaemonRecord
    /// The number of its lease.
    public var lease: Int64

    public init(_ record: DaemonRecord, lease: Int64) {
        self.record = record
        self.lease = lease
    }
}

/// Owners and daemons at one moment.
public struct OwnersListing: Equatable, Sendable {
    /// A revision that is not below that of any claim here, nor of any claim, pass or release before. It is to be compared with those
    /// only.
    public var revision: Revision
    /// By the volumes' names.
    public var owners: [String: VolumeOwner] = [:]
    /// In the order of their names.
    public var daemons: [PresentDaemon] = []

    public init(revision: Revision) { self.revision = revision }

    public mutating func append(daemon text: some DataProtocol, lease: Int64) {
        // A record that cannot be read is none that a volume could be passed to.
        guard let record = DaemonRecord(text: text) else { return }
        daemons.append(PresentDaemon(record, lease: lease))
    }
}

extension RegistryError {
    /// A volume has another owner than was expected.
    public static func owned(_ volume: String, by owner: VolumeOwner?) -> RegistryError {
        RegistryError(
            .conflict(present: owner?.revision),
            "volume \(volume): " + (owner.map { "\(VolumeEntry.printable($0.name)) owns it" } ?? "nobody owns it"))
    }

    /// A daemon's name is another one's.
    public static func nameInUse(_ name: String) -> RegistryError {
        RegistryError(
            .inUse,
            "daemon \(name): there is one with this name; each needs a name of its own, and one that died keeps its name until its lease "
                + "has ended")
    }

    /// A lease is not there any more.
    public static func leaseLost(_ lease: Int64) -> RegistryError {
        RegistryError(.leaseLost, "lease \(lease) has ended")
    }
}
