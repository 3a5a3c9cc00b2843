import AllocationProbe
import Base
import Buffers
import FabricInterface
import Glibc
import Memory
import Testing

/// A device that remembers what is registered with it.
final class RecordingContext: FabricContext {
    private(set) var registered: [UInt: (memory: UnsafeMutableRawBufferPointer, access: MemoryAccess)] = [:]
    private(set) var registrations = 0
    private let number: UInt

    init(domain: UInt = 1) {
        number = domain
        super.init()
    }

    override var domain: UInt { number }

    override func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        registrations += 1
        let key = UInt32(registrations)
        registered[UInt(key)] = (memory, access)
        return MemoryRegion(handle: UInt(key), localKey: key, remoteKey: key + 1000)
    }

    override func deregister(_ region: MemoryRegion) {
        #expect(registered.removeValue(forKey: region.handle) != nil, "a region is deregistered once")
    }
}

@Suite struct DataPoolTests {
    @Test func adminGetsTheReserveWhenIOHasTakenTheRest() throws {
        let arena = try RegisteredArena(bytes: 1 << 20)
        let pool = DataPool(arena.memory, reservedBytes: 64 << 10)
        defer { withExtendedLifetime(arena) {} }
        #expect(pool.reservedBytes == 64 << 10)
        var taken = 0
        while pool.allocate(4096, priority: .io) != nil { taken += 1 }
        #expect(taken == ((1 << 20) - (64 << 10)) / 4096)
        let reserved = (0..<16).compactMap { _ in pool.allocate(4096, priority: .admin) }
        #expect(Set(reserved).count == 16)
        #expect(pool.allocate(1, priority: .admin) == nil)
        #expect(pool.counters.reserveUses == 16)
        #expect(pool.counters.failures == 2)
        #expect(pool.counters.bytesInUse == 1 << 20)
        pool.free(reserved[3])
        #expect(pool.allocate(4096, priority: .io) == nil)
        #expect(pool.allocate(4096, priority: .admin) == reserved[3])
    }

    /// If the system has huge pages set aside an arena is made of them, and counts no more bytes than elsewhere.
    @Test(arguments: [4096, 1 << 20, (2 << 20) + 1, (8 << 20) + (256 << 10), 64 << 20], [false, true])
    func anArenaIsAsLargeWithHugePagesAsWithout(bytes: Int, usesHugePages: Bool) throws {
        let arena = try RegisteredArena(bytes: bytes, usesHugePages: usesHugePages)
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        #expect(arena.memory.count == (bytes + page - 1) / page * page)
        arena.memory[0] = 1
        arena.memory[arena.memory.count - 1] = 1
        let reserve = min(64 << 10, bytes / 4096 / 2 * 4096)
        let pool = DataPool(arena.memory, reservedBytes: reserve)
        var taken = 0
        while pool.allocate(4096, priority: .io) != nil { taken += 1 }
        #expect(taken * 4096 <= bytes - reserve + 4095)
    }

    @Test func buffersLieInTheArenaAndDoNotOverlap() throws {
        let arena = try RegisteredArena(bytes: 4 << 20)
        let pool = DataPool(arena.memory, reservedBytes: 1 << 20)
        defer { withExtendedLifetime(arena) {} }
        let start = arena.memory.baseAddress!
        var ranges: [Range<UnsafeMutableRawPointer>] = []
        for bytes in [4096, 5000, 1 << 20, 128 << 10, 4096, 512] {
            let allocated = pool.allocate(bytes, priority: .admin)
            let buffer = try #require(allocated)
            #expect(pool.size(of: buffer) >= bytes)
            let range = buffer..<buffer + pool.size(of: buffer)
            #expect(range.lowerBound >= start && range.upperBound <= start + arena.memory.count)
            #expect(ranges.allSatisfy { !$0.overlaps(range) })
            buffer.initializeMemory(as: UInt8.self, repeating: 0xEE, count: bytes)
            ranges.append(range)
        }
        for range in ranges { pool.free(range.lowerBound) }
        #expect(pool.counters.bytesInUse == 0)
        #expect(pool.counters.peakBytesInUse > 1 << 20)
        #expect(pool.allocate(3 << 20, priority: .io) == nil)
        #expect(pool.allocate(2 << 20, priority: .io) != nil)
    }

    @Test func buffersAndKnownRegistrationsCostNoAllocation() throws {
        let buffers = try RegisteredArena(bytes: 4 << 20)
        let pool = DataPool(buffers.memory, reservedBytes: 1 << 20)
        defer { withExtendedLifetime(buffers) {} }
        let control = try ControlMemory(slotBytes: 64, count: 8)
        let cache = RegistrationCache(PinningContext(), pinnedBytesLimit: 1 << 20, watch: .caller)
        let front = cache.makeFront()
        let arena = try RegisteredArena(bytes: 64 << 10)
        let memory = arena.memory.baseAddress!
        front.release(try front.acquire(memory, length: 4096, access: .remoteRead))
        let before = allocationsOfThread()
        for round in 0..<1000 {
            let first = pool.allocate(4096 << (round % 6), priority: .io)
            let second = pool.allocate(512, priority: .admin)
            if let first { pool.free(first) }
            if let second { pool.free(second) }
            if let slot = control.take() { control.give(slot) }
            let registration = try front.acquire(memory + 8, length: 1024, access: .remoteRead)
            front.release(registration)
        }
        let allocations = allocationsOfThread() - before
        #expect(allocations == 0)
        #expect(cache.counters.hits == 1000)
    }

    @Test func anArenaIsRegisteredOnceWithEachDevice() throws {
        let first = RecordingContext(domain: 1)
        let second = RecordingContext(domain: 2)
        do {
            let arena = try RegisteredArena(bytes: 10_000)
            let region = try arena.register(with: first)
            #expect(try arena.register(with: first).localKey == region.localKey)
            _ = try arena.register(with: second)
            #expect(first.registrations == 1 && second.registrations == 1)
            let registered = try #require(first.registered[region.handle])
            #expect(registered.memory.count >= 10_000)
            #expect(registered.access == [.localWrite])
        }
        #expect(first.registered.isEmpty && second.registered.isEmpty)
    }

    @Test func controlSlotsAreCacheLinesApartAndAreReused() throws {
        let memory = try ControlMemory(slotBytes: 100, count: 3)
        #expect(memory.slotBytes == 128)
        let slots = (0..<3).compactMap { _ in memory.take() }
        #expect(Set(slots).count == 3 && memory.take() == nil && memory.available == 0)
        for slot in slots {
            #expect(UInt(bitPattern: memory[slot]) % 64 == 0)
            memory[slot].initializeMemory(as: UInt8.self, repeating: UInt8(slot), count: memory.slotBytes)
        }
        for slot in slots { #expect(memory[slot].load(as: UInt8.self) == UInt8(slot)) }
        memory.give(slots[1])
        #expect(memory.take() == slots[1])
    }
}
