import Base
import NVMeSpec

/// Moves an initiator's commands to controllers and their answers back. Each reactor has one.
///
/// Values go in and come out once a round; nothing here waits or takes the time by itself. The command engine above knows no
/// fabric: which bytes travel how, in the capsule or fetched by the controller, is decided below this protocol. One thread
/// uses a transport.
///
/// Connections: `connect` begins one, `connected` or `refused` says how that ended. A connection that exists may report
/// `failed`, once; it is closed then, or whenever the engine wishes, and `ended` is the last word about it: from then on nobody
/// reaches the memory of its commands through it. A connection that is closed before it is made ends with `ended`, too. After
/// `refused` and `ended` its index may be used for another one.
public protocol HostTransport: AnyObject {
    /// Connections that exist at once, at most; their indices are below that.
    var connectionCapacity: Int { get }

    // MARK: Connections

    /// Begins a connection. Throws where there is no room for another one, or the address cannot be used.
    func connect(_ request: HostConnectionRequest) throws(ConnectionFailure) -> HostConnectionIndex

    /// Why the transport cannot serve a controller that says this of itself; `nil` where it can.
    func objection(to controller: IdentifyController) -> String?

    /// Settles how data of a connection's commands travels, by what the controller says and what is wished; before that it is
    /// moved as any controller of the transport takes it. The connection exists.
    func configure(
        _ connection: HostConnectionIndex, for controller: IdentifyController, _ wishes: TransferWishes
    ) -> TransferLimits

    /// Ends a connection. Capsules that were sent before are sent.
    func close(_ connection: HostConnectionIndex)

    // MARK: Rounds

    /// Takes what has arrived. The events stay as they are until the next call.
    func poll(now: MonotonicTime) -> CommandEvents

    /// The next news of a connection by the last poll, in order; `nil` when there is no more.
    func nextEvent() -> HostConnectionEvent?

    /// Takes capsules for sending, in order. For each connection no more are under way than it was granted.
    func send(_ capsules: UnsafeBufferPointer<CommandCapsule>)

    /// Lets everything leave that was taken since the last call.
    func flush()

    // MARK: Memory

    /// The device through which a connection's commands reach this host's memory; `nil` without the connection.
    func device(of connection: HostConnectionIndex) -> TransportDevice?

    /// A buffer of up to `ControlBuffer.byteCount` bytes for data of one control command; `nil` when all are taken: one
    /// that is given back can be taken again.
    func takeControlBuffer(_ connection: HostConnectionIndex, _ direction: DataDirection) -> ControlBuffer?

    /// Gives a buffer back; only once no controller can reach it any more.
    func giveControlBuffer(_ buffer: ControlBuffer)

    // MARK: Sleeping

    /// When `poll` must be called again even if nothing happens.
    var nextDeadline: MonotonicTime { get }

    /// Descriptors that become readable when there is work while the reactor sleeps.
    var descriptors: [Int32] { get }

    /// Changes whenever `descriptors` does.
    var descriptorGeneration: UInt64 { get }

    /// Looks for news of connections with the next poll, however short the time since the last look.
    func expectEvents()

    /// Arms the notifications; the caller polls once more before it sleeps.
    func armNotifications()

    /// Clears the notifications after the reactor woke up.
    func acknowledgeNotifications()

    /// Clears the notification at one of `descriptors`, which was readable when the reactor woke up; nothing for any other.
    func acknowledgeNotification(_ descriptor: Int32)

    /// Ends what is left and frees everything. The transport must not be used again.
    func shutDown()
}

/// The answers and releases of one poll, in the order in which they arrived.
public typealias CommandEvents = UnsafeBufferPointer<CommandEvent>

/// A device that a transport uses, as far as memory is concerned.
public struct TransportDevice {
    /// The transport's number for it, from 0 on.
    public var number: Int
    /// Memory that was made known to one device can be used with each whose domain is equal.
    public var domain: UInt
    /// The object that memory is made known with: a `FabricContext` for RDMA. `nil` if memory needs nothing.
    public var registrar: AnyObject?

    public init(number: Int, domain: UInt, registrar: AnyObject?) {
        self.number = number
        self.domain = domain
        self.registrar = registrar
    }
}
