import Base

/// A connection or a connection being made, within one `Fabric` (librdmacm: `struct rdma_cm_id`). Never reused.
public struct ConnectionHandle: Hashable, Sendable, BitwiseCopyable {
    public var value: UInt64
    @inlinable public init(value: UInt64) { self.value = value }
}

/// A listener within one `Fabric`.
public struct ListenerHandle: Hashable, Sendable, BitwiseCopyable {
    public var value: UInt64
    @inlinable public init(value: UInt64) { self.value = value }
}

/// A connection request on its way from the fabric that received it to the fabric of the reactor that will serve it.
public struct ConnectionTicket: Sendable {
    public var value: UInt
    public init(value: UInt) { self.value = value }
}

/// A request for a connection, with its data.
public struct ConnectionRequest: Sendable {
    public var listener: ListenerHandle
    public var localAddress: SocketAddress?
    public var peerAddress: SocketAddress?
    /// The NUMA node of the device that it came over; `nil` if that is not known.
    public var node: Int?
    /// As the passive side sees it: `initiatorDepth` is the READs that we may have running, `responderResources` those
    /// that the peer may have running towards us.
    public var parameters: ConnectionParameters

    public init(
        listener: ListenerHandle, localAddress: SocketAddress?, peerAddress: SocketAddress?, node: Int? = nil,
        parameters: ConnectionParameters
    ) {
        self.listener = listener
        self.node = node
        self.localAddress = localAddress
        self.peerAddress = peerAddress
        self.parameters = parameters
    }
}

/// An event of the connection manager (librdmacm: `enum rdma_cm_event_type`).
public enum ConnectionEvent: Sendable {
    /// Passive side: a peer wants to connect. Answer with `accept` or `reject`, here or, after `handOver`, elsewhere.
    case requested(ConnectionHandle, ConnectionRequest)
    /// Active side: the device towards the peer is known; create a context and a queue pair, then call `connect`.
    case routeResolved(ConnectionHandle)
    /// Both sides: messages can be sent. On the active side with what the peer sent along.
    case established(ConnectionHandle, ConnectionParameters)
    /// Active side: the peer refused; with what it sent along.
    case rejected(ConnectionHandle, privateData: [UInt8], reason: Int32)
    /// The attempt failed: no such address, no route, no answer, or an error of the device.
    case failed(ConnectionHandle, TercetError)
    /// The connection ended: by the peer, by us, or by the loss of either.
    case disconnected(ConnectionHandle)
    /// The device of this connection is going away.
    case deviceRemoved(ConnectionHandle)
    /// The device of this listener is going away, or its address is gone.
    case listenerLost(ListenerHandle)
}

/// The connection manager of one reactor: listeners, connections, and the contexts of the devices that they use.
///
/// Used by its reactor's thread only. An abstract class and not a protocol, as `FabricContext` is.
open class Fabric {
    public init() {}

    /// Listens at an address, also at a wildcard one. Throws when it is in use or no RDMA device has it.
    open func listen(at address: SocketAddress, backlog: Int) throws(TercetError) -> ListenerHandle {
        invariantAbstract()
    }

    /// Ends a listener. Requests that have been reported stay valid.
    open func stopListening(_ listener: ListenerHandle) { invariantAbstract() }

    /// The address at which a listener listens, with the port that was assigned if 0 was asked for.
    open func address(of listener: ListenerHandle) -> SocketAddress? { invariantAbstract() }

    /// Begins a connection: resolves the address and the route, then reports `routeResolved` or `failed`.
    open func resolve(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(TercetError) -> ConnectionHandle {
        invariantAbstract()
    }

    /// Active side: sends the connection request. A queue pair must have been made for the connection.
    open func connect(_ connection: ConnectionHandle, _ parameters: ConnectionParameters) throws(TercetError) {
        invariantAbstract()
    }

    /// Passive side: accepts. A queue pair must have been made for the connection, and its receives posted.
    open func accept(_ connection: ConnectionHandle, _ parameters: ConnectionParameters) throws(TercetError) {
        invariantAbstract()
    }

    /// Passive side: refuses, with up to 148 bytes for the peer, and frees the connection.
    open func reject(_ connection: ConnectionHandle, privateData: [UInt8]) { invariantAbstract() }

    /// Takes a requested connection out of this fabric, for another reactor to `adopt`.
    open func handOver(_ connection: ConnectionHandle) -> ConnectionTicket { invariantAbstract() }

    /// Takes a connection over that another reactor's fabric received. Its events come here from now on. If this throws,
    /// the ticket is as good as before: the caller discards it, or has another fabric adopt it.
    open func adopt(_ ticket: ConnectionTicket) throws(TercetError) -> ConnectionHandle { invariantAbstract() }

    /// Frees a connection that was handed over and that nobody will adopt, refusing it.
    open func discard(_ ticket: ConnectionTicket) { invariantAbstract() }

    /// Ends a connection: its queue pair goes to the error state, all posted work completes as `flushed`, the peer is
    /// told, and `disconnected` is reported. May be called at any time, more than once.
    open func disconnect(_ connection: ConnectionHandle) { invariantAbstract() }

    /// Frees the connection and its queue pair. Completions that have not been polled are gone, and no event follows.
    open func destroy(_ connection: ConnectionHandle) { invariantAbstract() }

    /// The context, in this reactor, of the device that a connection uses; made with `options` when first asked for.
    open func context(for connection: ConnectionHandle, _ options: ContextOptions) throws(TercetError) -> FabricContext
    {
        invariantAbstract()
    }

    /// The next event, or `nil`. Never waits.
    open func nextEvent() -> ConnectionEvent? { invariantAbstract() }

    /// A descriptor that is readable while `nextEvent` has something, or -1.
    open var eventDescriptor: Int32 { -1 }

    /// Ends all listeners and connections and frees the contexts.
    open func close() { invariantAbstract() }
}
