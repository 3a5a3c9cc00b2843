import FabricInterface

extension FabricLaw {
    /// For devices whose completion queues have as many entries as they say, and no more: softverbs. Soft-RoCE has more.
    public static let overflows: [FabricLaw] = [
        FabricLaw(name: "a completion queue that loses completions ends its connections") { world in
            try overflow(world) { server in
                try eventually("the other side's end", server) { () -> Void? in
                    if case .disconnected = server.events.first { () } else { nil }
                }
            }
        },
        FabricLaw(name: "a completion queue that loses completions ends all its connections") { world in
            let (client, server) = try connected(world)
            let first: ConnectionHandle = client.connection
            let second = try LawPeer(world)
            defer {
                client.fabric.destroy(first)
                client.close()
                server.close()
                second.close()
            }
            try connect(client, second)
            try flood(from: client, to: second)
            let ended = try eventually("the ends of both", second) { () -> [ConnectionHandle]? in
                while let event = client.fabric.nextEvent() { client.events.append(event) }
                let ended = client.events.compactMap { event in
                    if case .disconnected(let connection) = event { connection } else { nil }
                }
                return ended.count < 2 ? nil : ended
            }
            try require(
                ended.contains(first) && ended.contains(client.connection), "each connection is named by an event")
        },
        FabricLaw(name: "a completion queue that loses completions leaves the connections of others alone") { world in
            let bystander = try LawPair(world)
            defer { bystander.close() }
            try overflow(world) { _ in }
            bystander.client.fill(0, 16, 0x5A)
            write(from: bystander.client, to: bystander.server, count: 1)
            let written = try eventually("the bystander's write", bystander.client, bystander.server) {
                bystander.client.take(0)
            }
            try require(written.status == .success, "the bystander's write succeeds")
            try require(bystander.server.holds(0, 16, 0x5A), "... and is there")
            try require(
                bystander.client.events.isEmpty && bystander.server.events.isEmpty, "nothing happens to the bystander")
        },
    ]

    /// Has the completion queue of a connection's client overflow, which ends the connection.
    ///
    /// - Parameter body: looks at the other side.
    private static func overflow(_ world: FabricLawWorld, _ body: (LawPeer) throws -> Void) throws {
        let (client, server) = try connected(world)
        defer {
            client.close()
            server.close()
        }
        try flood(from: client, to: server)
        try expectEnd(of: client)
        try body(server)
    }

    /// A connection, whose client's completion queue has few entries.
    private static func connected(_ world: FabricLawWorld) throws -> (client: LawPeer, server: LawPeer) {
        let (client, server) = (try LawPeer(world), try LawPeer(world))
        client.completionEntries = 4
        try connect(client, server)
        return (client, server)
    }

    private static func connect(_ client: LawPeer, _ server: LawPeer) throws {
        let listener = try server.fabric.listen(at: server.world.address, backlog: 4)
        _ = try LawPair.request(from: client, to: server, listener)
        try server.prepare()
        try server.fabric.accept(server.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
        _ = try LawPair.established(client, server)
    }

    /// Asks for more completions than the client's queue has room for.
    private static func flood(from client: LawPeer, to server: LawPeer) throws {
        let room = client.context.grantedOptions.completionQueueEntries
        try require(room < 32, "a queue of \(room) entries can be overflowed by one queue pair")
        write(from: client, to: server, count: room * 2 + 2)
    }

    private static func write(from client: LawPeer, to server: LawPeer, count: Int) {
        client.post(
            (0..<UInt64(count)).map { id in
                WorkRequest(
                    id: id, queuePair: client.queuePair, opcode: .rdmaWrite, flags: [.signaled],
                    segment: client.element(0, 16), remoteAddress: server.remoteAddress(0),
                    remoteKey: server.region.remoteKey)
            })
    }

    /// Nobody takes completions out; only the events are looked at.
    private static func expectEnd(of peer: LawPeer) throws {
        for _ in 0..<peer.world.patience where peer.events.isEmpty {
            if let event = peer.fabric.nextEvent() { peer.events.append(event) } else { peer.world.progress() }
        }
        guard case .disconnected(let connection) = peer.events.first else {
            throw LawViolation("no word of the lost completions, but \(peer.events)")
        }
        try require(connection == peer.connection, "the event names the connection")
    }
}
