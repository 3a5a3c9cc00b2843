import Base

/// A message on the simulated network, as a fault hook sees it.
public struct SimulatedMessage {
    public enum Kind: Sendable, Equatable {
        /// The connection manager's messages (InfiniBand: REQ, REP, RTU, REJ, DREQ).
        case connectRequest
        case connectReply
        case readyToUse
        case reject
        case disconnect
        /// Work of a queue pair on its way to the peer.
        case send
        case rdmaWrite
        case rdmaRead
        /// The answer to work of a queue pair; only `SimulatedNetwork.acknowledgementFate` sees these.
        case acknowledgement
    }

    public var kind: Kind
    unowned(unsafe) let sourceDevice: SimulatedDevice
    unowned(unsafe) let destinationDevice: SimulatedDevice
    /// The names of the devices that it goes from and to.
    public var source: String { sourceDevice.name }
    public var destination: String { destinationDevice.name }
    /// Their `SimulatedDevice.node`.
    public var sourceNode: Int
    public var destinationNode: Int
    /// How many messages the network has carried before this one.
    public var step: UInt64
}

/// The fate of a message.
public enum SimulatedFate: Sendable, Equatable {
    case delivered
    /// Arrives later by so many nanoseconds, and what follows on its connection not before it.
    case delayed(nanoseconds: UInt64)
    /// Never arrives. On a queue pair the transport gives up after its retries: the connection is lost.
    case lost
    /// An RDMA READ or WRITE arrives and is refused: a remote access error, which ends the connection. Others arrive.
    case refused
}

/// Times of the simulated network, in nanoseconds.
public struct SimulatedDelays: Sendable {
    /// From a device to another, one way; drawn anew for each message. Messages of one connection stay in order.
    public var transit: ClosedRange<UInt64> = 1_000...3_000
    /// A message of the connection manager, one way.
    public var connectionManager: ClosedRange<UInt64> = 10_000...50_000
    /// Address and route resolution.
    public var resolution: ClosedRange<UInt64> = 10_000...50_000
    /// From a receive buffer's posting to the next try of a peer that found none.
    public var receiverNotReady: UInt64 = 10_000
    /// Until a queue pair gives up a peer that does not answer.
    public var transportTimeoutNanoseconds: UInt64 = 500_000_000
    /// Until an attempt to connect is given up that is not answered.
    public var connectTimeoutNanoseconds: UInt64 = 4_000_000_000

    public init() {}
}

/// Counts of the messages that a network has carried.
public struct SimulatedCounters: Equatable, Sendable {
    public var messages: UInt64 = 0
    public var bytes: UInt64 = 0
    /// SENDs that found no receive buffer.
    public var receiverNotReady: UInt64 = 0
    /// READs that had to wait in the send queue because as many as the connection allows were running.
    public var readsHeldBack: UInt64 = 0
    public var remoteAccessErrors: UInt64 = 0
}
