import CVerbs
import FabricInterface
import Glibc

/// A connection's life, as far as the fabric follows it.
enum ConnectionPhase {
    /// Active side: the address, then the route are being looked up.
    case resolving
    /// Active side: the route is known, `connect` has not been called.
    case resolved
    /// Passive side: requested, and neither accepted nor rejected.
    case requested
    /// `connect` or `accept` has been called, the peer's answer is awaited.
    case establishing
    case established
    /// Its end or failure has been reported: later events mean nothing.
    case ended
}

/// The fabric's state of a connection.
struct Connection {
    let id: UnsafeMutablePointer<rdma_cm_id>
    var phase: ConnectionPhase
    var context: VerbsContext?
    var queuePair: QueuePairHandle?
    var isDisconnectReported = false
    /// Active side: how long each of the two look-ups may take.
    var resolveTimeoutMilliseconds: Int32 = 0
}
