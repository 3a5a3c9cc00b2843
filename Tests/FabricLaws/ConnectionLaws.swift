import Base
import FabricInterface
import Glibc

extension FabricLaw {
    static let connectionLaws: [FabricLaw] = [
        FabricLaw(name: "a listener at port 0 gets a port, which nobody else can have until it ends") { world in
            let fabric = try world.makeFabric()
            defer { fabric.close() }
            let other = try world.makeFabric()
            defer { other.close() }
            let listener = try fabric.listen(at: world.address, backlog: 4)
            guard let address = fabric.address(of: listener) else { throw LawViolation("no address") }
            try require(address.port != 0, "the port is assigned")
            try require(address.host == world.address.host, "the address is what was asked for, not \(address)")
            do {
                _ = try other.listen(at: address, backlog: 4)
                throw LawViolation("a port was given twice")
            } catch let error as TercetError {
                try require(error.errno == EADDRINUSE, "EADDRINUSE is reported, not \(error)")
            }
            fabric.stopListening(listener)
            try require(fabric.address(of: listener) == nil, "a listener that ended has no address")
            _ = try other.listen(at: address, backlog: 4)
        },
        FabricLaw(name: "an address that is not ours cannot be listened at") { world in
            let fabric = try world.makeFabric()
            defer { fabric.close() }
            do {
                _ = try fabric.listen(at: SocketAddress(host: "192.0.2.77", port: 0)!, backlog: 4)
                throw LawViolation("it could")
            } catch let error as TercetError {
                try require(
                    error.errno == EADDRNOTAVAIL || error.errno == ENODEV, "the reason is the address, not \(error)")
            }
        },
        FabricLaw(name: "private data, READ depths and the source address arrive") { world in
            let hello = [UInt8](1...56)
            let answer = [UInt8](100..<132)
            let pair = try LawPair(
                world, connect: ConnectionParameters(responderResources: 3, initiatorDepth: 2, privateData: hello),
                accept: ConnectionParameters(responderResources: 2, initiatorDepth: 3, privateData: answer),
                source: world.address)
            defer { pair.close() }
            let limits = pair.client.context.limits
            try require(
                pair.request.parameters.privateData.starts(with: hello),
                "the request's private data, not \(pair.request.parameters.privateData)")
            try require(
                Int(pair.request.parameters.responderResources) == min(2, limits.maxReadsAsInitiator),
                "the READs that the peer may have running, not \(pair.request.parameters.responderResources)")
            try require(
                Int(pair.request.parameters.initiatorDepth) == min(3, limits.maxReadsAsResponder),
                "the READs that we may have running, not \(pair.request.parameters.initiatorDepth)")
            try require(pair.request.peerAddress?.host == world.address.host, "the peer's address")
            try require(pair.request.localAddress?.port != 0, "our own address with its port")
            try require(
                pair.accepted.privateData.starts(with: answer),
                "the acceptance's private data, not \(pair.accepted.privateData)")
        },
        FabricLaw(name: "too much private data is refused, and the connection goes on") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            _ = try LawPair.request(from: client, to: server, listener)
            try server.prepare()
            do {
                try server.fabric.accept(
                    server.connection,
                    ConnectionParameters(
                        responderResources: 1, initiatorDepth: 1, privateData: [UInt8](repeating: 7, count: 197)))
                throw LawViolation("197 bytes were taken")
            } catch is TercetError {}
            try server.fabric.accept(
                server.connection,
                ConnectionParameters(
                    responderResources: 1, initiatorDepth: 1, privateData: [UInt8](repeating: 7, count: 196)))
            let accepted = try LawPair.established(client, server)
            try require(accepted.privateData.prefix(196).allSatisfy { $0 == 7 }, "196 bytes arrive")
        },
        FabricLaw(name: "a rejection arrives with its private data") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            _ = try LawPair.request(from: client, to: server, listener)
            server.fabric.reject(server.connection, privateData: [9, 8, 7, 6])
            server.connection = nil
            try eventually("rejected", client, server) { () -> Bool? in
                guard case .rejected(_, let data, _) = client.events.first else { return nil }
                return data.starts(with: [9, 8, 7, 6])
            }.isTrue("the private data")
        },
        FabricLaw(name: "connecting where nobody listens ends in rejected or failed") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            let address = server.fabric.address(of: listener)!
            server.fabric.stopListening(listener)
            client.connection = try client.fabric.resolve(address, from: nil, timeoutMilliseconds: 5000)
            try eventually("routeResolved", client) { client.events.isEmpty ? nil : () }
            client.events.removeAll()
            try client.prepare()
            try client.fabric.connect(
                client.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
            try eventually("an end", client) { () -> Void? in
                switch client.events.first {
                case .rejected, .failed: ()
                default: nil
                }
            }
        },
        FabricLaw(name: "a request handed over to another fabric is served there") { world in
            let first = try LawPeer(world)
            defer { first.close() }
            let second = try LawPeer(world)
            defer { second.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try first.fabric.listen(at: world.address, backlog: 4)
            _ = try LawPair.request(from: client, to: first, listener)
            let ticket = first.fabric.handOver(first.connection)
            first.connection = nil
            first.poll()
            second.connection = try second.fabric.adopt(ticket)
            try second.prepare()
            second.postReceives(1..<2)
            try second.fabric.accept(
                second.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
            _ = try LawPair.established(client, second)
            client.fill(0, 16, 0xA5)
            client.post([
                WorkRequest(
                    id: 2, queuePair: client.queuePair, opcode: .send, flags: [.signaled],
                    segment: client.element(0, 16))
            ])
            let arrived = try eventually("the message", client, second) { second.take(1) }
            try require(arrived.status == .success && arrived.byteCount == 16, "it arrives whole: \(arrived)")
            first.poll()
            try require(first.events.isEmpty, "nothing comes to the first fabric: \(first.events)")
        },
        FabricLaw(name: "a request handed over and discarded is refused") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            _ = try LawPair.request(from: client, to: server, listener)
            server.fabric.discard(server.fabric.handOver(server.connection))
            server.connection = nil
            try eventually("rejected", client, server) { () -> Void? in
                if case .rejected = client.events.first { () } else { nil }
            }
        },
    ]
}
