import Base
import Foundation
import VolumeDriver

/// The text form of entries: JSON, with a version. A field that this release does not know is kept when the entry is written
/// again; a version that it does not know is refused.
extension VolumeEntry {
    /// - Throws: `unknownVersion`, `invalid` if a rule is broken, `damaged` if it is no entry.
    public init(text: some DataProtocol, name: String) throws(RegistryError) {
        let decoder = JSONDecoder()
        let data = Data(text)
        func place() -> String { "the registry's entry of \(Self.printable(name))" }
        do {
            self = try decoder.decode(VolumeEntry.self, from: data)
        } catch {
            if let version = (try? decoder.decode(VersionOnly.self, from: data))?.version, version != Self.version {
                throw RegistryError(
                    .unknownVersion,
                    "\(place()) has version \(version), and this release knows \(Self.version): use the release that wrote it, "
                        + "or a later one; nothing was changed")
            }
            throw RegistryError(
                .damaged,
                "\(place()) cannot be read: \(Self.problem(error)); tercet registry remove --unreadable takes it out")
        }
        guard self.name == name else {
            throw RegistryError(.damaged, "\(place()) says that it is that of \(Self.printable(self.name))")
        }
        try validate()
    }

    /// The entry, checked, as text.
    public func text() throws(RegistryError) -> String {
        try validate()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else {
            throw RegistryError(.invalid, "volume \(name): its entry has a value that cannot be written")
        }
        guard data.count <= Self.greatestTextSize else {
            throw RegistryError(
                .invalid, "volume \(name): its entry takes \(data.count) bytes; allowed: \(Self.greatestTextSize)")
        }
        return String(decoding: data, as: UTF8.self)
    }

    private struct VersionOnly: Decodable {
        var version: Int
    }

    /// The problem of a text that was not decoded, and its place, for people.
    public static func problem(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map(\.stringValue).joined(separator: ".")
            return path.isEmpty ? "" : printable(path) + ": "
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            return place(context) + "\(printable(key.stringValue)) is missing"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            return place(context) + "has the wrong type"
        case DecodingError.dataCorrupted(let context):
            return place(context) + (context.codingPath.isEmpty ? "it is no JSON" : context.debugDescription)
        default: return "\(error)"
        }
    }
}

extension VolumeEntry: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case version, name, uuid, state, size, members, fencing, exports, contents, labels, operation, replaced
        case regionSize = "region_size"
        case minimumCopies = "minimum_copies"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        let version = try fields.decode(Int.self, forKey: .version)
        guard version == Self.version else {
            throw DecodingError.dataCorruptedError(
                forKey: .version, in: fields, debugDescription: "is \(version); this release knows \(Self.version)")
        }
        name = try fields.decode(String.self, forKey: .name)
        uuid = try fields.uuid(.uuid)
        state = try fields.decode(State.self, forKey: .state)
        size = try fields.decodeIfPresent(UInt64.self, forKey: .size)
        members = try fields.decode([Member].self, forKey: .members)
        regionSize = try fields.decode(UInt32.self, forKey: .regionSize)
        fencing = try fields.decode(Fencing.self, forKey: .fencing)
        minimumCopies = try fields.decode(Int.self, forKey: .minimumCopies)
        exports = try fields.decodeIfPresent([String].self, forKey: .exports) ?? []
        contents = try fields.decodeIfPresent(String.self, forKey: .contents)
        labels = try fields.decodeIfPresent([String: String].self, forKey: .labels) ?? [:]
        operation = try fields.decodeIfPresent(VolumeOperation.self, forKey: .operation)
        replaced = try fields.decodeIfPresent([Member].self, forKey: .replaced) ?? []
        unknown = try decoder.unknownFields(but: CodingKeys.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(Self.version, forKey: .version)
        try fields.encode(name, forKey: .name)
        try fields.encode(uuid.description, forKey: .uuid)
        try fields.encode(state, forKey: .state)
        try fields.encodeIfPresent(size, forKey: .size)
        try fields.encode(members, forKey: .members)
        try fields.encode(regionSize, forKey: .regionSize)
        try fields.encode(fencing, forKey: .fencing)
        try fields.encode(minimumCopies, forKey: .minimumCopies)
        if !exports.isEmpty { try fields.encode(exports, forKey: .exports) }
        try fields.encodeIfPresent(contents, forKey: .contents)
        if !labels.isEmpty { try fields.encode(labels, forKey: .labels) }
        try fields.encodeIfPresent(operation, forKey: .operation)
        if !replaced.isEmpty { try fields.encode(replaced, forKey: .replaced) }
        try encoder.encode(unknown: unknown)
    }
}

extension VolumeEntry.Member: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case address, identity, pool
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        pool = try fields.decodeIfPresent(String.self, forKey: .pool)
        address = try fields.memberAddress(.address, isInPool: pool != nil)
        identity = fields.contains(.identity) ? try fields.uuid(.identity) : nil
        unknown = try decoder.unknownFields(but: CodingKeys.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(address.description, forKey: .address)
        try fields.encodeIfPresent(identity?.description, forKey: .identity)
        try fields.encodeIfPresent(pool, forKey: .pool)
        try encoder.encode(unknown: unknown)
    }
}

extension VolumeOperation: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case kind, member, address, worker
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        kind = try fields.decode(Kind.self, forKey: .kind)
        member = try fields.decodeIfPresent(Int.self, forKey: .member)
        address = fields.contains(.address) ? try fields.memberAddress(.address) : nil
        worker = try fields.decode(Worker.self, forKey: .worker)
        guard (kind == .replace) == (member != nil && address != nil), (0...2).contains(member ?? 0) else {
            throw DecodingError.dataCorruptedError(
                forKey: .kind, in: fields,
                debugDescription: "a member and an address belong to a replacement, and to it alone")
        }
        unknown = try decoder.unknownFields(but: CodingKeys.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(kind, forKey: .kind)
        try fields.encodeIfPresent(member, forKey: .member)
        try fields.encodeIfPresent(address?.description, forKey: .address)
        try fields.encode(worker, forKey: .worker)
        try encoder.encode(unknown: unknown)
    }
}

extension KeyedDecodingContainer {
    fileprivate func uuid(_ key: Key) throws -> UUIDBytes {
        guard let value = UUIDBytes(try decode(String.self, forKey: key)) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "is no UUID")
        }
        return value
    }

    /// - Parameter isInPool: the NSID may be 0.
    fileprivate func memberAddress(_ key: Key, isInPool: Bool = false) throws -> MemberAddress {
        let text = try decode(String.self, forKey: key)
        if isInPool, text.hasSuffix("/0"), var value = MemberAddress(text.dropLast() + "1") {
            value.nsid = 0
            return value
        }
        guard let value = MemberAddress(text) else {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: self, debugDescription: "is no member; allowed: ADDRESS:PORT/SUBNQN/NSID")
        }
        return value
    }
}
