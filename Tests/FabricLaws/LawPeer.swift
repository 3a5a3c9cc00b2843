import Base
import FabricInterface
import Glibc

/// One side of a law's connection: a fabric with what it reported, and some registered memory.
final class LawPeer {
    let world: FabricLawWorld
    let fabric: Fabric
    private(set) var context: FabricContext!
    private(set) var region: MemoryRegion!
    let memory: UnsafeMutableRawBufferPointer
    var connection: ConnectionHandle!
    var queuePair: QueuePairHandle!
    var events: [ConnectionEvent] = []
    var completions: [WorkCompletion] = []
    private let batch = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 8)

    /// Entries of the completion queue that `prepare` asks for.
    var completionEntries = 256

    static let memorySize = 64 * 1024
    static let sharedEntries = 16

    init(_ world: FabricLawWorld) throws {
        self.world = world
        fabric = try world.makeFabric()
        memory = .allocate(byteCount: Self.memorySize, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Ends all that the peer has, in the order that a program would.
    func close() {
        if let connection { fabric.destroy(connection) }
        if let region { context.deregister(region) }
        region = nil
        context = nil
        fabric.close()
    }

    deinit {
        memory.deallocate()
        batch.deallocate()
    }

    /// Makes the context of the connection's device, registers the memory, and makes a queue pair.
    func prepare(shared: Bool = false, inline: Int = 0) throws {
        if context == nil {
            context = try fabric.context(
                for: connection,
                ContextOptions(
                    completionQueueEntries: completionEntries, sharedReceiveEntries: Self.sharedEntries, queuePairs: 4))
            region = try context.register(memory, access: [.localWrite, .remoteRead, .remoteWrite])
        }
        queuePair = try context.createQueuePair(
            for: connection,
            QueuePairOptions(
                sendEntries: 32, receiveEntries: shared ? 0 : 16, usesSharedReceiveQueue: shared, maxInlineData: inline)
        )
    }

    func poll() {
        while let event = fabric.nextEvent() { events.append(event) }
        guard context != nil else { return }
        let count = context.poll(into: batch)
        completions.append(contentsOf: batch.prefix(count))
    }

    func element(_ offset: Int, _ length: Int) -> ScatterGatherElement {
        ScatterGatherElement(memory.baseAddress! + offset, length: length, localKey: region.localKey)
    }

    func remoteAddress(_ offset: Int) -> UInt64 { UInt64(UInt(bitPattern: memory.baseAddress! + offset)) }

    func fill(_ offset: Int, _ length: Int, _ value: UInt8) {
        for index in offset..<offset + length { memory[index] = value }
    }

    func holds(_ offset: Int, _ length: Int, _ value: UInt8) -> Bool {
        memory[offset..<offset + length].allSatisfy { $0 == value }
    }

    func post(_ requests: [WorkRequest]) { requests.withUnsafeBufferPointer { context.post($0) } }

    func postReceives(_ ids: Range<UInt64>, at offset: Int = 32768, length: Int = 256) {
        let requests = ids.map { ReceiveRequest(id: $0, segment: element(offset, length)) }
        requests.withUnsafeBufferPointer { context.postReceives($0, to: queuePair) }
    }

    func postSharedReceives(_ ids: Range<UInt64>, at offset: Int = 32768, length: Int = 256) {
        let requests = ids.map { ReceiveRequest(id: $0, segment: element(offset, length)) }
        requests.withUnsafeBufferPointer { context.postSharedReceives($0) }
    }

    /// Removes and returns the completion with this id, if it has come.
    func take(_ id: UInt64) -> WorkCompletion? {
        guard let index = completions.firstIndex(where: { $0.id == id }) else { return nil }
        return completions.remove(at: index)
    }
}

/// Lets both sides work until something has happened.
func eventually<Value>(_ what: String, _ peers: LawPeer..., until body: () throws -> Value?) throws -> Value {
    guard let world = peers.first?.world else { throw LawViolation("nobody to wait for") }
    for _ in 0..<world.patience {
        for peer in peers { peer.poll() }
        if let value = try body() { return value }
        world.progress()
    }
    let seen = peers.map { "events \($0.events), completions \($0.completions)" }.joined(separator: " | ")
    throw LawViolation("\(what) did not come; there came \(seen)")
}

/// Two connected sides.
struct LawPair {
    let client: LawPeer
    let server: LawPeer
    let listener: ListenerHandle

    /// The request as the passive side saw it, and the acceptance as the active side did.
    let request: ConnectionRequest
    let accepted: ConnectionParameters

    init(
        _ world: FabricLawWorld, shared: Bool = false, inline: Int = 0,
        connect: ConnectionParameters = ConnectionParameters(responderResources: 4, initiatorDepth: 4),
        accept: ConnectionParameters = ConnectionParameters(responderResources: 4, initiatorDepth: 4),
        source: SocketAddress? = nil, beforeAccept: (LawPeer) throws -> Void = { _ in }
    ) throws {
        let server = try LawPeer(world)
        let client = try LawPeer(world)
        listener = try server.fabric.listen(at: world.address, backlog: 8)
        request = try Self.request(
            from: client, to: server, listener, shared: shared, inline: inline, source: source, connect)
        try server.prepare(shared: shared, inline: inline)
        try beforeAccept(server)
        try server.fabric.accept(server.connection, accept)
        accepted = try Self.established(client, server)
        self.client = client
        self.server = server
    }

    /// Connects up to the request's arrival; the client's queue pair is made on the way.
    static func request(
        from client: LawPeer, to server: LawPeer, _ listener: ListenerHandle, shared: Bool = false, inline: Int = 0,
        source: SocketAddress? = nil,
        _ parameters: ConnectionParameters = ConnectionParameters(responderResources: 4, initiatorDepth: 4)
    ) throws -> ConnectionRequest {
        guard let address = server.fabric.address(of: listener), address.port != 0 else {
            throw LawViolation("a listener has an address with a port")
        }
        client.connection = try client.fabric.resolve(address, from: source, timeoutMilliseconds: 5000)
        try eventually("routeResolved", client) {
            if case .routeResolved(let connection) = client.events.first { return connection == client.connection }
            return nil
        }.isTrue("the event names the connection")
        client.events.removeFirst()
        try client.prepare(shared: shared, inline: inline)
        try client.fabric.connect(client.connection, parameters)
        let request = try eventually("requested", server, client) { () -> ConnectionRequest? in
            guard case .requested(let connection, let request) = server.events.first else { return nil }
            server.connection = connection
            return request
        }
        server.events.removeFirst()
        try require(request.listener == listener, "a request names its listener")
        return request
    }

    /// Waits for `established` on both sides; returns what came with the active side's.
    static func established(_ client: LawPeer, _ server: LawPeer) throws -> ConnectionParameters {
        let accepted = try eventually("established", client, server) { () -> ConnectionParameters? in
            guard case .established(let at, _) = server.events.first, at == server.connection,
                case .established(let connection, let parameters) = client.events.first, connection == client.connection
            else { return nil }
            return parameters
        }
        server.events.removeFirst()
        client.events.removeFirst()
        return accepted
    }

    func close() {
        client.close()
        server.close()
    }
}

extension Bool {
    func isTrue(_ message: String) throws { try require(self, message) }
}
