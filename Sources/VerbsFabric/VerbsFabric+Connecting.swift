import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

extension VerbsFabric {
    /// Bytes that RDMA CM carries on InfiniBand and RoCE for `RDMA_PS_TCP`: the REQ's 92 bytes less RDMA CM's own header of
    /// 36, and those of REP and REJ (InfiniBand Architecture, volume 1, section 12.6).
    enum PrivateDataLimit {
        static let connect = 56
        static let accept = 196
        static let reject = 148
    }

    func beginResolving(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(TercetError) -> ConnectionHandle {
        let handle = ConnectionHandle(value: Self.newHandle())
        let id = try createIdentifier(handle.value)
        func begin(_ from: UnsafeMutablePointer<sockaddr>?) -> Int32? {
            address.withSockaddr { to, _ in rdma_resolve_addr(id, from, to, timeoutMilliseconds) == 0 ? 0 : errno }
        }
        let result: Int32?
        if let source {
            result = source.withSockaddr { from, _ in begin(from) } ?? nil
        } else {
            result = begin(nil)
        }
        guard let code = result else {
            rdma_destroy_id(id)
            throw Self.zoneGone(address)
        }
        if code != 0 {
            rdma_destroy_id(id)
            throw verbsError("rdma_resolve_addr \(address)", code)
        }
        connections[handle] = Connection(id: id, phase: .resolving, resolveTimeoutMilliseconds: timeoutMilliseconds)
        return handle
    }

    /// Sends the connection request or its acceptance.
    func establish(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters, from phase: ConnectionPhase,
        _ operation: String, limit: Int, _ call: (UnsafeMutablePointer<rdma_cm_id>, inout rdma_conn_param) -> Int32
    ) throws(TercetError) {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        guard entry.phase == phase else {
            throw TercetError(
                call: operation, errno: ENOTCONN, reason: "the connection is no longer waiting for this")
        }
        guard let context = entry.context else {
            throw TercetError(call: operation, errno: EINVAL, reason: "the connection has no queue pair")
        }
        guard parameters.privateData.count <= limit else {
            throw TercetError(
                call: operation, errno: EMSGSIZE,
                reason: "\(parameters.privateData.count) bytes of private data, RDMA CM carries \(limit)")
        }
        var values = rdma_conn_param()
        values.responder_resources = UInt8(
            clamping: min(Int(parameters.responderResources), context.limits.maxReadsAsResponder))
        values.initiator_depth = UInt8(
            clamping: min(Int(parameters.initiatorDepth), context.limits.maxReadsAsInitiator))
        values.retry_count = min(parameters.retryCount, 7)
        values.rnr_retry_count = min(parameters.rnrRetryCount, 7)
        values.flow_control = 1
        let code = parameters.privateData.withUnsafeBytes { data -> Int32 in
            values.private_data = data.count > 0 ? data.baseAddress : nil
            values.private_data_len = UInt8(data.count)
            return call(entry.id, &values) == 0 ? 0 : errno
        }
        if code != 0 { throw verbsError(operation, code) }
        connections[connection]?.phase = .establishing
    }

    func sendRejection(_ connection: ConnectionHandle, privateData: [UInt8]) {
        guard let entry = connections[connection] else { return }
        invariant(privateData.count <= PrivateDataLimit.reject, "a rejection carries 148 bytes")
        // Fails only if the request is void already: the peer gave up or is gone.
        _ = privateData.withUnsafeBytes { rdma_reject(entry.id, $0.baseAddress, UInt8($0.count)) }
        free(connection)
    }

    func beginDisconnect(_ connection: ConnectionHandle) {
        guard let entry = connections[connection], !entry.isDisconnectReported else { return }
        if entry.phase == .established || entry.phase == .establishing { rdma_disconnect(entry.id) }
        // RDMA CM does so too if a connection exists, and not if it is still being made.
        if let context = entry.context, let queuePair = entry.queuePair { context.fail(queuePair) }
        end(connection)
        report(.disconnected(connection))
    }

    func free(_ connection: ConnectionHandle) {
        guard let entry = connections.removeValue(forKey: connection) else { return }
        withdraw(connection)
        if let context = entry.context, let queuePair = entry.queuePair {
            context.destroyQueuePair(queuePair, of: entry.id)
        }
        rdma_destroy_id(entry.id)
    }

    /// Marks a connection whose end is reported now.
    func end(_ connection: ConnectionHandle) {
        connections[connection]?.phase = .ended
        connections[connection]?.isDisconnectReported = true
    }

    /// The identifier for which a queue pair is to be made in `context`.
    func identifierForQueuePair(
        of connection: ConnectionHandle, in context: VerbsContext
    ) throws(TercetError) -> UnsafeMutablePointer<rdma_cm_id> {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        guard entry.phase == .resolved || entry.phase == .requested else {
            throw TercetError(call: "rdma_create_qp", errno: ENOTCONN, reason: "the connection has ended")
        }
        invariant(entry.queuePair == nil, "a connection has one queue pair")
        invariant(entry.id.pointee.verbs == context.device.verbs, "a queue pair is made on its connection's device")
        return entry.id
    }

    func attach(_ queuePair: QueuePairHandle, of context: VerbsContext, to connection: ConnectionHandle) {
        connections[connection]?.context = context
        connections[connection]?.queuePair = queuePair
    }

    /// Ends the connection of a queue pair whose device no longer works.
    func lose(_ queuePair: QueuePairHandle, of context: VerbsContext) {
        for (handle, entry) in connections where entry.queuePair == queuePair && entry.context === context {
            beginDisconnect(handle)
        }
    }
}

extension ConnectionEvent {
    /// The connection that an event is about.
    var connection: ConnectionHandle? {
        switch self {
        case .requested(let connection, _), .routeResolved(let connection), .established(let connection, _),
            .rejected(let connection, _, _), .failed(let connection, _), .disconnected(let connection),
            .deviceRemoved(let connection):
            connection
        case .listenerLost: nil
        }
    }
}
