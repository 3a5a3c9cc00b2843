import NVMeSpec

/// One life of a connection between this host and a controller: from Connect to the loss of any of its queues.
public struct Association: Equatable, Sendable {
    /// Raised with each association of a `Controller`, from 1 on.
    public var number: UInt64
    /// CNTLID, as the controller chose it.
    public var controllerID: UInt16
    /// I/O queues that it has.
    public var queueCount: Int
    /// Identify Controller.
    public var identify: IdentifyController
    public var capabilities: ControllerCapabilities
    public var version: SpecificationVersion
}

/// Events of a controller, in order; delivered on its home group's thread.
public enum ControllerEvent: Sendable {
    /// Connected and ready for I/O, for the first time or again.
    case connected(Association)
    /// The association has ended, and no device reaches any operation's memory through it any more. Whether the
    /// controller has stopped working on its commands is not known.
    case disconnected(Association, reason: String)
    /// An attempt to reconnect failed; the next one follows after the delay.
    case reconnectFailed(InitiatorError, nextDelayMilliseconds: UInt64)
    /// Waiting operations have failed and new ones are refused (`fastIOFailMilliseconds`); attempts go on.
    case failingFast
    /// Given up for good.
    case lost(InitiatorError)
    /// Namespaces came, went or changed; `Controller.namespaces` is up to date. The list may be empty: any may have.
    case namespacesChanged([UInt32])
    /// The ANA log has changed; `Controller.anaLog()` reads it.
    case anaChanged
    /// The discovery log has changed.
    case discoveryLogChanged
    /// A reservation on a namespace, or this host's registration, has been taken away or given up by another host.
    case reservationNotification(ReservationNotificationLog)
    /// Any other asynchronous event.
    case asyncEvent(AsyncEvent)
    /// The controller's closing is complete.
    case closed
}

/// A namespace of a controller.
public struct NamespaceDescription: Equatable, Sendable {
    /// Its number in `IOOperation.namespace`; stays the same for as long as the `Controller` lives.
    public var index: Int
    public var nsid: UInt32
    public var identify: IdentifyNamespace
    public var descriptors: NamespaceDescriptors?
    /// Which opening of a device it is, where the target tells: see `TercetNamespaceIdentity`.
    public var instance: UInt64?
    /// The instance at which that device was opened, where the target tells.
    public var opening: UInt64?
    /// Why no I/O can be done on it; `nil` where it can.
    public var problem: String?

    /// Bytes of a logical block.
    public var blockSize: Int { identify.blockSize ?? 512 }
    /// Size in logical blocks.
    public var blockCount: UInt64 { identify.size }
}
