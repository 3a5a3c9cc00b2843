import Base
import FabricInterface
import Glibc

/// InfiniBand's connection manager, as librdmacm shows it: REQ, REP, RTU, REJ and DREQ.
extension SimulatedFabric {
    /// Bytes that RDMA CM carries for `RDMA_PS_TCP`; on InfiniBand and RoCE the receiver always sees so many.
    private enum PrivateDataSize {
        static let connect = 56
        static let accept = 196
        static let reject = 148
    }

    // MARK: Active side

    func beginResolving(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(TercetError) -> ConnectionHandle {
        func fits(_ host: String) -> Bool {
            SocketAddress(host: host, port: 0)?.family == address.family && (source.map { $0.host == host } ?? true)
        }
        guard let device = devices.first(where: { $0.addresses.contains(where: fits) }),
            let own = device.addresses.first(where: fits),
            let local = SocketAddress(host: own, port: network.newPort())
        else {
            throw TercetError(
                call: "rdma_resolve_addr \(address)", errno: EADDRNOTAVAIL, reason: "no device has a way there")
        }
        let connection = SimulatedConnection(
            ConnectionHandle(value: network.newHandle()), self, device, local: local, peer: address, phase: .resolving)
        connections[connection.handle] = connection
        let target = network.device(at: address.host)
        let isReachable = target?.isReachable == true && device.isReachable
        let delay =
            isReachable
            ? network.draw(network.delays.resolution) : UInt64(max(0, timeoutMilliseconds)) * 1_000_000
        network.schedule(afterNanoseconds: delay) {
            guard connection.phase == .resolving, !connection.isDestroyed else { return }
            if isReachable {
                connection.phase = .resolved
                connection.report { .routeResolved($0) }
            } else {
                connection.end()
                let error = TercetError(
                    call: "address resolution", errno: ETIMEDOUT, reason: "\(address) does not answer")
                connection.report { .failed($0, error) }
            }
        }
        return connection.handle
    }

    func sendRequest(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        let entry = try entry(
            connection, parameters, in: .resolved, "rdma_connect", limit: PrivateDataSize.connect)
        entry.phase = .establishing
        configure(entry, parameters)
        let request = granted(parameters, entry.device, privateDataSize: PrivateDataSize.connect)
        let network = network
        guard let target = network.device(at: entry.peerAddress.host) else { return giveUp(entry) }
        network.deliver(.connectRequest, from: entry, to: target) {
            network.receiveRequest(request, from: entry, at: target)
        } lost: {
            self.giveUp(entry)
        }
    }

    /// Nobody answers a connection request.
    private func giveUp(_ entry: SimulatedConnection) {
        network.schedule(afterNanoseconds: network.delays.connectTimeoutNanoseconds) {
            guard entry.phase == .establishing, !entry.isDestroyed else { return }
            entry.end()
            let error = TercetError(call: "connection", errno: ETIMEDOUT, reason: "the peer does not answer")
            entry.report { .failed($0, error) }
        }
    }

    // MARK: Passive side

    func sendReply(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        let entry = try entry(
            connection, parameters, in: .requested, "rdma_accept", limit: PrivateDataSize.accept)
        entry.phase = .establishing
        configure(entry, parameters)
        guard let peer = entry.peer, let queuePair = entry.queuePair else { return giveUp(entry) }
        if let other = peer.queuePair { queuePair.connect(to: other) }
        let reply = granted(parameters, entry.device, privateDataSize: PrivateDataSize.accept)
        let network = network
        network.deliver(.connectReply, from: entry, to: peer.device) {
            network.receiveReply(reply, at: peer, from: entry)
        } lost: {
            self.giveUp(entry)
            self.giveUp(peer)
        }
    }

    func sendRefusal(_ connection: ConnectionHandle, privateData: [UInt8]) {
        guard let entry = connections.removeValue(forKey: connection) else { return }
        invariant(privateData.count <= PrivateDataSize.reject, "a rejection carries 148 bytes")
        events.removeAll { $0.connection == connection }
        refuse(entry, privateData: padded(privateData, PrivateDataSize.reject, entry.device))
    }

    /// Frees a connection that was requested, and tells the peer.
    func refuse(_ entry: SimulatedConnection, privateData: [UInt8]) {
        entry.isDestroyed = true
        if entry.phase == .requested { sendRejection(entry, privateData, RejectReason.consumerDefined) }
        entry.phase = .ended
        if let queuePair = entry.queuePair { queuePair.context.destroy(queuePair) }
        entry.queuePair = nil
    }

    private func sendRejection(_ entry: SimulatedConnection, _ privateData: [UInt8], _ reason: Int32) {
        guard let peer = entry.peer else { return }
        network.deliver(.reject, from: entry, to: peer.device) {
            guard peer.phase == .establishing, !peer.isDestroyed else { return }
            peer.end()
            peer.report { .rejected($0, privateData: privateData, reason: reason) }
        } lost: {
            self.giveUp(peer)
        }
    }

    // MARK: Ends

    func beginDisconnect(_ connection: ConnectionHandle) {
        guard let entry = connections[connection], entry.phase != .ended else { return }
        sendEnd(entry)
        entry.end()
        entry.report { .disconnected($0) }
    }

    func free(_ connection: ConnectionHandle) {
        guard let entry = connections.removeValue(forKey: connection) else { return }
        events.removeAll { $0.connection == connection }
        entry.isDestroyed = true
        sendEnd(entry)
        entry.phase = .ended
        if let queuePair = entry.queuePair { queuePair.context.destroy(queuePair) }
        entry.queuePair = nil
    }

    /// Tells the peer that this side ends the connection.
    private func sendEnd(_ entry: SimulatedConnection) {
        switch entry.phase {
        case .requested: sendRejection(entry, [], RejectReason.consumerDefined)
        case .established, .establishing:
            guard let peer = entry.peer else { return }
            let network = network
            network.deliver(.disconnect, from: entry, to: peer.device) {
                network.receiveDisconnect(at: peer)
            } lost: {
            }
        case .resolving, .resolved, .ended: break
        }
    }

    // MARK: Parts

    func connectionForQueuePair(_ connection: ConnectionHandle) throws(TercetError) -> SimulatedConnection {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        guard entry.phase == .resolved || entry.phase == .requested else {
            throw TercetError(call: "rdma_create_qp", errno: ENOTCONN, reason: "the connection has ended")
        }
        invariant(entry.queuePair == nil, "a connection has one queue pair")
        return entry
    }

    private func entry(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters, in phase: SimulatedPhase,
        _ operation: String, limit: Int
    ) throws(TercetError) -> SimulatedConnection {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        guard entry.phase == phase else {
            throw TercetError(
                call: operation, errno: ENOTCONN, reason: "the connection is no longer waiting for this")
        }
        guard entry.queuePair != nil else {
            throw TercetError(call: operation, errno: EINVAL, reason: "the connection has no queue pair")
        }
        guard parameters.privateData.count <= limit else {
            throw TercetError(
                call: operation, errno: EMSGSIZE,
                reason: "\(parameters.privateData.count) bytes of private data, RDMA CM carries \(limit)")
        }
        return entry
    }

    private func configure(_ entry: SimulatedConnection, _ parameters: ConnectionParameters) {
        entry.queuePair?.readDepth = min(
            Int(parameters.initiatorDepth), entry.device.limits.maxReadsAsInitiator)
        entry.queuePair?.receiverNotReadyRetries = min(parameters.rnrRetryCount, 7)
    }

    /// Our parameters from the peer's side: our READs are those that it answers.
    private func granted(
        _ parameters: ConnectionParameters, _ device: SimulatedDevice, privateDataSize: Int
    ) -> ConnectionParameters {
        var seen = parameters
        seen.responderResources = UInt8(
            clamping: min(Int(parameters.initiatorDepth), device.limits.maxReadsAsInitiator))
        seen.initiatorDepth = UInt8(
            clamping: min(Int(parameters.responderResources), device.limits.maxReadsAsResponder))
        seen.privateData = padded(parameters.privateData, privateDataSize, device)
        return seen
    }

    /// Private data as it arrives: padded on InfiniBand and RoCE, as it was on iWARP.
    private func padded(_ data: [UInt8], _ size: Int, _ device: SimulatedDevice) -> [UInt8] {
        device.limits.isIWARP ? data : data + [UInt8](repeating: 0, count: max(0, size - data.count))
    }
}

/// Why a rejection came (`enum ib_cm_rej_reason`).
private enum RejectReason {
    static let invalidServiceID: Int32 = 8
    static let staleConnection: Int32 = 10
    static let consumerDefined: Int32 = 28
}

extension SimulatedQueuePair {
    /// Takes the queue pair to where it sends and receives.
    func connect(to other: SimulatedQueuePair) {
        guard state == .initial else { return }
        peer = other.reference
        peerDevice = other.device
        state = .ready
    }
}

/// The receiving ends of the connection manager's messages.
extension SimulatedNetwork {
    /// Sends a message of a connection: `body` happens at the other end, or `lost` here at once.
    func deliver(
        _ kind: SimulatedMessage.Kind, from entry: SimulatedConnection, to target: SimulatedDevice,
        _ body: @escaping () -> Void, lost: () -> Void
    ) {
        guard let transit = transit(kind, from: entry.device, to: target, delays.connectionManager) else {
            return lost()
        }
        entry.lastArrival = max(entry.lastArrival, now.nanoseconds + transit.time)
        schedule(afterNanoseconds: entry.lastArrival - now.nanoseconds, body)
    }

