/// The wishes of a controller's user for its transfers.
public struct TransferWishes: Sendable, BitwiseCopyable {
    /// Bytes of data of one command, at most.
    public var maxBytes: Int
    /// Bytes of written data that travel in a capsule, at most.
    public var maxInCapsuleBytes: Int

    public init(maxBytes: Int, maxInCapsuleBytes: Int) {
        self.maxBytes = maxBytes
        self.maxInCapsuleBytes = maxInCapsuleBytes
    }
}

/// Limits of one command's data.
public struct TransferLimits: BitwiseCopyable, Sendable {
    /// Bytes of data of one command: MDTS, the host's own limit, and the transport's.
    public var maxBytes: UInt64
    /// Pieces of memory that one command can describe.
    public var maxPieces: Int
    /// Blocks of one command that carries no data.
    public var maxBlocks: UInt64

    /// Unless chosen: what every controller takes (MDTS is at least a page).
    public init(maxBytes: UInt64 = 4096, maxPieces: Int = 1, maxBlocks: UInt64 = 65536) {
        self.maxBytes = maxBytes
        self.maxPieces = maxPieces
        self.maxBlocks = maxBlocks
    }
}
