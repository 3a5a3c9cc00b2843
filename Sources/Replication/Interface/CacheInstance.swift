/// Tells whether a member's volatile write cache is still what it was.
public struct CacheInstance: Equatable, Sendable, BitwiseCopyable {
    /// Changes whenever the cache may have been lost, or a part of it may not get to the media any more; 0 where the target does
    /// not tell, a constant where the namespace has no volatile write cache.
    public var number: UInt64
    /// The number at which the device was opened: what was cached since can be read. 0 where the target does not tell.
    public var opening: UInt64

    public init(number: UInt64, opening: UInt64 = 0) {
        self.number = number
        self.opening = opening
    }
}

/// The fate of what a member had cached and not flushed when a record was written, the best first.
enum CacheFate: UInt8, BitwiseCopyable {
    /// It is there, and a flush makes it durable.
    case kept
    /// It can be read, and may be on no media after a flush: a flush before that one failed.
    case readable
    /// The target does not tell.
    case untold
    case lost
}
