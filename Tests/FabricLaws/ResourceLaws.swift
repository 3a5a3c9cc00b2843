import AllocationProbe
import FabricInterface
import Glibc

extension FabricLaw {
    /// The laws of this machine's fabrics beyond `all`: a simulation neither has descriptors nor needs to spare memory.
    public static let resources: [FabricLaw] = [
        FabricLaw(name: "posting and polling allocates nothing") { world in
            let pair = try LawPair(world, shared: true, inline: 16, beforeAccept: { $0.postSharedReceives(0..<8) })
            defer { pair.close() }
            let client = pair.client
            let server = pair.server
            let works = UnsafeMutableBufferPointer<WorkRequest>.allocate(capacity: 4)
            let receives = UnsafeMutableBufferPointer<ReceiveRequest>.allocate(capacity: 8)
            let completions = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 16)
            defer {
                works.deallocate()
                receives.deallocate()
                completions.deallocate()
            }
            for index in 0..<4 {
                works[index] = WorkRequest(
                    id: UInt64(index), queuePair: client.queuePair, opcode: index == 2 ? .rdmaWrite : .send,
                    flags: index == 3 ? [.signaled] : [], segment: client.element(index * 64, 16),
                    remoteAddress: server.remoteAddress(0), remoteKey: server.region.remoteKey)
            }
            func round() -> Bool {
                client.context.post(UnsafeBufferPointer(works))
                var sent = 0
                var received = 0
                var left = world.patience
                while sent < 1 || received < 3 {
                    sent += client.context.poll(into: completions)
                    let count = server.context.poll(into: completions)
                    for index in 0..<count {
                        receives[index] = ReceiveRequest(
                            id: completions[index].id, segment: server.element(32768, 256))
                    }
                    received += count
                    server.context.postSharedReceives(UnsafeBufferPointer(rebasing: receives[0..<count]))
                    left -= 1
                    if left == 0 { return false }
                }
                return true
            }
            try require(round() && round(), "the first rounds end")
            let before = allocationsOfThread()
            var ended = 0
            while ended < 200, round() { ended += 1 }
            let allocations = allocationsOfThread() - before
            try require(ended == 200, "all rounds end, not \(ended)")
            try require(allocations == 0, "\(allocations) allocations in 200 rounds")
        },
        FabricLaw(name: "connections come and go and leave nothing behind") { world in
            let server = try LawPeer(world)
            defer { server.close() }
            let listener = try server.fabric.listen(at: world.address, backlog: 4)
            let client = try LawPeer(world)
            defer { client.close() }
            func cycle(_ count: Int) throws {
                for index in 0..<count {
                    _ = try LawPair.request(from: client, to: server, listener, shared: true)
                    try server.prepare(shared: true)
                    try server.fabric.accept(
                        server.connection, ConnectionParameters(responderResources: 1, initiatorDepth: 1))
                    _ = try LawPair.established(client, server)
                    let (ending, other) = index & 1 == 0 ? (client, server) : (server, client)
                    ending.fabric.disconnect(ending.connection)
                    try eventually("disconnected", other, ending) { () -> Void? in
                        if case .disconnected = other.events.first { () } else { nil }
                    }
                    for peer in [client, server] {
                        peer.fabric.destroy(peer.connection)
                        peer.connection = nil
                        peer.events.removeAll()
                        peer.completions.removeAll()
                    }
                }
            }
            try cycle(20)
            let before = try (entries("/proc/self/fd"), entries("/proc/self/task"), residentKilobytes())
            try cycle(200)
            let after = try (entries("/proc/self/fd"), entries("/proc/self/task"), residentKilobytes())
            try require(after.0 == before.0, "file descriptors: \(before.0), then \(after.0)")
            try require(after.1 == before.1, "threads: \(before.1), then \(after.1)")
            try require(after.2 <= before.2 + 512, "resident memory in KiB: \(before.2), then \(after.2)")
        },
    ]
}

/// How many entries a folder has.
private func entries(_ path: String) throws -> Int {
    guard let folder = opendir(path) else { throw LawViolation("\(path) cannot be read") }
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return count
}

private func residentKilobytes() throws -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { throw LawViolation("/proc/self/statm cannot be read") }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard fgets(&line, Int32(line.count), file) != nil else { throw LawViolation("/proc/self/statm is empty") }
    let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
        separator: " ")
    guard fields.count > 1, let pages = Int(fields[1]) else { throw LawViolation("/proc/self/statm: \(fields)") }
    return pages * Int(getpagesize()) / 1024
}
