import Base

/// One device as one reactor uses it: its protection domain, a completion queue with its channel, and a shared receive
/// queue. Used by the reactor's thread only, but for `register` and `deregister`, which any thread may call.
///
/// An abstract class and not a protocol: work is posted and polled in batches, so that a call here is one indirect jump
/// per batch, without reference counting and without a generic parameter in every room above.
open class FabricContext {
    public init() {}

    /// The device's name: `mlx5_0`.
    open var deviceName: String { invariantAbstract() }

    open var limits: DeviceLimits { invariantAbstract() }

    /// A number that is equal in all contexts of one device and its protection domain: memory registered through one of
    /// them can be used through all.
    open var domain: UInt { invariantAbstract() }

    /// The sizes that this context has: what was asked for, as far as the device goes.
    open var grantedOptions: ContextOptions { invariantAbstract() }

    /// Registers memory with the device.
    open func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        invariantAbstract()
    }

    /// Ends a registration: peers and the device can no longer reach the memory through its keys.
    open func deregister(_ region: MemoryRegion) { invariantAbstract() }

    /// Makes the queue pair of a connection (active side: after `routeResolved`; passive side: after `requested`).
    open func createQueuePair(
        for connection: ConnectionHandle, _ options: QueuePairOptions
    ) throws(TercetError) -> QueuePairHandle {
        invariantAbstract()
    }

    /// Bytes that `WorkFlags.inline` may carry on this queue pair.
    open func inlineDataLimit(of queuePair: QueuePairHandle) -> Int { invariantAbstract() }

    /// Posts work in order, with one doorbell for each run of requests of one queue pair. The caller counts the entries of
    /// each send queue; work that the device refuses all the same takes its queue pair to the error state and completes
    /// as `localError`.
    open func post(_ requests: UnsafeBufferPointer<WorkRequest>) { invariantAbstract() }

    /// Posts buffers to the shared receive queue, no more at once than `grantedOptions.sharedReceiveEntries`. A buffer that
    /// was taken by a queue pair whose connection is destroyed before the completion was polled goes back into the queue by
    /// itself. Ids whose upper 16 bits are all set, of any work request, are reserved.
    open func postSharedReceives(_ requests: UnsafeBufferPointer<ReceiveRequest>) { invariantAbstract() }

    /// Posts buffers to one queue pair's receive queue.
    open func postReceives(_ requests: UnsafeBufferPointer<ReceiveRequest>, to queuePair: QueuePairHandle) {
        invariantAbstract()
    }

    /// Takes up to `completions.count` completions; returns how many. Never waits.
    open func poll(into completions: UnsafeMutableBufferPointer<WorkCompletion>) -> Int { invariantAbstract() }

    /// Takes the queue pair to the error state: all that is posted completes as `flushed`.
    open func fail(_ queuePair: QueuePairHandle) { invariantAbstract() }

    /// A descriptor that becomes readable after `armNotification` when a completion arrives.
    open var notificationDescriptor: Int32 { invariantAbstract() }

    /// Asks for one notification at the next completion. The caller polls once more afterwards before it sleeps:
    /// completions from before the call do not notify.
    open func armNotification() { invariantAbstract() }

    /// Consumes the notification after the descriptor became readable.
    open func acknowledgeNotification() { invariantAbstract() }
}
