import Base
import CLibUUID

/// Identifiers that are made from names: name-based UUIDs (RFC 9562, section 5.5, version 5).
enum StableIdentifier {
    /// The version 5 UUID of a name.
    static func uuid(name: String, nameSpace: UUIDBytes) -> UUIDBytes {
        var uuid = [UInt8](repeating: 0, count: UUIDBytes.byteCount)
        uuid_generate_sha1(&uuid, nameSpace.bytes, name, name.utf8.count)
        return UUIDBytes(bytes: uuid) ?? UUIDBytes()
    }
}
