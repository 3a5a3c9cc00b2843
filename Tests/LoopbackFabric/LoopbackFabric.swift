import Base
import FabricInterface
import Glibc

/// A connection manager of a `LoopbackNetwork`.
public final class LoopbackFabric: Fabric {
    let network: LoopbackNetwork
    private var events: [ConnectionEvent] = []
    private var device: LoopbackContext?

    public init(_ network: LoopbackNetwork) { self.network = network }

    public override func listen(at address: SocketAddress, backlog: Int) throws(FabricError) -> ListenerHandle {
        var address = address
        if address.port == 0, let free = SocketAddress(host: address.host, port: network.newPort()) { address = free }
        guard address.host.hasPrefix("127.") else {
            throw FabricError(
                operation: "listen", code: EADDRNOTAVAIL, reason: "\(address.host) is not an address here")
        }
        guard network.listeners[address] == nil else {
            throw FabricError(operation: "listen", code: EADDRINUSE, reason: "\(address) is in use")
        }
        let handle = ListenerHandle(value: network.newHandle())
        network.listeners[address] = (self, handle)
        return handle
    }

    public override func stopListening(_ listener: ListenerHandle) {
        if let address = address(of: listener) { network.listeners[address] = nil }
    }

    public override func address(of listener: ListenerHandle) -> SocketAddress? {
        network.listeners.first { $0.value.handle == listener && $0.value.fabric === self }?.key
    }

    public override func resolve(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(FabricError) -> ConnectionHandle {
        let handle = ConnectionHandle(value: network.newHandle())
        let local = SocketAddress(host: source?.host ?? "127.0.0.1", port: network.newPort())!
        network.connections[handle] = LoopbackConnection(handle: handle, fabric: self, local: local, remote: address)
        events.append(.routeResolved(handle))
        return handle
    }

    public override func connect(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(FabricError) {
        let own = try entry(connection, "connect")
        guard parameters.privateData.count <= 56 else {
            throw FabricError(operation: "connect", code: EINVAL, reason: "private data of more than 56 bytes")
        }
        guard let (fabric, listener) = network.listeners[own.remote] else {
            own.hasEnded = true
            events.append(.rejected(connection, privateData: [], reason: 8))
            return
        }
        let handle = ConnectionHandle(value: network.newHandle())
        let other = LoopbackConnection(handle: handle, fabric: fabric, local: own.remote, remote: own.local)
        other.peer = own
        other.listener = listener
        own.peer = other
        network.connections[handle] = other
        // Each side sees the other's depths the other way round.
        var seen = parameters
        seen.initiatorDepth = parameters.responderResources
        seen.responderResources = parameters.initiatorDepth
        other.parameters = seen
        fabric.events.append(
            .requested(
                handle,
                ConnectionRequest(
                    listener: listener, localAddress: other.local, peerAddress: own.local, parameters: seen)))
    }

    public override func accept(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(FabricError) {
        let own = try entry(connection, "accept")
        guard parameters.privateData.count <= 196 else {
            throw FabricError(operation: "accept", code: EINVAL, reason: "private data of more than 196 bytes")
        }
        guard let other = own.peer, !own.hasEnded, !other.hasEnded else {
            throw FabricError(operation: "accept", code: ECONNABORTED, reason: "the peer has gone")
        }
        own.isConnected = true
        other.isConnected = true
        own.queuePair?.state = .ready
        other.queuePair?.state = .ready
        events.append(.established(connection, own.parameters))
        var seen = parameters
        seen.initiatorDepth = parameters.responderResources
        seen.responderResources = parameters.initiatorDepth
        other.fabric.events.append(.established(other.handle, seen))
    }

    public override func reject(_ connection: ConnectionHandle, privateData: [UInt8]) {
        guard let own = network.connections.removeValue(forKey: connection), let other = own.peer else { return }
        other.peer = nil
        other.hasEnded = true
        other.fabric.events.append(.rejected(other.handle, privateData: privateData, reason: 28))
    }

    public override func handOver(_ connection: ConnectionHandle) -> ConnectionTicket {
        ConnectionTicket(value: UInt(connection.value))
    }

    public override func adopt(_ ticket: ConnectionTicket) throws(FabricError) -> ConnectionHandle {
        let handle = ConnectionHandle(value: UInt64(ticket.value))
        let own = try entry(handle, "adopt")
        let adopted = LoopbackConnection(handle: handle, fabric: self, local: own.local, remote: own.remote)
        adopted.peer = own.peer
        adopted.peer?.peer = adopted
        adopted.parameters = own.parameters
        network.connections[handle] = adopted
        return handle
    }

    public override func discard(_ ticket: ConnectionTicket) {
        reject(ConnectionHandle(value: UInt64(ticket.value)), privateData: [])
    }

    public override func disconnect(_ connection: ConnectionHandle) {
        guard let own = network.connections[connection] else { return }
        breakConnection(own)
        guard !own.hasEnded, own.peer != nil else { return }
        // Before the answer: only this side learns of it; the other one's acceptance comes too late.
        own.hasEnded = true
        events.append(.disconnected(connection))
    }

    /// Both sides learn that the connection has ended, and both queue pairs are in the error state.
    func breakConnection(_ connection: LoopbackConnection) {
        for side in [connection, connection.peer] {
            guard let side else { continue }
            side.queuePair?.fail()
            guard side.isConnected, !side.hasEnded else { continue }
            side.hasEnded = true
            side.fabric.events.append(.disconnected(side.handle))
        }
    }

    public override func destroy(_ connection: ConnectionHandle) {
        guard let own = network.connections[connection] else { return }
        breakConnection(own)
        if let queuePair = own.queuePair { queuePair.context.remove(queuePair) }
        network.connections[connection] = nil
        own.peer?.peer = nil
        events.removeAll { $0.connection == connection }
    }

    public override func context(
        for connection: ConnectionHandle, _ options: ContextOptions
    ) throws(FabricError) -> FabricContext {
        if let device { return device }
        let made = LoopbackContext(network: network)
        device = made
        return made
    }

    public override func nextEvent() -> ConnectionEvent? { events.isEmpty ? nil : events.removeFirst() }

    public override func close() {
        for connection in network.connections.values where connection.fabric === self { destroy(connection.handle) }
        for (address, listener) in network.listeners where listener.fabric === self { network.listeners[address] = nil }
        device = nil
    }

    private func entry(_ connection: ConnectionHandle, _ operation: String) throws(FabricError) -> LoopbackConnection {
        guard let entry = network.connections[connection], entry.fabric === self || operation == "adopt" else {
            throw FabricError(operation: operation, code: EINVAL, reason: "no such connection")
        }
        return entry
    }
}

extension ConnectionEvent {
    /// The connection that the event is about.
    var connection: ConnectionHandle? {
        switch self {
        case .requested(let handle, _), .routeResolved(let handle), .established(let handle, _),
            .rejected(let handle, _, _), .failed(let handle, _), .disconnected(let handle), .deviceRemoved(let handle):
            handle
        case .listenerLost: nil
        }
    }
}
