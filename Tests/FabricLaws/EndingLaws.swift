import Base
import FabricInterface
import Glibc

extension FabricLaw {
    static let endingLaws: [FabricLaw] = [
        FabricLaw(name: "a key that was never given is refused, and takes the connection's work along") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<2) })
            defer { pair.close() }
            pair.client.post([
                WorkRequest(
                    id: 7, queuePair: pair.client.queuePair, opcode: .rdmaWrite, flags: [.signaled],
                    segment: pair.client.element(0, 64), remoteAddress: pair.server.remoteAddress(0),
                    remoteKey: pair.server.region.remoteKey ^ 0x00AB_CD00)
            ])
            let refused = try eventually("the WRITE's end", pair.client, pair.server) { pair.client.take(7) }
            try require(
                refused.status == .remoteAccessError || refused.status == .flushed || refused.status == .otherError,
                "it is refused: \(refused)")
            try require(pair.server.holds(0, 64, 0), "nothing is written")
            pair.client.post([
                WorkRequest(
                    id: 8, queuePair: pair.client.queuePair, opcode: .send, flags: [],
                    segment: pair.client.element(0, 64))
            ])
            let later = try eventually("later work's end", pair.client, pair.server) { pair.client.take(8) }
            try require(later.status != .success, "later work fails, signaled or not: \(later)")
        },
        FabricLaw(name: "work with a wrong local key completes as failed") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<2) })
            defer { pair.close() }
            var wrong = pair.client.element(0, 64)
            wrong.localKey ^= 0x00AB_CD00
            pair.client.post([
                WorkRequest(
                    id: 7, queuePair: pair.client.queuePair, opcode: .send, flags: [.signaled], segment: wrong)
            ])
            let failed = try eventually("its end", pair.client, pair.server) { pair.client.take(7) }
            try require(failed.status != .success, "it fails: \(failed)")
        },
        FabricLaw(name: "disconnecting flushes both sides, and each hears of it once") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<4) })
            defer { pair.close() }
            pair.client.postReceives(10..<12)
            pair.client.fabric.disconnect(pair.client.connection)
            pair.client.fabric.disconnect(pair.client.connection)
            for (peer, ids) in [(pair.client, UInt64(10)..<12), (pair.server, 1..<4)] {
                for id in ids {
                    let flushed = try eventually("flushed receive \(id)", pair.client, pair.server) { peer.take(id) }
                    try require(flushed.status == .flushed, "it is flushed: \(flushed)")
                }
            }
            for peer in [pair.client, pair.server] {
                try eventually("disconnected", pair.client, pair.server) { () -> Void? in
                    if case .disconnected(let connection) = peer.events.first, connection == peer.connection {
                        ()
                    } else {
                        nil
                    }
                }
            }
            pair.server.fabric.disconnect(pair.server.connection)
            for _ in 0..<100 {
                pair.client.poll()
                pair.server.poll()
                world.progress()
            }
            try require(pair.client.events.count == 1, "once: \(pair.client.events)")
            try require(pair.server.events.count == 1, "once: \(pair.server.events)")
        },
        FabricLaw(name: "receives that are flushed wake one who has armed, as those that succeed do") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<4) })
            defer { pair.close() }
            let descriptor = pair.server.context.notificationDescriptor
            if descriptor < 0 { return }
            pair.server.context.armNotification()
            pair.server.fabric.disconnect(pair.server.connection)
            try eventually("a notification", pair.client) {
                var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                return Glibc.poll(&entry, 1, 0) == 1 ? () : nil
            }
            pair.server.context.acknowledgeNotification()
            let flushed = try eventually("a flushed receive", pair.client, pair.server) { pair.server.take(1) }
            try require(flushed.status == .flushed, "it is flushed: \(flushed)")
        },
        FabricLaw(name: "nothing is heard of a connection that was destroyed") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<4) })
            defer { pair.close() }
            pair.server.fabric.disconnect(pair.server.connection)
            pair.server.fabric.destroy(pair.server.connection)
            pair.server.connection = nil
            try eventually("disconnected", pair.client) { () -> Void? in
                if case .disconnected = pair.client.events.first { () } else { nil }
            }
            for _ in 0..<100 {
                pair.server.poll()
                world.progress()
            }
            try require(pair.server.events.isEmpty, "no event: \(pair.server.events)")
            try require(pair.server.completions.isEmpty, "no completion: \(pair.server.completions)")
            if pair.server.fabric.eventDescriptor >= 0 {
                var entry = pollfd(fd: pair.server.fabric.eventDescriptor, events: Int16(POLLIN), revents: 0)
                try require(Glibc.poll(&entry, 1, 0) == 0, "the event descriptor is not readable without an event")
            }
        },
        FabricLaw(name: "a connection destroyed before its answer leaves nothing behind") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let client = try LawPeer(world)
            defer { client.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            _ = try LawPair.request(from: client, to: server, listener)
            client.fabric.disconnect(client.connection)
            try eventually("disconnected", client) { () -> Void? in
                if case .disconnected = client.events.first { () } else { nil }
            }
            client.fabric.destroy(client.connection)
            client.connection = nil
            // The request may be void by now, which shows in either call or by an event.
            do {
                try server.prepare()
                try server.fabric.accept(
                    server.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
            } catch is TercetError {}
            for _ in 0..<100 {
                server.poll()
                client.poll()
                world.progress()
            }
            try require(client.events.count == 1, "no more events: \(client.events)")
        },
        FabricLaw(name: "shared receives survive the connections that took them") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            for round in 0..<5 {
                let client = try LawPeer(world)
                defer { client.close() }
                _ = try LawPair.request(from: client, to: server, listener)
                try server.prepare(shared: true)
                if round == 0 { server.postSharedReceives(0..<UInt64(LawPeer.sharedEntries)) }
                try server.fabric.accept(
                    server.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
                _ = try LawPair.established(client, server)
                // All the buffers: a later round only gets through if they came back, though nobody polled.
                client.post(
                    (0..<UInt64(LawPeer.sharedEntries)).map {
                        WorkRequest(
                            id: $0, queuePair: client.queuePair, opcode: .send, flags: [.signaled],
                            segment: client.element(0, 16))
                    })
                for id in 0..<UInt64(LawPeer.sharedEntries) {
                    let sent = try eventually("send \(id) of round \(round)", client) { client.take(id) }
                    try require(sent.status == .success, "it succeeds in round \(round): \(sent)")
                }
                server.fabric.disconnect(server.connection)
                server.fabric.destroy(server.connection)
                server.connection = nil
                server.events.removeAll()
            }
        },
    ]
}
