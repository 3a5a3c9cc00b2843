import Base
import FabricInterface
import NVMeSpec
import TargetInterface
import TargetTransport

/// NVMe over RDMA at the target: what one reactor has of it. Listeners and connections are the connection manager's; each RDMA
/// device that a connection comes over is a port.
public final class RDMATargetTransport: TargetTransport {
    private let fabric: Fabric
    private let options: TargetOptions
    private var devices: [RDMATargetPort] = []
    /// Connections that were asked for, and those that have a queue pair.
    private var pending: [UInt64: RDMATicket] = [:]
    private var connections: [ConnectionHandle: Place] = [:]
    public private(set) var connectionCounts = ConnectionCounts()
    private var notices: [ConnectionNotice] = []
    private var generation: UInt64 = 0

    /// The place of a connection's queue pair, and what the host said of itself when it asked for it.
    private struct Place {
        var port: RDMATargetPort
        var index: ConnectionIndex
        var origin: ConnectionOrigin
    }

    /// - Parameter fabric: the reactor's own.
    public init(_ fabric: Fabric, _ options: TargetOptions) {
        self.fabric = fabric
        self.options = options
    }

    public var ports: [any TransportPort] { devices }

    // MARK: Listeners

    public func listen(at address: SocketAddress) throws(TercetError) -> ListenerNumber {
        ListenerNumber(value: try fabric.listen(at: address, backlog: Limits.backlog).value)
    }

    public func stopListening(_ listener: ListenerNumber) {
        fabric.stopListening(ListenerHandle(value: listener.value))
    }

    // MARK: Connection manager events

    public func nextNotice(now: MonotonicTime) -> ConnectionNotice? {
        while notices.isEmpty {
            guard let event = fabric.nextEvent() else { return nil }
            handle(event, now: now)
        }
        return notices.removeFirst()
    }

    private func handle(_ event: ConnectionEvent, now: MonotonicTime) {
        switch event {
        case .requested(let connection, let request): requested(connection, request)
        case .established(let connection, _):
            guard let place = connections[connection], place.port.connections[place.index].state == .accepted else {
                return
            }
            place.port.established(place.index, now: now)
            notices.append(.opened(place.port.index, place.index, place.origin))
        case .disconnected(let connection), .deviceRemoved(let connection), .failed(let connection, _),
            .rejected(let connection, _, _):
            guard let place = connections[connection] else { return }
            switch place.port.connections[place.index].state {
            case .accepted: place.port.abandon(place.index, now: now)
            case .live: notices.append(.ended(place.port.index, place.index))
            case .closing, .free: break
            }
        case .listenerLost(let handle): notices.append(.listenerLost(ListenerNumber(value: handle.value)))
        case .routeResolved: break
        }
    }

    /// A host wants a queue pair: check what it says of itself.
    private func requested(_ connection: ConnectionHandle, _ request: ConnectionRequest) {
        do {
            let parameters = try RDMAConnectRequest(decoding: request.parameters.privateData)
            try admissible(parameters, request)
            let origin = ConnectionOrigin(
                queueID: parameters.queueID, entries: UInt32(parameters.hostSendQueueSize) + 1,
                localAddress: request.localAddress, peerAddress: request.peerAddress, node: request.node)
            pending[connection.value] = RDMATicket(connection: connection, request: request, origin: origin)
            notices.append(.requested(PendingConnection(number: connection.value, origin: origin)))
        } catch {
            fabric.reject(connection, privateData: error.privateData)
            notices.append(
                .refused(
                    peer: request.peerAddress?.description ?? "an unknown address",
                    reason: detail(error, request.parameters.privateData)))
        }
    }

    /// The words for a request that is not admissible, with the sizes that it names and that there are.
    private func detail(_ status: RDMARejectStatus, _ data: [UInt8]) -> String {
        guard let asked = try? RDMAConnectRequest(decoding: data) else { return status.description }
        let entries = asked.queueID == 0 ? TargetOptions.adminQueueEntries : options.queueDepth
        return
            "\(status): queue \(asked.queueID) (at most \(options.maxIOQueues)) of \(Int(asked.hostSendQueueSize) + 1) "
            + "entries (at most \(entries)) and \(asked.hostReceiveQueueSize) receive buffers (1 at least)"
    }

    private func admissible(
        _ parameters: RDMAConnectRequest, _ request: ConnectionRequest
    ) throws(RDMARejectStatus) {
        let entries = parameters.queueID == 0 ? TargetOptions.adminQueueEntries : options.queueDepth
        guard parameters.hostSendQueueSize < entries else { throw .invalidHostSendQueueSize }
        guard parameters.hostReceiveQueueSize > 0 else { throw .invalidHostReceiveQueueSize }
        guard parameters.queueID <= UInt16(options.maxIOQueues) else { throw .invalidQueueID }
        guard request.parameters.initiatorDepth > 0 else { throw .invalidInboundReadDepth }
    }

    // MARK: Accepting

    public func accept(_ connection: PendingConnection, now: MonotonicTime) {
        guard let ticket = pending.removeValue(forKey: connection.number) else { return }
        accept(ticket, now: now)
    }

