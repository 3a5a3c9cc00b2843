import Base
import TargetInterface

/// The namespaces of a pool, and the rules of their changes: values in, values out, no file.
///
/// A namespace is written down before its file is made, and until its file has gone. So after a death there is no file that
/// nobody knows of, and none is removed that the pool did not make.
public struct PoolContents: Equatable, Sendable {
    /// The life of a namespace, as far as it is written down.
    public enum Stage: String, Codable, Sendable {
        /// Its file may be there in part. Nobody has been told of it.
        case making
        case there
        /// Its file may be there still. Nobody sees it any more.
        case removing
    }

    /// A namespace with its stage.
    public struct Entry: Equatable, Sendable {
        public var namespace: PoolNamespace
        public var stage: Stage

        public init(_ namespace: PoolNamespace, _ stage: Stage) {
            self.namespace = namespace
            self.stage = stage
        }
    }

    /// In the order of their identifiers.
    public private(set) var entries: [Entry]

    /// - Throws: if two have one identifier or one UUID, or a size is none.
    public init(_ entries: [Entry] = []) throws(TercetError) {
        self.entries = entries.sorted { $0.namespace.nsid < $1.namespace.nsid }
        for (one, next) in zip(self.entries, self.entries.dropFirst())
        where one.namespace.nsid == next.namespace.nsid {
            throw TercetError(.damaged, "namespace \(one.namespace.nsid) is there twice")
        }
        guard Set(entries.map(\.namespace.uuid)).count == entries.count else {
            throw TercetError(.damaged, "two namespaces have one UUID")
        }
        for namespace in entries.map(\.namespace) {
            let size = namespace.blockCount.multipliedReportingOverflow(by: UInt64(namespace.blockSize))
            guard namespace.nsid > 0, size.partialValue > 0, !size.overflow, size.partialValue <= UInt64(Int64.max)
            else { throw TercetError(.damaged, "namespace \(namespace.nsid) has no identifier or no size") }
        }
    }

    /// The namespaces that there are.
    public var namespaces: [PoolNamespace] { entries.filter { $0.stage == .there }.map(\.namespace) }

    /// Those whose files are to be removed: nobody has been told of them, or they have been deleted.
    public var leftovers: [PoolNamespace] { entries.filter { $0.stage != .there }.map(\.namespace) }

    /// Begins to make a namespace, under the lowest identifier that is free. One with the UUID that is wanted is there already if it
    /// is the answer: its stage says so.
    public mutating func make(
        blockCount: UInt64, uuid wanted: UUIDBytes? = nil, within limits: PoolLimits
    ) throws(PoolRefusal) -> Entry {
        guard blockCount > 0 else { throw .empty }
        if let wanted, let known = entries.first(where: { $0.namespace.uuid == wanted }) {
            guard known.stage == .there, known.namespace.blockCount == blockCount,
                known.namespace.blockSize == limits.blockSize
            else { throw .uuidInUse(wanted) }
            return known
        }
        try checkRoom(for: blockCount, limits.blockSize, within: limits)
        guard entries.count < limits.maxNamespaces else { throw .noIdentifier(max: limits.maxNamespaces) }
        let place = entries.enumerated().first { $0.element.namespace.nsid != UInt32($0.offset + 1) }?.offset
        let free = place ?? entries.count
        let namespace = PoolNamespace(
            nsid: UInt32(free + 1), uuid: wanted ?? .random(), blockCount: blockCount, blockSize: limits.blockSize)
        let entry = Entry(namespace, .making)
        entries.insert(entry, at: free)
        return entry
    }

    /// The file of a namespace is there.
    public mutating func made(_ nsid: UInt32) {
        guard let place = place(of: nsid) else { invariantViolated("a namespace is made once it has been begun") }
        entries[place].stage = .there
    }

    public mutating func setAttached(_ isAttached: Bool, _ nsid: UInt32) throws(PoolRefusal) {
        guard let place = place(of: nsid), entries[place].stage == .there else { throw .notFound(nsid) }
        guard entries[place].namespace.isAttached != isAttached else {
            throw isAttached ? .alreadyAttached(nsid) : .notAttached(nsid)
        }
        entries[place].namespace.isAttached = isAttached
    }

    /// Gives a namespace more blocks.
    public mutating func grow(
        _ nsid: UInt32, blockCount: UInt64, within limits: PoolLimits
    ) throws(PoolRefusal) {
        guard let place = place(of: nsid), entries[place].stage == .there else { throw .notFound(nsid) }
        let former = entries[place].namespace
        guard blockCount >= former.blockCount else { throw .cannotShrink(nsid, blockCount: former.blockCount) }
        try checkRoom(for: blockCount - former.blockCount, former.blockSize, within: limits)
        entries[place].namespace.blockCount = blockCount
    }

    private func checkRoom(
        for blockCount: UInt64, _ blockSize: UInt32, within limits: PoolLimits
    ) throws(PoolRefusal) {
        let size = blockCount.multipliedReportingOverflow(by: UInt64(blockSize))
        // A namespace that is being removed still takes its place.
        let taken = entries.reduce(0 as UInt64) { $0.addingReportingOverflow($1.namespace.byteCount).partialValue }
        let unallocated = limits.capacity - min(limits.capacity, taken)
        guard !size.overflow, size.partialValue <= unallocated else {
            throw .insufficientCapacity(needed: size.overflow ? .max : size.partialValue, unallocated: unallocated)
        }
    }

    /// Begins to remove a namespace: nobody sees it from now on.
    public mutating func remove(_ nsid: UInt32) throws(PoolRefusal) {
        guard let place = place(of: nsid), entries[place].stage == .there else { throw .notFound(nsid) }
        entries[place].stage = .removing
        entries[place].namespace.isAttached = false
    }

    /// A namespace that is being made does not come about.
    public mutating func abandon(_ nsid: UInt32) {
        if let place = place(of: nsid) { entries[place].stage = .removing }
    }

    /// The file of a leftover has gone.
    public mutating func removed(_ nsid: UInt32) {
        entries.removeAll { $0.namespace.nsid == nsid && $0.stage != .there }
    }

    private func place(of nsid: UInt32) -> Int? { entries.firstIndex { $0.namespace.nsid == nsid } }
}
