import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

extension VerbsFabric {
    func takeEvent() -> ConnectionEvent? {
        if !ownEvents.isEmpty {
            let event = ownEvents.removeFirst()
            if ownEvents.isEmpty { clearWake() }
            return event
        }
        while true {
            var event: UnsafeMutablePointer<rdma_cm_event>?
            guard rdma_get_cm_event(channel, &event) == 0, let event else { return nil }
            // Copied and acknowledged at once: an identifier can be neither moved nor destroyed before.
            let notice = Notice(event)
            rdma_ack_cm_event(event)
            if let event = handle(notice) { return event }
        }
    }

    /// An event of RDMA CM, copied out of its memory.
    private struct Notice {
        let type: rdma_cm_event_type
        let status: Int32
        let id: UnsafeMutablePointer<rdma_cm_id>
        /// The number that we gave the identifier, for a request the listener's.
        let number: UInt64
        let parameters: ConnectionParameters

        init(_ event: UnsafeMutablePointer<rdma_cm_event>) {
            type = event.pointee.event
            status = event.pointee.status
            id = event.pointee.id
            let owner = type == RDMA_CM_EVENT_CONNECT_REQUEST ? event.pointee.listen_id : event.pointee.id
            number = UInt64(UInt(bitPattern: owner?.pointee.context))
            let values = event.pointee.param.conn
            let data = UnsafeRawBufferPointer(
                start: values.private_data, count: values.private_data == nil ? 0 : Int(values.private_data_len))
            parameters = ConnectionParameters(
                responderResources: values.responder_resources, initiatorDepth: values.initiator_depth,
                retryCount: values.retry_count, rnrRetryCount: values.rnr_retry_count, privateData: Array(data))
        }
    }

    /// The meaning of the event to the rooms above; `nil` if it has none.
    private func handle(_ notice: Notice) -> ConnectionEvent? {
        let listener = ListenerHandle(value: notice.number)
        if notice.type == RDMA_CM_EVENT_CONNECT_REQUEST { return requested(notice, listener) }
        if listeners[listener] != nil {
            switch notice.type {
            case RDMA_CM_EVENT_DEVICE_REMOVAL, RDMA_CM_EVENT_ADDR_CHANGE: return .listenerLost(listener)
            default: return nil
            }
        }
        let connection = ConnectionHandle(value: notice.number)
        guard let phase = connections[connection]?.phase, phase != .ended else { return nil }
        switch notice.type {
        case RDMA_CM_EVENT_ADDR_RESOLVED: return resolveRoute(connection)
        case RDMA_CM_EVENT_ROUTE_RESOLVED: return routeResolved(connection, phase)
        case RDMA_CM_EVENT_ESTABLISHED:
            guard phase == .establishing else { return nil }
            connections[connection]?.phase = .established
            return .established(connection, notice.parameters)
        case RDMA_CM_EVENT_REJECTED:
            connections[connection]?.phase = .ended
            return .rejected(connection, privateData: notice.parameters.privateData, reason: notice.status)
        case RDMA_CM_EVENT_ADDR_ERROR: return failed(connection, "address resolution", notice.status)
        case RDMA_CM_EVENT_ROUTE_ERROR: return failed(connection, "route resolution", notice.status)
        case RDMA_CM_EVENT_CONNECT_ERROR: return failed(connection, "connection", notice.status)
        case RDMA_CM_EVENT_UNREACHABLE: return failed(connection, "connection", notice.status)
        case RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_ADDR_CHANGE:
            return disconnected(connection)
        case RDMA_CM_EVENT_DEVICE_REMOVAL:
            failQueuePair(of: connection)
            connections[connection]?.phase = .ended
            return .deviceRemoved(connection)
        default:
            // TIMEWAIT_EXIT: the queue pair's number is free again, which we never need to know. CONNECT_RESPONSE and the
            // multicast events do not come to identifiers of our kind.
            return nil
        }
    }

    private func requested(_ notice: Notice, _ listener: ListenerHandle) -> ConnectionEvent? {
        guard listeners[listener] != nil else {
            rdma_reject(notice.id, nil, 0)
            rdma_destroy_id(notice.id)
            return nil
        }
        let handle = ConnectionHandle(value: Self.newHandle())
        notice.id.pointee.context = UnsafeMutableRawPointer(bitPattern: UInt(handle.value))
        connections[handle] = Connection(id: notice.id, phase: .requested)
        return .requested(
            handle,
            ConnectionRequest(
                listener: listener, localAddress: SocketAddress(rdma_get_local_addr(notice.id)),
                peerAddress: SocketAddress(rdma_get_peer_addr(notice.id)), node: node(of: notice.id),
                parameters: notice.parameters))
    }

    /// The NUMA node of the device that an identifier is bound to. The kernel is asked once for each device.
    private func node(of id: UnsafeMutablePointer<rdma_cm_id>) -> Int? {
        guard let verbs = id.pointee.verbs, let name = ibv_get_device_name(verbs.pointee.device) else { return nil }
        let device = String(cString: name)
        if let known = nodes[device] { return known }
        let node = DeviceNode.ofRDMADevice(device)
        nodes.updateValue(node, forKey: device)
        return node
    }

    private func resolveRoute(_ connection: ConnectionHandle) -> ConnectionEvent? {
        guard let entry = connections[connection], entry.phase == .resolving else { return nil }
        if rdma_resolve_route(entry.id, entry.resolveTimeoutMilliseconds) == 0 { return nil }
        return failed(connection, "rdma_resolve_route", errno)
    }

    private func routeResolved(_ connection: ConnectionHandle, _ phase: ConnectionPhase) -> ConnectionEvent? {
        guard phase == .resolving else { return nil }
        connections[connection]?.phase = .resolved
        return .routeResolved(connection)
    }

    private func failed(_ connection: ConnectionHandle, _ operation: String, _ code: Int32) -> ConnectionEvent {
        failQueuePair(of: connection)
        connections[connection]?.phase = .ended
        return .failed(connection, verbsError(operation, code))
    }

    private func disconnected(_ connection: ConnectionHandle) -> ConnectionEvent {
        // Takes the queue pair to the error state, and answers a peer that waits for it.
        if let id = connections[connection]?.id { rdma_disconnect(id) }
        failQueuePair(of: connection)
        end(connection)
        return .disconnected(connection)
    }

    private func failQueuePair(of connection: ConnectionHandle) {
        guard let entry = connections[connection], let context = entry.context, let queuePair = entry.queuePair
        else { return }
        context.fail(queuePair)
    }
}