    func receiveRequest(
        _ parameters: ConnectionParameters, from active: SimulatedConnection, at device: SimulatedDevice
    ) {
        guard active.phase == .establishing, !active.isDestroyed else { return }
        let address = active.peerAddress
        guard let listener = listeners.first(where: { $0.hears(address.host, address.port, device) }) else {
            schedule(afterNanoseconds: draw(delays.connectionManager)) {
                guard active.phase == .establishing, !active.isDestroyed else { return }
                active.end()
                active.report { .rejected($0, privateData: [], reason: RejectReason.invalidServiceID) }
            }
            return
        }
        let passive = SimulatedConnection(
            ConnectionHandle(value: newHandle()), listener.fabric, device, local: address, peer: active.localAddress,
            phase: .requested)
        passive.peer = active
        active.peer = passive
        listener.fabric.connections[passive.handle] = passive
        passive.report {
            .requested(
                $0,
                ConnectionRequest(
                    listener: listener.handle, localAddress: address, peerAddress: active.localAddress,
                    parameters: parameters))
        }
    }

    func receiveReply(
        _ parameters: ConnectionParameters, at active: SimulatedConnection, from passive: SimulatedConnection
    ) {
        guard active.phase == .establishing, !active.isDestroyed, let queuePair = active.queuePair else {
            // The active side has given up: its connection manager refuses the reply.
            schedule(afterNanoseconds: draw(delays.connectionManager)) {
                guard passive.phase == .establishing, !passive.isDestroyed else { return }
                passive.end()
                passive.report { .rejected($0, privateData: [], reason: RejectReason.staleConnection) }
            }
            return
        }
        guard let other = passive.queuePair else { return }
        queuePair.connect(to: other)
        active.phase = .established
        active.report { .established($0, parameters) }
        deliver(.readyToUse, from: active, to: passive.device) {
            guard passive.phase == .establishing, !passive.isDestroyed else { return }
            passive.phase = .established
            passive.report { .established($0, parameters) }
        } lost: {
        }
    }

    func receiveDisconnect(at entry: SimulatedConnection) {
        guard entry.phase == .established || entry.phase == .establishing || entry.phase == .requested,
            !entry.isDestroyed
        else { return }
        entry.end()
        entry.report { .disconnected($0) }
    }
}
