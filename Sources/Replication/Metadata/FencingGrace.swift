/// How long the reservations have to stay after an attachment has ended, because a writer that was fenced may still write.
///
/// The next attachment takes it over: it fences nobody who may write where it takes away what one that has detached left behind.
public struct FencingGrace: Equatable, Sendable, BitwiseCopyable {
    /// The time that was left at the detach, in milliseconds, rounded up; 0 where nobody may write any more.
    public var milliseconds: UInt32
    /// The clock by which `endSeconds` counts (`VolumeConfiguration.clock`); 0 for none.
    public var clock: UInt64
    /// When it ends by that clock, in seconds, rounded up.
    public var endSeconds: UInt32

    public init(milliseconds: UInt32 = 0, clock: UInt64 = 0, endSeconds: UInt32 = 0) {
        self.milliseconds = milliseconds
        self.clock = clock
        self.endSeconds = endSeconds
    }
}
