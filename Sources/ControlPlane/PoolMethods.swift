/// The methods of `tercetd`'s control socket that change a pool: durable before they are answered. What there is says
/// `TargetMethod.get`.
public enum PoolMethod {
    /// `PoolCreateRequest` to `PoolState.Namespace`.
    public static let create = "pool.create"
    /// `PoolGrowRequest` to `NoParameters`.
    public static let grow = "pool.grow"
    /// `PoolNamespaceRequest` to `NoParameters`, as the next two.
    public static let attach = "pool.attach"
    public static let detach = "pool.detach"
    public static let delete = "pool.delete"
}

/// A namespace that is to be made in a pool.
public struct PoolCreateRequest: Codable, Sendable {
    /// The subsystem.
    public var subsystem: String
    /// Bytes, a multiple of the pool's block size.
    public var size: UInt64
    /// The UUID that it is to have; one of this UUID and size that is there already is the answer, so that the call can be repeated.
    public var uuid: String?
    /// Hosts are to see it at once.
    public var isAttached: Bool?

    public init(subsystem: String, size: UInt64, uuid: String? = nil, isAttached: Bool? = nil) {
        self.subsystem = subsystem
        self.size = size
        self.uuid = uuid
        self.isAttached = isAttached
    }
}

/// A namespace of a pool.
public struct PoolNamespaceRequest: Codable, Sendable {
    public var subsystem: String
    public var nsid: UInt32

    public init(subsystem: String, nsid: UInt32) {
        self.subsystem = subsystem
        self.nsid = nsid
    }
}

/// A namespace of a pool that is to be larger.
public struct PoolGrowRequest: Codable, Sendable {
    public var subsystem: String
    public var nsid: UInt32
    /// Bytes, a multiple of its block size; no fewer than it has.
    public var size: UInt64

    public init(subsystem: String, nsid: UInt32, size: UInt64) {
        self.subsystem = subsystem
        self.nsid = nsid
        self.size = size
    }
}

/// A pool as it is.
public struct PoolState: Codable, Sendable {
    public struct Namespace: Codable, Sendable {
        public var nsid: UInt32
        /// Its UUID and NGUID.
        public var uuid: String
        /// Bytes.
        public var size: UInt64
        /// Bytes.
        public var blockSize: UInt32
        /// Hosts see it.
        public var isAttached: Bool

        public init(nsid: UInt32, uuid: String, size: UInt64, blockSize: UInt32, isAttached: Bool) {
            self.nsid = nsid
            self.uuid = uuid
            self.size = size
            self.blockSize = blockSize
            self.isAttached = isAttached
        }
    }

    public var folder: String
    /// Bytes that all namespaces may have together.
    public var capacity: UInt64
    /// Bytes of them that no namespace has.
    public var unallocated: UInt64
    /// Bytes that are free in its file system; `nil` where that is not known. Where it is less than what namespaces may still take,
    /// writes may find no room.
    public var free: UInt64?
    public var maxNamespaces: Int
    /// Bytes of a logical block of new namespaces.
    public var blockSize: UInt32
    public var namespaces: [Namespace]

    public init(
        folder: String, capacity: UInt64, unallocated: UInt64, free: UInt64?, maxNamespaces: Int, blockSize: UInt32,
        namespaces: [Namespace]
    ) {
        self.folder = folder
        self.capacity = capacity
        self.unallocated = unallocated
        self.free = free
        self.maxNamespaces = maxNamespaces
        self.blockSize = blockSize
        self.namespaces = namespaces
    }
}
