import Base

/// News of a port for the engine, once a round. Plain data.
public enum TransportEvent: BitwiseCopyable {
    /// A command arrived.
    case capsule(Capsule)
    /// A fetch has ended: the data is in the buffer, or the connection ended before. Once for each `fetch`; with whether it had
    /// to wait for room.
    case fetched(RequestIndex, isComplete: Bool, hasWaited: Bool)
    /// An answer has left, or never will: the transport does not touch the request's memory any more. Once for each `answer`;
    /// with whether it had to wait for room.
    case answered(RequestIndex, hasWaited: Bool)
    /// A connection broke, or its host broke the transport's rules; `TransportPort.failure(of:)` says how. The engine closes it.
    case failed(ConnectionIndex)
}

/// The facts about a connection before its host has sent Connect.
public struct ConnectionOrigin: Sendable {
    /// The queue that the connection is for, as the transport's own greeting says; Connect must say the same.
    public var queueID: UInt16
    /// Entries of the host's submission queue, 1-based.
    public var entries: UInt32
    public var localAddress: SocketAddress?
    public var peerAddress: SocketAddress?
    /// The NUMA node of the device that it came over; `nil` if that is not known.
    public var node: Int?

    public init(
        queueID: UInt16, entries: UInt32, localAddress: SocketAddress? = nil, peerAddress: SocketAddress? = nil,
        node: Int? = nil
    ) {
        self.queueID = queueID
        self.entries = entries
        self.localAddress = localAddress
        self.peerAddress = peerAddress
        self.node = node
    }

    /// It is for an admin queue.
    public var isAdmin: Bool { queueID == 0 }

    /// The peer, for the log.
    public var peer: String { peerAddress?.description ?? "an unknown address" }
}

/// Connections by the kinds of their queues.
public struct ConnectionCounts: Equatable, Sendable {
    public var admin: Int
    public var io: Int

    public init(admin: Int = 0, io: Int = 0) { (self.admin, self.io) = (admin, io) }

    public var total: Int { admin + io }

    public mutating func add(_ count: Int, isAdmin: Bool) {
        if isAdmin { admin += count } else { io += count }
    }
}

/// A connection that a host asked for and nobody has accepted.
public struct PendingConnection: Sendable {
    public var number: UInt64
    public var origin: ConnectionOrigin

    public init(number: UInt64, origin: ConnectionOrigin) {
        self.number = number
        self.origin = origin
    }
}

/// A connection on its way from the transport that received it to that of the reactor that will serve it.
public protocol TransportTicket: Sendable {}

/// A listener of one transport.
public struct ListenerNumber: Hashable, Sendable {
    public var value: UInt64
    public init(value: UInt64) { self.value = value }
}

/// News of connections and listeners.
public enum ConnectionNotice: Sendable {
    /// A host asks for a connection, which is such as the transport can serve: to `accept` or to `handOver`.
    case requested(PendingConnection)
    /// An accepted connection is open: capsules may come from now on.
    case opened(PortIndex, ConnectionIndex, ConnectionOrigin)
    /// An open connection ended, by its host or by the loss of it. The engine closes it.
    case ended(PortIndex, ConnectionIndex)
    /// A connection was not accepted.
    case refused(peer: String, reason: String)
    /// The address of a listener is gone.
    case listenerLost(ListenerNumber)
}
