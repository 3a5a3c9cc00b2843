import FabricInterface

extension FabricLaw {
    /// For devices whose completion queues have as many entries as they say, and no more: softverbs. Soft-RoCE has more.
    public static let overflows: [FabricLaw] = [
        FabricLaw(name: "a completion queue that loses completions ends its connections") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            let client = try LawPeer(world)
            defer { client.close() }
            client.completionEntries = 4
            _ = try LawPair.request(from: client, to: server, listener)
            try server.prepare()
            try server.fabric.accept(
                server.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
            _ = try LawPair.established(client, server)
            let room = client.context.grantedOptions.completionQueueEntries
            try require(room < 32, "a queue of \(room) entries can be overflowed by one queue pair")
            client.post(
                (0..<UInt64(room * 2 + 2)).map { id in
                    WorkRequest(
                        id: id, queuePair: client.queuePair, opcode: .rdmaWrite, flags: [.signaled],
                        segment: client.element(0, 16), remoteAddress: server.remoteAddress(0),
                        remoteKey: server.region.remoteKey)
                })
            // Nobody takes completions out; only the events are looked at.
            for _ in 0..<world.patience where client.events.isEmpty {
                if let event = client.fabric.nextEvent() { client.events.append(event) } else { world.progress() }
            }
            guard case .disconnected(let connection) = client.events.first else {
                throw LawViolation("no word of the lost completions, but \(client.events)")
            }
            try require(connection == client.connection, "the event names the connection")
            try eventually("the other side's end", server) { () -> Void? in
                if case .disconnected = server.events.first { () } else { nil }
            }
        }
    ]
}
