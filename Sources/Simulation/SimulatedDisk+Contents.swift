import BlockInterface

/// For the eyes of tests.
extension SimulatedDisk {
    /// Contents as reads see them now.
    public var contents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: cached, count: Int(geometry.byteCount))
    }

    /// Contents after a loss of power that keeps nothing of the cache.
    public var durableContents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: durable, count: Int(geometry.byteCount))
    }

    /// Blocks that were written and not flushed.
    public var unflushedCount: Int { isUnflushed.count { $0 } }

    /// Whether a block was written and not flushed.
    public func isUnflushed(_ block: UInt64) -> Bool { isUnflushed[Int(block)] }

    /// All blocks whose contents in the cache and on the media may differ.
    public var blocksInCache: [UInt64] { unflushed + forgotten }

    /// Blocks that cannot be read.
    public var unreadableCount: Int { unreadable.count }
}
