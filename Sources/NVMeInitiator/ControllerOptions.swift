import Base
import NVMeSpec

/// The fate of operations whose connection is lost.
public enum RecoveryPolicy: Sendable, Equatable {
    /// They end at once: `unknown` where a command may have left, `surelyNotDone` where none did. New ones are refused
    /// until the connection is back. For who has another copy to turn to.
    case fail
    /// They wait for the connection and are repeated, for `fastIOFailMilliseconds`. Operations that the controller answers
    /// with an error of the moment are repeated too, until their deadline (`RetryRule`). A write that is repeated may take
    /// effect twice; that is harmless as long as the controller ends the old association before it serves the new one.
    case `repeat`
}

/// Which controller to connect to, as whom, and how.
public struct ControllerOptions: Sendable {
    /// The address at which the subsystem listens.
    public var address: SocketAddress
    /// The local address to connect from; `nil` leaves the choice to the routing table.
    public var sourceAddress: SocketAddress?
    /// The subsystem's NQN; `NQN.discovery` for a discovery controller.
    public var subsystemNQN: String
    /// The only namespace that its user wants to know; `nil` for all, 0 for none. A subsystem may have a thousand others.
    public var onlyNamespace: UInt32?
    public var hostNQN: String
    /// Host Identifier. A controller that sees another one is another host to reservations.
    public var hostID: UUIDBytes

    /// Entries of each I/O queue; one less may be under way. The controller may grant fewer.
    public var queueEntries: Int
    /// Operations that each queue holds, those included that wait for the submission queue.
    public var operationsPerQueue: Int
    /// Bytes of data of one command at most, whatever MDTS says.
    public var maxTransferSize: Int
    /// Writes up to this many bytes travel in the capsule, where the controller takes them there.
    public var maxInCapsuleData: Int
    /// Keep Alive Timeout in milliseconds; 0 for none. Linux: 5 s.
    public var keepAliveMilliseconds: UInt32
    /// Time for each queue's connection to be made, and again for its Connect to be answered, when `Controller.connect` is
    /// called, in milliseconds. 30 s unless chosen: a controller may be slow to make its first queue, or wait for commands
    /// of this host's earlier association (Linux: 60 s). An address that nobody answers for is given up after 3 s, as with
    /// Linux.
    public var connectTimeoutMilliseconds: UInt32
    /// The same for each attempt to connect again, in milliseconds, where it is less. 3 s unless chosen: the next attempt
    /// finds a target that has come back meanwhile.
    public var reconnectTimeoutMilliseconds: UInt32
    /// Time that an I/O may take before the association is ended, in milliseconds; 0 for no limit. Linux: 30 s.
    public var ioTimeoutMilliseconds: UInt32
    /// Time that an admin command may take, in milliseconds.
    public var adminTimeoutMilliseconds: UInt32
    /// Ask for queues without SQ flow control.
    public var disableSQFlowControl: Bool

    public var recovery: RecoveryPolicy
    /// First and longest wait between attempts to reconnect, in milliseconds; each wait is twice the one before.
    public var reconnectDelayMilliseconds: ClosedRange<UInt64>
    /// After so long without a connection waiting operations fail and new ones are refused, in milliseconds. Attempts go
    /// on. 10 s unless chosen: long enough for a target to restart, short enough for a database to notice.
    public var fastIOFailMilliseconds: UInt64
    /// After so long without a connection it is given up for good, in milliseconds. 600 s unless chosen, as with Linux.
    public var controllerLossMilliseconds: UInt64

    public init(
        address: SocketAddress, subsystemNQN: String, hostNQN: String, hostID: UUIDBytes,
        sourceAddress: SocketAddress? = nil, queueEntries: Int = 128, operationsPerQueue: Int = 256,
        maxTransferSize: Int = 1 << 20, maxInCapsuleData: Int = 16384, keepAliveMilliseconds: UInt32 = 5000,
        connectTimeoutMilliseconds: UInt32 = 30_000, reconnectTimeoutMilliseconds: UInt32 = 3000,
        ioTimeoutMilliseconds: UInt32 = 30_000,
        adminTimeoutMilliseconds: UInt32 = 60_000, disableSQFlowControl: Bool = false,
        recovery: RecoveryPolicy = .repeat, reconnectDelayMilliseconds: ClosedRange<UInt64> = 100...10_000,
        fastIOFailMilliseconds: UInt64 = 10_000, controllerLossMilliseconds: UInt64 = 600_000
    ) {
        self.address = address
        self.sourceAddress = sourceAddress
        self.subsystemNQN = subsystemNQN
        self.hostNQN = hostNQN
        self.hostID = hostID
        self.queueEntries = queueEntries
        self.operationsPerQueue = operationsPerQueue
        self.maxTransferSize = maxTransferSize
        self.maxInCapsuleData = maxInCapsuleData
        self.keepAliveMilliseconds = keepAliveMilliseconds
        self.connectTimeoutMilliseconds = connectTimeoutMilliseconds
        self.reconnectTimeoutMilliseconds = reconnectTimeoutMilliseconds
        self.ioTimeoutMilliseconds = ioTimeoutMilliseconds
        self.adminTimeoutMilliseconds = adminTimeoutMilliseconds
        self.disableSQFlowControl = disableSQFlowControl
        self.recovery = recovery
        self.reconnectDelayMilliseconds = reconnectDelayMilliseconds
        self.fastIOFailMilliseconds = fastIOFailMilliseconds
        self.controllerLossMilliseconds = controllerLossMilliseconds
    }

    /// Whether this is a discovery controller.
    public var isDiscovery: Bool { subsystemNQN == NQN.discovery }
}
