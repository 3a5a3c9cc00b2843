import FabricInterface
import Glibc
import Memory

extension FabricLaw {
    /// The registration cache on a device that really holds on to memory: neither side ever moves bytes of what was mapped
    /// at an address before.
    public static let registrations: [FabricLaw] =
        [
            (
                RegistrationWatch.userfaultfd,
                "memory that is unmapped and mapped again is never read stale (userfaultfd)"
            ),
            (.caller, "memory that is unmapped and mapped again is never read stale (invalidated by its owner)"),
            (.none, "memory that is unmapped and mapped again is never read stale (registered for each use)"),
        ].map { watch, name in FabricLaw(name: name) { try checkRegistrations($0, watch) } }

    private static func checkRegistrations(_ world: FabricLawWorld, _ watch: RegistrationWatch) throws {
        let pair = try LawPair(world)
        defer { pair.close() }
        let cache = RegistrationCache(
            pair.server.context, pinnedBytesLimit: 1 << 20, maxRegions: 16, watch: watch)
        let front = cache.makeFront()
        let bytes = 3 * 4096
        let base = mmap(nil, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        defer { munmap(base, bytes) }
        for round in UInt64(1)...100 {
            // Mapped over what was there, which is unmapped by it.
            if watch == .caller { cache.invalidate(UnsafeRawBufferPointer(start: base, count: bytes)) }
            let mapped = mmap(
                base, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
            try require(mapped == base, "the same address")
            let words = base.assumingMemoryBound(to: UInt64.self)
            for index in 0..<bytes / 8 { words[index] = round << 32 | UInt64(index) }
            for step in 0..<2 {
                let isRead = step == 0
                let registration = try front.acquire(
                    base + 512, length: 8192, access: isRead ? .remoteRead : .remoteWrite)
                defer { front.release(registration) }
                if !isRead { pair.client.fill(0, 8192, UInt8(truncatingIfNeeded: round)) }
                pair.client.post([
                    WorkRequest(
                        id: round, queuePair: pair.client.queuePair, opcode: isRead ? .rdmaRead : .rdmaWrite,
                        flags: [.signaled], segment: pair.client.element(0, 8192),
                        remoteAddress: UInt64(UInt(bitPattern: base + 512)), remoteKey: registration.remoteKey)
                ])
                let end = try eventually("the end of round \(round)", pair.client, pair.server) {
                    pair.client.take(round)
                }
                try require(end.status == .success, "it succeeds in round \(round): \(end)")
                try require(
                    memcmp(pair.client.memory.baseAddress!, base + 512, 8192) == 0,
                    "the bytes of round \(round), \(isRead ? "read" : "written"), are those that are mapped")
            }
        }
        try require(watch == .none || cache.counters.invalidations > 0, "the cache has been told")
    }
}
