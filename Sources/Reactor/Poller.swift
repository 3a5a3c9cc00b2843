import Base

/// A part of a reactor: polled while there is work, and asked to arm its notifications before the reactor sleeps.
///
/// A poller is used by one thread only and takes the time from its caller, so that the simulation can run the same code
/// in virtual time. An abstract class and not a protocol: one indirect jump per poll, no reference counting.
open class Poller {
    public init() {}

    /// Does what there is to do and returns how much that was; 0 when idle. Never waits.
    open func poll(now: MonotonicTime) -> Int { 0 }

    /// When `poll` must be called again even if nothing happens.
    open var nextDeadline: MonotonicTime { .distantFuture }

    /// Whether its notifications cost more than a descriptor that epoll watches: an interrupt, or another thread's step, as those
    /// of an RDMA device do. A reactor with such a poller goes on polling for a while before it sleeps.
    open var isDearToWake: Bool { false }

    /// Arms all notifications. Whatever arrived before is found by one more `poll`, which the reactor makes before it
    /// sleeps.
    open func prepareToSleep() {}

    /// Clears the notifications after the reactor woke up.
    open func wokeUp() {}

    /// One of the descriptors that the reactor watches, perhaps not one of this poller's, was readable when it woke up. Clears
    /// its notification; a poller that does not tell them apart clears all of its own.
    open func becameReady(_ descriptor: Int32) { wokeUp() }

    /// Changes whenever `descriptors` does.
    open var descriptorGeneration: UInt64 { 0 }

    /// File descriptors that become readable when there is work while the reactor sleeps.
    open var descriptors: [Int32] { [] }
}

/// Polls pollers in each round, on its own thread: a reactor, or a program's own loop.
public protocol PollerHost: AnyObject, Sendable {
    /// Polls `poller` from now on, behind those that were added before. On its thread only.
    func add(_ poller: Poller)
    /// Does not poll it any more. On its thread only; also in the middle of a round.
    func remove(_ poller: Poller)
}
