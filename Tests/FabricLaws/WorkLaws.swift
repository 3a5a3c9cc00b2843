import Base
import FabricInterface
import Glibc

extension FabricLaw {
    static let workLaws: [FabricLaw] = [
        FabricLaw(name: "messages arrive whole and in order, completions only where asked for") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(100..<104) })
            defer { pair.close() }
            for index in 0..<4 { pair.client.fill(index * 64, 64, UInt8(index + 1)) }
            pair.client.post(
                (0..<4).map { index in
                    WorkRequest(
                        id: UInt64(index), queuePair: pair.client.queuePair, opcode: .send,
                        flags: index == 3 ? [.signaled] : [], segment: pair.client.element(index * 64, (index + 1) * 8))
                })
            let sent = try eventually("the last send's end", pair.client, pair.server) { pair.client.take(3) }
            try require(sent.status == .success && sent.kind == .send, "it succeeds: \(sent)")
            try require(sent.queuePair == pair.client.queuePair, "it names its queue pair")
            for index in UInt64(0)..<4 {
                let arrived = try eventually("message \(index)", pair.client, pair.server) {
                    pair.server.completions.first
                }
                pair.server.completions.removeFirst()
                try require(arrived.id == 100 + index && arrived.kind == .receive, "buffers are used in order")
                try require(
                    arrived.byteCount == UInt32(index + 1) * 8 && arrived.status == .success, "its length: \(arrived)")
            }
            try require(
                pair.client.completions.isEmpty, "unsignaled work does not complete: \(pair.client.completions)")
        },
        FabricLaw(name: "messages of several connections take buffers of one shared receive queue") { world in
            let pair = try LawPair(world, shared: true, beforeAccept: { $0.postSharedReceives(1..<9) })
            defer { pair.close() }
            for round in UInt64(0)..<3 {
                pair.client.post([
                    WorkRequest(
                        id: 50 + round, queuePair: pair.client.queuePair, opcode: .send, flags: [.signaled],
                        segment: pair.client.element(0, 32), second: pair.client.element(512, 32))
                ])
                let arrived = try eventually("a message", pair.client, pair.server) {
                    pair.server.completions.popLast()
                }
                try require(arrived.id == 1 + round && arrived.byteCount == 64, "a shared buffer: \(arrived)")
                try require(arrived.queuePair == pair.server.queuePair, "the completion names the queue pair")
            }
        },
        FabricLaw(name: "inline payload may be overwritten right after posting") { world in
            let pair = try LawPair(world, inline: 32, beforeAccept: { $0.postReceives(1..<2) })
            defer { pair.close() }
            let limit = pair.client.context.inlineDataLimit(of: pair.client.queuePair)
            try require(limit <= 32, "no more is granted than was asked for")
            if limit < 16 { return }
            pair.client.fill(0, 16, 0x11)
            pair.client.post([
                WorkRequest(
                    id: 1, queuePair: pair.client.queuePair, opcode: .send, flags: [.signaled, .inline],
                    segment: pair.client.element(0, 16))
            ])
            pair.client.fill(0, 16, 0x22)
            _ = try eventually("the message", pair.client, pair.server) { pair.server.take(1) }
            try require(pair.server.holds(32768, 16, 0x11), "the payload is that of the moment of posting")
        },
        FabricLaw(name: "a queue pair gets what inline room there is, and never more entries than the device has") {
            world in
            let pair = try LawPair(world, inline: 1 << 20)
            defer { pair.close() }
            let limits = pair.client.context.limits
            let connection = try pair.client.fabric.resolve(
                pair.server.fabric.address(of: pair.listener)!, from: nil, timeoutMilliseconds: 5000)
            defer { pair.client.fabric.destroy(connection) }
            try eventually("routeResolved", pair.client) { pair.client.events.isEmpty ? nil : () }
            do {
                _ = try pair.client.context.createQueuePair(
                    for: connection,
                    QueuePairOptions(
                        sendEntries: limits.maxWorkRequests + 1, receiveEntries: 1, usesSharedReceiveQueue: false))
                throw LawViolation("more than \(limits.maxWorkRequests) entries were granted")
            } catch let error as TercetError {
                try require(error.message.contains("\(limits.maxWorkRequests)"), "the limit is named: \(error)")
            }
        },
        FabricLaw(name: "RDMA WRITE and READ move bytes; a SEND after a WRITE arrives after it") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<2) })
            defer { pair.close() }
            pair.client.fill(0, 8192, 0x5A)
            pair.client.post([
                WorkRequest(
                    id: 10, queuePair: pair.client.queuePair, opcode: .rdmaWrite, flags: [],
                    segment: pair.client.element(0, 8192), remoteAddress: pair.server.remoteAddress(4096),
                    remoteKey: pair.server.region.remoteKey),
                WorkRequest(
                    id: 11, queuePair: pair.client.queuePair, opcode: .send, flags: [.signaled],
                    segment: pair.client.element(0, 16)),
            ])
            _ = try eventually("the message", pair.client, pair.server) { pair.server.take(1) }
            try require(pair.server.holds(4096, 8192, 0x5A), "the written bytes are there")
            try require(pair.server.holds(12288, 64, 0), "no more than the written bytes")
            _ = try eventually("the send's end", pair.client, pair.server) { pair.client.take(11) }
            pair.server.fill(20000, 5000, 0xC3)
            pair.client.post([
                WorkRequest(
                    id: 12, queuePair: pair.client.queuePair, opcode: .rdmaRead, flags: [.signaled],
                    segment: pair.client.element(24000, 5000), remoteAddress: pair.server.remoteAddress(20000),
                    remoteKey: pair.server.region.remoteKey)
            ])
            let read = try eventually("the READ's end", pair.client, pair.server) { pair.client.take(12) }
            try require(read.status == .success && read.kind == .rdmaRead, "it succeeds: \(read)")
            try require(pair.client.holds(24000, 5000, 0xC3), "the read bytes are there")
        },
        FabricLaw(name: "SEND with invalidate ends the use of a key, or is refused by a device that cannot end it") {
            world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<3) })
            defer { pair.close() }
            guard pair.client.context.limits.supportsSendWithInvalidate else { return }
            let extra = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
            defer { extra.deallocate() }
            let region = try pair.server.context.register(extra, access: [.localWrite, .remoteWrite])
            defer { pair.server.context.deregister(region) }
            pair.client.post([
                WorkRequest(
                    id: 5, queuePair: pair.client.queuePair, opcode: .sendWithInvalidate, flags: [.signaled],
                    segment: pair.client.element(0, 16), remoteKey: region.remoteKey)
            ])
            let arrived = try eventually("the message", pair.client, pair.server) { pair.server.take(1) }
            // Soft-RoCE and many others invalidate only keys that were bound by work, never those of a whole registration.
            if arrived.status == .remoteAccessError { return }
            try require(
                arrived.invalidated && arrived.invalidatedKey == region.remoteKey, "it says which key: \(arrived)")
            pair.client.post([
                WorkRequest(
                    id: 6, queuePair: pair.client.queuePair, opcode: .rdmaWrite, flags: [.signaled],
                    segment: pair.client.element(0, 16),
                    remoteAddress: UInt64(UInt(bitPattern: extra.baseAddress!)), remoteKey: region.remoteKey)
            ])
            let refused = try eventually("the WRITE's end", pair.client, pair.server) { pair.client.take(6) }
            try require(refused.status != .success, "the key is void")
        },
        FabricLaw(name: "a notification comes once for completions after arming, and can be consumed") { world in
            let pair = try LawPair(world, beforeAccept: { $0.postReceives(1..<4) })
            defer { pair.close() }
            let descriptor = pair.server.context.notificationDescriptor
            if descriptor < 0 { return }
            func isReadable() -> Bool {
                var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                return Glibc.poll(&entry, 1, 0) == 1
            }
            func send(_ id: UInt64) throws {
                pair.client.post([
                    WorkRequest(
                        id: id, queuePair: pair.client.queuePair, opcode: .send, flags: [.signaled],
                        segment: pair.client.element(0, 16))
                ])
                _ = try eventually("the send's end", pair.client) { pair.client.take(id) }
            }
            pair.server.context.armNotification()
            try require(!isReadable(), "nothing has happened yet")
            try send(1)
            try eventually("a notification", pair.client) { isReadable() ? () : nil }
            pair.server.context.acknowledgeNotification()
            try require(!isReadable(), "it is consumed")
            _ = try eventually("the message", pair.server, pair.client) { pair.server.take(1) }
            try send(2)
            _ = try eventually("the message", pair.server, pair.client) { pair.server.take(2) }
            try require(!isReadable(), "no notification without arming")
            pair.server.context.armNotification()
            try send(3)
            try eventually("a second notification", pair.client) { isReadable() ? () : nil }
            pair.server.context.acknowledgeNotification()
        },
    ]
}
