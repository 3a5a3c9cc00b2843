import Base
import CLinux
import FabricInterface
import Glibc
import Memory
import Testing

private func map(_ pages: Int) -> UnsafeMutableRawPointer {
    let result = mmap(nil, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    memset(result, 0x11, pages * 4096)
    return result
}

@Suite struct RegistrationCacheTests {
    @Test func memoryIsRegisteredOnceAndCountedAsItIs() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 20, watch: .caller)
        let front = cache.makeFront()
        let memory = map(4)
        defer { munmap(memory, 4 * 4096) }
        let first = try front.acquire(memory + 100, length: 8192, access: .remoteRead)
        #expect(device.count == 1)
        // Within the same three pages.
        let second = try front.acquire(memory + 4096, length: 8192, access: .remoteRead)
        #expect(second.remoteKey == first.remoteKey)
        let other = try cache.makeFront().acquire(memory, length: 1, access: .remoteRead)
        #expect(other.remoteKey == first.remoteKey)
        #expect(cache.counters.hits == 2 && cache.counters.misses == 1)
        #expect(cache.counters.pinnedBytes == 3 * 4096 && cache.counters.regions == 1)
        for registration in [first, second, other] { front.release(registration) }
        #expect(device.count == 1)
    }

    @Test func aPeerGetsNoMoreThanTheAccessAskedFor() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 20, watch: .caller)
        let front = cache.makeFront()
        let memory = map(1)
        defer { munmap(memory, 4096) }
        let read = try front.acquire(memory, length: 4096, access: .remoteRead)
        let write = try front.acquire(memory, length: 4096, access: .remoteWrite)
        #expect(read.remoteKey != write.remoteKey)
        #expect(device.access(ofKey: read.remoteKey) == .remoteRead)
        #expect(device.access(ofKey: write.remoteKey) == .remoteWrite)
        #expect(cache.counters.pinnedBytes == 8192)
        front.release(read)
        front.release(write)
    }

    @Test func theLeastRecentlyUsedGoesFirstAndNeverOneInUse() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 3 * 4096, watch: .caller)
        let front = cache.makeFront()
        let memory = map(8)
        defer { munmap(memory, 8 * 4096) }
        func acquire(_ page: Int) throws -> Registration {
            try front.acquire(memory + page * 4096, length: 4096, access: .remoteRead)
        }
        let used = try acquire(0)
        front.release(try acquire(1))
        front.release(try acquire(2))
        front.release(try acquire(1))
        front.release(try acquire(3))
        #expect(cache.counters.evictions == 1 && cache.counters.pinnedBytes == 3 * 4096)
        let misses = cache.counters.misses
        front.release(try acquire(1))
        #expect(cache.counters.misses == misses, "page 2 went, not page 1")
        let more = [try acquire(4), try acquire(5)]
        #expect(device.access(ofKey: used.remoteKey) != nil)
        let full = #expect(throws: TercetError.self) { try acquire(6) }
        #expect(full?.errno == ENOBUFS)
        #expect(throws: TercetError.self) { try front.acquire(memory, length: 8 * 4096, access: .remoteRead) }
        for registration in more { front.release(registration) }
        front.release(try acquire(6))
        front.release(used)
    }

    @Test func aDeviceWithFewRegionsIsEnough() throws {
        let device = PinningContext(maxRegions: 4)
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 30, watch: .caller)
        let front = cache.makeFront()
        let memory = map(64)
        defer { munmap(memory, 64 * 4096) }
        for page in 0..<64 {
            front.release(try front.acquire(memory + page * 4096, length: 4096, access: .remoteRead))
        }
        #expect(device.mostAtOnce <= 4)
    }

    @Test func memoryThatIsNotMappedIsAnError() throws {
        let cache = RegistrationCache(PinningContext(), pinnedBytesLimit: 1 << 20)
        let front = cache.makeFront()
        // As good as not mapped, but nobody else's either.
        let memory = map(2)
        defer { munmap(memory, 2 * 4096) }
        mprotect(memory, 2 * 4096, PROT_NONE)
        #expect(throws: TercetError.self) { try front.acquire(memory, length: 4096, access: .remoteRead) }
        #expect(throws: TercetError.self) { try front.acquire(memory, length: 0, access: .remoteRead) }
        #expect(throws: TercetError.self) { try front.acquire(memory, length: -1, access: .remoteRead) }
        #expect(throws: TercetError.self) {
            try front.acquire(UnsafeRawPointer(bitPattern: UInt.max - 10)!, length: 100, access: .remoteRead)
        }
        #expect(cache.counters.pinnedBytes == 0 && cache.counters.regions == 0)
    }

    @Test func withoutAWatchARegistrationEndsWithItsUse() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 20, watch: .none)
        let front = cache.makeFront()
        let memory = map(1)
        defer { munmap(memory, 4096) }
        let registration = try front.acquire(memory, length: 4096, access: .remoteRead)
        #expect(device.count == 1)
        front.release(registration)
        #expect(device.count == 0 && cache.counters.pinnedBytes == 0)
    }

    @Test func invalidatingEndsARegistrationOnceItIsNotInUse() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 20, watch: .caller)
        let front = cache.makeFront()
        let memory = map(4)
        defer { munmap(memory, 4 * 4096) }
        let used = try front.acquire(memory, length: 4096, access: .remoteRead)
        front.release(try front.acquire(memory + 8192, length: 4096, access: .remoteRead))
        cache.invalidate(UnsafeRawBufferPointer(start: memory + 8191, count: 2))
        #expect(device.count == 1)
        cache.invalidate(UnsafeRawBufferPointer(start: memory, count: 1))
        #expect(device.count == 1)
        let fresh = try front.acquire(memory, length: 4096, access: .remoteRead)
        #expect(fresh.remoteKey != used.remoteKey)
        front.release(used)
        #expect(device.count == 1)
        front.release(fresh)
        #expect(cache.counters.invalidations == 2)
    }

    @Test func unmappingEndsARegistrationByItself() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 1 << 20)
        #expect(cache.watch == .userfaultfd, "userfaultfd is allowed here")
        let front = cache.makeFront()
        let memory = map(4)
        front.release(try front.acquire(memory, length: 4 * 4096, access: .remoteRead))
        munmap(memory + 4096, 4096)
        // Deregistered by a thread of its own.
        for _ in 0..<10_000 where device.count > 0 { usleep(100) }
        #expect(device.count == 0 && cache.counters.invalidations == 1)
        munmap(memory, 4 * 4096)
    }
}
