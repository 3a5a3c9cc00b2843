import Base
import FabricInterface

/// The states of a connection.
enum SimulatedPhase {
    /// Active side: address and route are being resolved; resolved.
    case resolving
    case resolved
    /// Passive side: reported, not answered.
    case requested
    /// The request, or its acceptance, is on its way.
    case establishing
    case established
    /// Its end has been reported, or is that of its request.
    case ended
}

/// One side of a connection, or of an attempt to make one.
final class SimulatedConnection {
    var handle: ConnectionHandle
    /// The fabric that hears of it; none between `handOver` and `adopt`, and none once the fabric is gone. (Not weak: the
    /// fabric's counts would be kept apart from it then, and cost several times as much.)
    unowned(unsafe) var fabric: SimulatedFabric?
    let device: SimulatedDevice
    let localAddress: SocketAddress
    let peerAddress: SocketAddress
    var phase: SimulatedPhase
    weak var peer: SimulatedConnection?
    var queuePair: SimulatedQueuePair?
    /// Events of a connection that belongs to no fabric at the moment.
    var heldEvents: [ConnectionEvent] = []
    var isDestroyed = false
    /// Messages of one connection arrive in order.
    var lastArrival: UInt64 = 0

    init(
        _ handle: ConnectionHandle, _ fabric: SimulatedFabric, _ device: SimulatedDevice, local: SocketAddress,
        peer: SocketAddress, phase: SimulatedPhase
    ) {
        self.handle = handle
        self.fabric = fabric
        self.device = device
        localAddress = local
        peerAddress = peer
        self.phase = phase
    }

    /// Tells the fabric that has the connection, now or when one adopts it.
    func report(_ event: (ConnectionHandle) -> ConnectionEvent) {
        guard !isDestroyed else { return }
        if let fabric {
            fabric.events.append(event(handle))
            fabric.tellNews()
        } else {
            heldEvents.append(event(handle))
        }
    }

    /// Takes the queue pair to the error state and marks the connection's end.
    func end() {
        phase = .ended
        queuePair?.fail()
    }
}

/// A listener of the network.
struct SimulatedListener {
    let handle: ListenerHandle
    unowned let fabric: SimulatedFabric
    let address: SocketAddress
    let isWildcard: Bool

    /// Whether a request to `host` and `port` at `device` comes here.
    func hears(_ host: String, _ port: UInt16, _ device: SimulatedDevice) -> Bool {
        port == address.port
            && (isWildcard ? fabric.devices.contains { $0 === device } : host == address.host)
    }
}
