/// The limits of a pool, which its configuration may change at any time.
public struct PoolLimits: Equatable, Sendable {
    /// Bytes that all namespaces may promise together.
    public var capacity: UInt64
    /// Namespaces that there may be; identifiers go from 1 to this, as long as no more are there.
    public var maxNamespaces: Int
    /// Bytes of a logical block of namespaces that are made from now on.
    public var blockSize: UInt32

    public init(capacity: UInt64, maxNamespaces: Int, blockSize: UInt32) {
        self.capacity = capacity
        self.maxNamespaces = maxNamespaces
        self.blockSize = blockSize
    }
}
