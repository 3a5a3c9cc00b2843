import Base

/// When regions are copied, where none is waited for.
struct CopyPace: BitwiseCopyable {
    /// Members that are behind are not copied to.
    var isPaused = false
    /// Bytes per second; 0 for no limit.
    var rate: UInt64 = 0
    /// When the rate allows the next region.
    private var nextAt = MonotonicTime(nanoseconds: 0)
    /// When the maps are searched again after nothing was found: those of a large volume are not searched with each tick.
    private var lookAgainAt = MonotonicTime(nanoseconds: 0)
    /// When regions that no member could read are tried again.
    private var reconcileAgainAt = MonotonicTime(nanoseconds: 0)

    func isTooEarly(_ now: MonotonicTime) -> Bool { now < nextAt }
    func mayLookAgain(_ now: MonotonicTime) -> Bool { now >= lookAgainAt }
    func mayReconcile(_ now: MonotonicTime) -> Bool { now >= reconcileAgainAt }

    mutating func nothingFound(_ now: MonotonicTime) { lookAgainAt = now.advanced(byMilliseconds: 20) }

    mutating func reconcileLater(_ now: MonotonicTime, _ configuration: VolumeConfiguration) {
        reconcileAgainAt = now.advanced(byNanoseconds: configuration.reconnectDelay)
    }

    /// A region of so many bytes is being copied.
    mutating func started(_ bytes: UInt32, _ now: MonotonicTime) {
        guard rate > 0 else { return }
        nextAt = max(now, nextAt).advanced(byNanoseconds: UInt64(bytes) &* 1_000_000_000 / rate)
    }
}
