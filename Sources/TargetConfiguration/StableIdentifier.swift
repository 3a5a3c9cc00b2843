import Base
import CUUID

/// Identifiers that are made from names, so that they are the same at each start and on each machine.
///
/// They are name-based UUIDs (RFC 9562, section 5.5, version 5), which other tools make as well:
///
///     uuidgen --sha1 --namespace 6c5b5b0e-0f3c-4f0a-9d0e-7e2c1d6a4b11 --name NQN/NSID
public enum StableIdentifier {
    /// The name space of all names below; a random UUID.
    static let nameSpace = UUIDBytes(high: 0x6c5b_5b0e_0f3c_4f0a, low: 0x9d0e_7e2c_1d6a_4b11)

    /// The UUID of a namespace: of the name `NQN/NSID`.
    public static func namespaceUUID(nqn: String, nsid: UInt32) -> UUIDBytes { uuid(name: "\(nqn)/\(nsid)") }

    /// A serial number for a subsystem: 20 hexadecimal digits of the UUID of the name `NQN`.
    public static func serialNumber(nqn: String) -> String { String(uuid(name: nqn).hexadecimal.prefix(20)) }

    /// The version 5 UUID of a name.
    package static func uuid(name: String, nameSpace: UUIDBytes = nameSpace) -> UUIDBytes {
        var uuid = [UInt8](repeating: 0, count: UUIDBytes.byteCount)
        uuid_generate_sha1(&uuid, nameSpace.bytes, name, name.utf8.count)
        return UUIDBytes(bytes: uuid) ?? UUIDBytes()
    }
}
