import Base

/// A connection of a transport: one queue of one controller.
public struct HostConnectionIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}

/// A queue's wish for a connection.
public struct HostConnectionRequest: Sendable {
    /// The address at which the subsystem listens.
    public var address: SocketAddress
    /// The local address to connect from; `nil` leaves the choice to the routing table.
    public var source: SocketAddress?
    /// QID: 0 for the admin queue.
    public var queueID: UInt16
    /// CNTLID of the controller that the queue is for; FFFFh for any.
    public var controllerID: UInt16
    /// Entries of the submission queue; one less may be under way.
    public var entries: Int
    /// How long the engine waits for the connection, in milliseconds.
    public var timeoutMilliseconds: UInt32

    public init(
        address: SocketAddress, source: SocketAddress?, queueID: UInt16, controllerID: UInt16, entries: Int,
        timeoutMilliseconds: UInt32
    ) {
        self.address = address
        self.source = source
        self.queueID = queueID
        self.controllerID = controllerID
        self.entries = entries
        self.timeoutMilliseconds = timeoutMilliseconds
    }
}

/// News of a connection.
public enum HostConnectionEvent: Sendable {
    /// Commands can be sent, so many at once.
    case connected(HostConnectionIndex, commands: Int)
    /// The attempt failed; there is no connection.
    case refused(HostConnectionIndex, ConnectionFailure)
    /// The connection is of no use any more: it is to be closed. Reported once, with the reason for people.
    case failed(HostConnectionIndex, reason: String)
    /// The connection is gone, and nobody reaches its commands' memory through it.
    case ended(HostConnectionIndex)
}

/// Why there is no connection.
public enum ConnectionFailure: Error, Equatable, Sendable {
    /// A call to the device, the system or the connection manager failed.
    case call(TercetError)
    /// The machine says that nobody listens there.
    case absent
    /// Nobody accepts connections there, or the controller refused this one; with its reason where it gave one.
    case refused(reason: String?)
    /// The connection broke while it was being made.
    case lost(String)
    /// The controller's consent makes no sense.
    case invalidReply(String)
    /// This host has no room for it.
    case resources(String)
}
