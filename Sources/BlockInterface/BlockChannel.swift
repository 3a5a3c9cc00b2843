import Base

/// The queue of one reactor to one device. Used by that reactor's thread only.
///
/// An abstract class and not a protocol: a call costs one indirect jump and no reference counting, and is made once per
/// batch.
open class BlockChannel {
    public init() {}

    /// Tells that buffers of requests will lie in this memory: a device that moves data itself registers it once, and then
    /// needs no copy. Others do nothing. The memory stays mapped as long as there is a channel to the device.
    open func announce(_ memory: UnsafeMutableRawBufferPointer) {}

    /// Hands over the first `n` of `requests` and returns `n`; the rest may be submitted again after completions have
    /// been polled. Never waits.
    open func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        invariantAbstract()
    }

    /// Takes up to `completions.count` ended operations; returns how many. Never waits.
    ///
    /// Also drives what needs more than one step (long ranges, comparisons), so it is called while `running` is not 0
    /// even if no completion is due.
    open func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        invariantAbstract()
    }

    /// Operations submitted whose completion has not been polled yet.
    open var running: Int { invariantAbstract() }

    /// Requests wait for a range that another reactor's operations hold. Nothing tells when it is free: `poll` tries again,
    /// and a reactor that sleeps does so for a millisecond at most.
    open var isBlocked: Bool { false }

    /// Withdraws a request that has not started; `true` when its completion will say `aborted`.
    open func cancel(tag: UInt64) -> Bool { false }

    /// Lends memory that holds the data of a range, for reading: nothing changes it until `giveBack`. `nil` if the device
    /// has none, or if it is better read into a buffer at the moment.
    open func borrow(offset: UInt64, length: UInt64) -> LentMemory? { nil }

    /// Ends a loan.
    open func giveBack(_ start: UnsafeMutableRawPointer, length: UInt64) { invariantAbstract() }

    /// A change waits for a range that is lent.
    open func isWanted(_ start: UnsafeMutableRawPointer, length: UInt64) -> Bool { false }

    /// A descriptor that becomes readable when a completion is there, or when `poll` has more to do; -1 if `poll` finds
    /// all completions at once, so that nothing is running when it returns.
    open var notificationDescriptor: Int32 { -1 }

    /// Makes the descriptor unreadable until the next completion. Called before the reactor sleeps, and followed by one
    /// more `poll`, so that nothing that ended in between is missed.
    open func armNotification() {}

    /// Clears the descriptor's readiness before `poll`; called after the reactor woke up.
    open func acknowledgeNotification() {}

    /// Frees the channel's resources. The caller has polled all completions, or the process is ending.
    open func close() {}
}

/// Memory that a device lends, with the data of a range.
public struct LentMemory: BitwiseCopyable {
    /// The first byte of the data.
    public let start: UnsafeMutableRawPointer
    /// The memory that the data lies in and that may be registered with it: registering more could take memory from the
    /// system that the device has not used yet. A device has no more than 1024 different ones, as long as ranges do not cross
    /// from one into the next.
    public let region: UnsafeMutableRawBufferPointer

    public init(start: UnsafeMutableRawPointer, region: UnsafeMutableRawBufferPointer) {
        self.start = start
        self.region = region
    }
}