    public func handOver(_ connection: PendingConnection) -> any TransportTicket {
        guard var ticket = pending.removeValue(forKey: connection.number) else {
            invariantViolated("a connection is handed over once")
        }
        ticket.handedOver = fabric.handOver(ticket.connection)
        return ticket
    }

    public func adopt(_ ticket: any TransportTicket, now: MonotonicTime) {
        guard var ticket = ticket as? RDMATicket, let handedOver = ticket.handedOver else {
            invariantViolated("the transports of a target are of one kind")
        }
        guard let connection = try? fabric.adopt(handedOver) else { return fabric.discard(handedOver) }
        ticket.connection = connection
        accept(ticket, now: now)
    }

    /// Makes the queue pair and accepts.
    private func accept(_ ticket: RDMATicket, now: MonotonicTime) {
        let connection = ticket.connection
        let asked = ticket.request.parameters
        var place: Place?
        do {
            let context = try fabric.context(
                for: connection,
                ContextOptions(
                    completionQueueEntries: options.sharedReceiveEntries * 4 + 4096,
                    sharedReceiveEntries: options.sharedReceiveEntries,
                    queuePairs: TargetOptions.connections))
            let port = try port(of: context)
            guard let index = port.connections.take() else {
                return refuse(ticket, RDMARejectStatus.noResources.description)
            }
            place = Place(port: port, index: index, origin: ticket.origin)
            let entries = Int(ticket.origin.entries)
            let sends = min(entries * 2 + options.maxDescriptors + 1, context.limits.maxWorkRequests)
            let handle = try context.createQueuePair(
                for: connection,
                QueuePairOptions(
                    sendEntries: sends, receiveEntries: 0, usesSharedReceiveQueue: true, sendSegments: 1,
                    maxInlineData: CompletionEntry.byteCount))
            let depth = min(Int(asked.initiatorDepth), context.limits.maxReadsAsInitiator, 255)
            port.bind(
                index, handle, connection, RDMATargetPort.QueuePairSizes(sendEntries: sends, readDepth: depth), now: now
            )
            connections[connection] = place
            connectionCounts.add(1, isAdmin: ticket.origin.isAdmin)
            try fabric.accept(
                connection,
                ConnectionParameters(
                    responderResources: asked.responderResources, initiatorDepth: UInt8(depth),
                    privateData: RDMAConnectReply(controllerReceiveQueueSize: UInt16(entries)).privateData))
        } catch {
            if let place, forget(connection) {
                place.port.unbind(place.index)
                fabric.destroy(connection)
                notices.append(.refused(peer: ticket.origin.peer, reason: error.description))
            } else {
                if let place { place.port.connections.give(place.index) }
                refuse(ticket, error.description)
            }
        }
    }

    private func refuse(_ ticket: RDMATicket, _ reason: String) {
        fabric.reject(ticket.connection, privateData: RDMARejectStatus.noResources.privateData)
        notices.append(.refused(peer: ticket.origin.peer, reason: reason))
    }

    private func port(of context: FabricContext) throws(TercetError) -> RDMATargetPort {
        if let port = devices.first(where: { $0.context === context }) { return port }
        let port = try RDMATargetPort(
            index: PortIndex(position: UInt32(devices.count)), fabric: fabric, context: context, options: options)
        devices.append(port)
        generation += 1
        return port
    }

    // MARK: Timers and the end

    public func tick(now: MonotonicTime) {
        // By index: an iterator over objects allocates in unoptimised builds, where tests count too.
        for place in 0..<devices.count {
            devices[place].inspect(now: now) { connection in
                forget(connection)
                fabric.destroy(connection)
            }
        }
    }

    /// Returns `false` if a connection is none that has a queue pair.
    @discardableResult
    private func forget(_ connection: ConnectionHandle) -> Bool {
        guard let place = connections.removeValue(forKey: connection) else { return false }
        connectionCounts.add(-1, isAdmin: place.origin.isAdmin)
        return true
    }

    public func forget(_ memory: UnsafeMutableRawBufferPointer) {
        for port in devices { port.lending.invalidate(memory) }
    }

    public func endConnections() {
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) { fabric.destroy(connection) }
        connections = [:]
        connectionCounts = ConnectionCounts()
        pending = [:]
    }

    public func close() {
        devices = []
        fabric.close()
    }

    // MARK: Notifications

    public var noticeDescriptor: Int32 { fabric.eventDescriptor }

    public var descriptors: [Int32] { [fabric.eventDescriptor] + devices.map { $0.context.notificationDescriptor } }

    public var descriptorGeneration: UInt64 { generation }

    public func armNotifications() { for port in devices { port.context.armNotification() } }

    public func acknowledgeNotifications() { for port in devices { port.context.acknowledgeNotification() } }

    public func acknowledgeNotification(_ descriptor: Int32) -> Bool {
        for port in devices where port.context.notificationDescriptor == descriptor {
            port.context.acknowledgeNotification()
            return true
        }
        return false
    }
}

/// A connection that a host asked for, here or on its way to another reactor.
struct RDMATicket: TransportTicket {
    var connection: ConnectionHandle
    var request: ConnectionRequest
    var origin: ConnectionOrigin
    var handedOver: ConnectionTicket?
}
