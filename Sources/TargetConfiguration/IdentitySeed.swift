import Base
import BlockInterface
import TargetInterface

/// The source of identifiers that nobody has given and that no device carries.
///
/// Two namespaces with one identity are two paths to one set of data for a host that sees both: it writes to one of them and
/// reads from the other. So identifiers are never made from names alone, for those are the same wherever one configuration is
/// used: what they are made from is kept in the state directory, or differs from machine to machine and from backing to
/// backing.
public struct IdentitySeed: Equatable, Sendable {
    /// Made once at random and kept in the state directory.
    public var kept: UUIDBytes?
    public var machine: Machine
    /// Made at random for this run of the daemon.
    public var run: UUIDBytes

    public init(kept: UUIDBytes?, machine: Machine, run: UUIDBytes = .random()) {
        self.kept = kept
        self.machine = machine
        self.run = run
    }

    /// The name space of what is made from a machine's name; a random UUID.
    private static let machines = UUIDBytes(high: 0x6c5b_5b0e_0f3c_4f0a, low: 0x9d0e_7e2c_1d6a_4b11)

    /// The UUID of a namespace that has no other identity.
    ///
    /// - Parameter mark: what is kept beside the backing (`BackingMark`), where it could be read or made.
    public func namespaceUUID(
        nqn: String, nsid: UInt32, backing: NamespaceBacking, mark: BackingMark?
    ) -> UUIDBytes {
        let name = "\(nqn)/\(nsid)"
        if let kept { return StableIdentifier.uuid(name: name, nameSpace: kept) }
        // Memory is gone with the process: what comes after it is something else.
        guard let path = backing.path else { return StableIdentifier.uuid(name: name, nameSpace: run) }
        if let mark {
            return StableIdentifier.uuid(name: "\(machine.name)/\(mark.inode)/\(name)", nameSpace: mark.uuid)
        }
        if machine.isUnknown { return StableIdentifier.uuid(name: name, nameSpace: run) }
        return StableIdentifier.uuid(name: "\(machine.name)/\(path)/\(name)", nameSpace: Self.machines)
    }

    /// A serial number for a subsystem that was given none: 20 hexadecimal digits.
    ///
    /// - Parameter listeners: two daemons on one machine differ in them at the least.
    public func serialNumber(nqn: String, listeners: [String]) -> String {
        let uuid =
            if let kept {
                StableIdentifier.uuid(name: nqn, nameSpace: kept)
            } else if machine.isUnknown {
                StableIdentifier.uuid(name: nqn, nameSpace: run)
            } else {
                StableIdentifier.uuid(
                    name: "\(machine.name)/\(listeners.joined(separator: ","))/\(nqn)", nameSpace: Self.machines)
            }
        return String(uuid.hexadecimal.prefix(20))
    }
}

extension NamespaceDefinition {
    /// The identifiers that hosts see: those that were given, else the device's own, else a made UUID, which is shown as NGUID
    /// too, for hosts that look there only.
    public func identity(inSubsystem nqn: String, device: BlockIdentity, seed: IdentitySeed) -> BlockIdentity {
        if identity != BlockIdentity() { return identity }
        if identifiers == .device && device != BlockIdentity() { return device }
        var mark: BackingMark?
        if seed.kept == nil, let path = backing.path { mark = BackingMark(path: path) }
        let uuid = seed.namespaceUUID(nqn: nqn, nsid: nsid, backing: backing, mark: mark).bytes
        return BlockIdentity(nguid: uuid, uuid: uuid)
    }
}
