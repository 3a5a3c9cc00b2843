import Base

/// The transport of one reactor: its listeners, its connections, and its ports. Knows no subsystem.
///
/// Used by the reactor's thread only. Called a few times in a round, never for each I/O.
public protocol TargetTransport: AnyObject {
    /// Listens at an address.
    func listen(at address: SocketAddress) throws(TercetError) -> ListenerNumber
    /// Ends a listener. Connections stay.
    func stopListening(_ listener: ListenerNumber)

    /// The next notice, or `nil`. Never waits.
    func nextNotice(now: MonotonicTime) -> ConnectionNotice?

    /// Accepts a connection that was requested: `opened` or `refused` follows.
    func accept(_ connection: PendingConnection, now: MonotonicTime)
    /// Takes a requested connection out of this transport, for another reactor's to `adopt`.
    func handOver(_ connection: PendingConnection) -> any TransportTicket
    /// Accepts a connection that another reactor's transport of the same kind received.
    func adopt(_ ticket: any TransportTicket, now: MonotonicTime)

    /// The ports, in the order of their indices; one more appears when a connection comes over a device that is new.
    var ports: [any TransportPort] { get }

    /// The connections that there are, also those that end. Asked for when the reactor is about to sleep: kept, and not counted then.
    var connectionCounts: ConnectionCounts { get }

    /// Memory that was lent is about to be unmapped.
    func forget(_ memory: UnsafeMutableRawBufferPointer)
    /// Looks at timers; every 100 ms.
    func tick(now: MonotonicTime)

    /// A descriptor that is readable while `nextNotice` has something, or -1.
    var noticeDescriptor: Int32 { get }
    /// Descriptors that become readable when there is work while the reactor sleeps; and a number that changes with them.
    var descriptors: [Int32] { get }
    var descriptorGeneration: UInt64 { get }
    /// Asks for a notification of what comes next.
    func armNotifications()
    func acknowledgeNotifications()
    /// One descriptor was readable; `false` where it is not the transport's.
    func acknowledgeNotification(_ descriptor: Int32) -> Bool

    /// Ends all connections: nothing touches the ports' memory any more.
    func endConnections()
    /// Frees everything. No port may be used any more.
    func close()
}

/// One port of a transport: a device with its connections, buffers for capsules, and memory for data.
///
/// Events and orders cross in batches: one call each in a round.
public protocol TransportPort: AnyObject {
    var traits: PortTraits { get }

    /// Writes the events since the last call; returns how many. Never more than there is room for: the rest comes with the
    /// next call.
    func poll(into events: UnsafeMutableBufferPointer<TransportEvent>, now: MonotonicTime) -> Int
    /// Carries out a round's orders. Called at the end of each round even if there are none: what the port's own events and
    /// timers have left to post goes then.
    func carry(_ orders: UnsafeBufferPointer<TransportOrder>, now: MonotonicTime)
    /// Events wait for the next `poll`, and no notification will tell of them.
    var hasEvents: Bool { get }
    /// Buffers of capsules that have not been given back, whether or not the engine has been told of them.
    var heldCapsules: Int { get }

    /// Says for each piece of memory whether answers can be sent from there. A loan ends with the request's answer, or by
    /// `endLoan`.
    func lend(_ loans: UnsafeMutableBufferPointer<Loan>, now: MonotonicTime)
    /// Lending costs more than copying, at present.
    func lendsAtALoss() -> Bool
    /// Registrations of lent memory that are kept for the next use.
    var keptLoans: Int { get }

    /// Takes back a fetch that has not begun; `false` where it has. No event follows then.
    func withdraw(_ request: RequestIndex) -> Bool
    /// How a connection failed, for the log.
    func failure(of connection: ConnectionIndex) -> String

    var use: PortUse { get }
}
