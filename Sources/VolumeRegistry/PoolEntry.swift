import Base
import Foundation

/// A pool of namespaces at a target, of which volumes are made.
public struct PoolEntry: Codable, Equatable, Sendable {
    /// As volumes' names are.
    public var name: String
    /// ADDRESS:PORT of the target's listeners, in the order in which they are tried.
    public var addresses: [String]
    /// NQN of the pool's subsystem.
    public var subsystem: String
    /// Its failure domain: pools of one domain share a machine, a rack, or a room, as the operator sees it.
    public var domain: String
    /// Bytes that all its namespaces may have together, as last seen.
    public var capacity: UInt64?
    /// Bytes of them that none has, as last seen.
    public var unallocated: UInt64?

    public init(name: String, addresses: [String], subsystem: String, domain: String) {
        self.name = name
        self.addresses = addresses
        self.subsystem = subsystem
        self.domain = domain
    }

    /// The addresses, read.
    public var targets: [SocketAddress] { addresses.compactMap { SocketAddress($0, defaultPort: 4420) } }

    /// Throws if the entry breaks a rule.
    public func validate() throws(RegistryError) {
        try VolumeEntry.validate(name: name)
        func wrong(_ problem: String) -> RegistryError { RegistryError(.invalid, "pool \(name): \(problem)") }
        guard !addresses.isEmpty, targets.count == addresses.count else {
            throw wrong("its addresses are \(addresses); allowed: one or more of ADDRESS:PORT")
        }
        guard subsystem.hasPrefix("nqn."), subsystem.utf8.count <= 223 else {
            throw wrong("its subsystem is \(VolumeEntry.printable(subsystem)); allowed: an NQN")
        }
        guard (1...128).contains(domain.utf8.count) else {
            throw wrong("its failure domain has \(domain.utf8.count) bytes; allowed: 1 to 128")
        }
    }
}

/// The pools and the nodes of a registry, and the revision of their last change; `nil` if none was ever entered.
public struct RegisteredPools: Equatable, Sendable {
    public var pools: [PoolEntry]
    /// Nodes that have entered themselves.
    public var nodes: [NodeEntry]
    public var revision: Revision?

    public init(_ pools: [PoolEntry] = [], nodes: [NodeEntry] = [], revision: Revision? = nil) {
        self.pools = pools
        self.nodes = nodes
        self.revision = revision
    }

    /// The pool of a name; `nil` if there is none.
    public subscript(name: String) -> PoolEntry? { pools.first { $0.name == name } }
}

/// The pools and nodes that a registry keeps: one record of them all. They are few, and change when an operator says so, or when a node
/// comes for the first time.
public protocol PoolRecords: Sendable {
    /// The record as it was written, and the revision of its last change; `nil` if none was ever written.
    func poolRecord() async throws(RegistryError) -> (text: [UInt8], revision: Revision)?

    /// Writes the record, if the present one has the expected revision; `nil` if there is to be none. It is durable when this
    /// returns. Throws `conflict` if the present one is another.
    func put(poolRecord text: String, expecting expected: Revision?) async throws(RegistryError) -> Revision
}

extension PoolRecords {
    public func pools() async throws(RegistryError) -> RegisteredPools {
        guard let (text, revision) = try await poolRecord() else { return RegisteredPools() }
        let (data, decoder) = (Data(text), JSONDecoder())
        guard let version = try? decoder.decode(PoolRecord.Version.self, from: data).version else {
            throw RegistryError(
                .damaged, "the registry's record of pools cannot be read: it is no JSON, or has no version")
        }
        guard (PoolRecord.oldest...PoolRecord.newest).contains(version) else {
            throw RegistryError(
                .unknownVersion,
                "the registry's record of pools has version \(version), and this release knows \(PoolRecord.newest): use the release "
                    + "that wrote it, or a later one; nothing was changed")
        }
        do {
            let record = try decoder.decode(PoolRecord.self, from: data)
            return RegisteredPools(record.pools, nodes: record.nodes ?? [], revision: revision)
        } catch {
            throw RegistryError(
                .damaged, "the registry's record of pools cannot be read: \(VolumeEntry.problem(error))")
        }
    }

    /// Writes all pools, if the record that is there has the expected revision. Its nodes stay.
    @discardableResult
    public func put(pools: [PoolEntry], expecting expected: Revision?) async throws(RegistryError) -> Revision {
        let nodes = expected == nil ? [] : try await self.pools().nodes
        return try await put(pools: pools, nodes: nodes, expecting: expected)
    }

    /// Writes all pools and nodes, if the record that is there has the expected revision.
    @discardableResult
    public func put(
        pools: [PoolEntry], nodes: [NodeEntry], expecting expected: Revision?
    ) async throws(RegistryError) -> Revision {
        for pool in pools { try pool.validate() }
        for node in nodes { try node.validate() }
        guard Set(pools.map(\.name)).count == pools.count else {
            throw RegistryError(.invalid, "two pools have one name")
        }
        guard Set(nodes.map(\.name)).count == nodes.count else {
            throw RegistryError(.invalid, "two nodes have one name")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(PoolRecord(pools: pools, nodes: nodes)) else {
            throw RegistryError(.invalid, "the pools have a value that cannot be written")
        }
        guard data.count <= PoolRecord.greatestSize else {
            throw RegistryError(
                .invalid,
                "the record of \(pools.count) pools and \(nodes.count) nodes takes \(data.count) bytes; allowed: \(PoolRecord.greatestSize)"
            )
        }
        return try await put(poolRecord: String(decoding: data, as: UTF8.self), expecting: expected)
    }
}

/// All pools as they are written.
private struct PoolRecord: Codable {
    static let oldest = 1
    /// The first one with nodes, which earlier releases would not keep.
    static let newest = 2
    /// In bytes: more than etcd takes is no use.
    static let greatestSize = 1 << 20

    struct Version: Decodable { var version: Int }

    var version: Int
    var pools: [PoolEntry]
    var nodes: [NodeEntry]?

    init(pools: [PoolEntry], nodes: [NodeEntry]) {
        version = nodes.isEmpty ? Self.oldest : Self.newest
        self.pools = pools
        self.nodes = nodes.isEmpty ? nil : nodes
    }
}

extension RegistryError {
    /// The pools are not as they were when they were read.
    public static func poolConflict(present: Revision?) -> RegistryError {
        RegistryError(
            .conflict(present: present),
            "the pools in the registry have been changed by another program meanwhile: try again")
    }
}
