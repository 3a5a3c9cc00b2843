import Base
import FabricInterface
import Glibc

/// The connection manager of one simulated reactor, over the devices of its process.
public final class SimulatedFabric: Fabric {
    public private(set) var devices: [SimulatedDevice]
    let network: SimulatedNetwork
    var events: [ConnectionEvent] = []
    var connections: [ConnectionHandle: SimulatedConnection] = [:]
    /// The contexts that were asked for, in that order.
    public private(set) var contexts: [SimulatedContext] = []

    /// - Parameter devices: of one network; at least one.
    public init(_ devices: [SimulatedDevice]) {
        guard let network = devices.first?.network else { invariantViolated("a fabric has a device") }
        self.devices = devices
        self.network = network
    }

    /// Whether connection events wait to be taken.
    public var hasEvents: Bool { !events.isEmpty }
    /// Something has come in since this was made false: a completion or a connection event. A simulation need not poll
    /// before.
    public var hasNews = false

    func tellNews() {
        hasNews = true
        network.tellNews()
    }

    deinit { for connection in connections.values { connection.fabric = nil } }

    // MARK: What a test does to it

    /// The process has died, and its machine has not: the kernel ends its connections.
    public func endConnections() {
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) { beginDisconnect(connection) }
    }

    /// Connections of the device to the machine `node` break, as if a switch had been restarted.
    public func breakConnections(to node: Int) {
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) {
            guard let entry = connections[connection], entry.peer?.device.node == node else { continue }
            entry.queuePair?.fail(first: .retryExceeded)
        }
    }

    /// The device is pulled out: its queue pairs fail, and nothing reaches it.
    public func remove(_ device: SimulatedDevice) {
        network.remove(device)
        devices.removeAll { $0 === device }
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) {
            guard let entry = connections[connection], entry.device === device else { continue }
            entry.end()
            entry.report { .deviceRemoved($0) }
        }
    }

    /// A device is plugged in.
    public func add(_ device: SimulatedDevice) { devices.append(device) }

    // MARK: Listening

    public override func listen(at address: SocketAddress, backlog: Int) throws(TercetError) -> ListenerHandle {
        let isWildcard = address.host == "0.0.0.0" || address.host == "::"
        guard isWildcard || devices.contains(where: { $0.addresses.contains(address.host) }) else {
            throw TercetError(
                call: "rdma_bind_addr \(address)", errno: EADDRNOTAVAIL, reason: "no RDMA device has this address")
        }
        var port = address.port
        func isTaken(_ port: UInt16) -> Bool {
            network.listeners.contains { other in
                other.address.port == port
                    && (isWildcard || other.isWildcard
                        ? other.fabric.devices.contains { device in devices.contains { $0 === device } }
                        : other.address.host == address.host)
            }
        }
        while port == 0 || (address.port == 0 && isTaken(port)) { port = network.newPort() }
        guard !isTaken(port), let bound = SocketAddress(host: address.host, port: port) else {
            throw TercetError(
                call: "rdma_bind_addr \(address)", errno: EADDRINUSE, reason: "the address is in use")
        }
        let handle = ListenerHandle(value: network.newHandle())
        network.listeners.append(
            SimulatedListener(handle: handle, fabric: self, address: bound, isWildcard: isWildcard))
        return handle
    }

    public override func stopListening(_ listener: ListenerHandle) {
        network.listeners.removeAll { $0.handle == listener }
    }

    public override func address(of listener: ListenerHandle) -> SocketAddress? {
        network.listeners.first { $0.handle == listener }?.address
    }

    // MARK: Contexts and events

    public override func context(
        for connection: ConnectionHandle, _ options: ContextOptions
    ) throws(TercetError) -> FabricContext {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        if let context = contexts.first(where: { $0.device === entry.device }) { return context }
        let context = SimulatedContext(entry.device, self, options)
        contexts.append(context)
        return context
    }

    public override func nextEvent() -> ConnectionEvent? { events.isEmpty ? nil : events.removeFirst() }

    // MARK: Connecting

    public override func resolve(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(TercetError) -> ConnectionHandle {
        try beginResolving(address, from: source, timeoutMilliseconds: timeoutMilliseconds)
    }

    public override func connect(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        try sendRequest(connection, parameters)
    }

    public override func accept(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        try sendReply(connection, parameters)
    }

    public override func reject(_ connection: ConnectionHandle, privateData: [UInt8]) {
        sendRefusal(connection, privateData: privateData)
    }

    public override func disconnect(_ connection: ConnectionHandle) { beginDisconnect(connection) }

    public override func destroy(_ connection: ConnectionHandle) { free(connection) }

    public override func close() {
        network.listeners.removeAll { $0.fabric === self }
        for connection in connections.keys.sorted(by: { $0.value < $1.value }) { destroy(connection) }
        contexts = []
        events = []
    }

    // MARK: Handing over

    public override func handOver(_ connection: ConnectionHandle) -> ConnectionTicket {
        guard let entry = connections.removeValue(forKey: connection) else {
            invariantViolated("a connection that is handed over exists")
        }
        invariant(entry.queuePair == nil, "a connection is handed over before it has a queue pair")
        events.removeAll { $0.connection == connection }
        entry.fabric = nil
        let ticket = ConnectionTicket(value: UInt(network.newHandle()))
        network.transfers[ticket.value] = entry
        return ticket
    }

    public override func adopt(_ ticket: ConnectionTicket) throws(TercetError) -> ConnectionHandle {
        guard let entry = network.transfers.removeValue(forKey: ticket.value) else {
            invariantViolated("a ticket comes from handOver and is used once")
        }
        guard devices.contains(where: { $0 === entry.device }) else {
            network.transfers[ticket.value] = entry
            throw TercetError(call: "rdma_migrate_id", errno: ENODEV, reason: "the device is another process's")
        }
        let former = entry.handle
        entry.handle = ConnectionHandle(value: network.newHandle())
        entry.fabric = self
        connections[entry.handle] = entry
        events += entry.heldEvents.map { $0.renamed(from: former, to: entry.handle) }
        entry.heldEvents = []
        return entry.handle
    }

    public override func discard(_ ticket: ConnectionTicket) {
        guard let entry = network.transfers.removeValue(forKey: ticket.value) else { return }
        refuse(entry, privateData: [])
    }

    static let unknownConnection = TercetError(
        call: "connection", errno: EINVAL, reason: "there is no such connection")
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

    /// The event under the name that a connection has with the fabric that adopted it.
    func renamed(from former: ConnectionHandle, to handle: ConnectionHandle) -> ConnectionEvent {
        guard connection == former else { return self }
        switch self {
        case .requested(_, let request): return .requested(handle, request)
        case .routeResolved: return .routeResolved(handle)
        case .established(_, let parameters): return .established(handle, parameters)
        case .rejected(_, let data, let reason): return .rejected(handle, privateData: data, reason: reason)
        case .failed(_, let error): return .failed(handle, error)
        case .disconnected: return .disconnected(handle)
        case .deviceRemoved: return .deviceRemoved(handle)
        case .listenerLost: return self
        }
    }
}
