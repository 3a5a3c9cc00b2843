import TargetTransport

/// The place of a controller's queue.
struct QueueLocation: Sendable, Hashable {
    var group: Int
    var port: PortIndex
    var connection: ConnectionIndex
    var generation: UInt32
}

/// A held request, recognised after its connection may have gone.
struct RequestTicket: Sendable, Equatable {
    var queue: QueueLocation
    var request: RequestIndex
}
