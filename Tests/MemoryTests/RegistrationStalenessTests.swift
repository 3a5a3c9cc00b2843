import Base
import CLinux
import FabricInterface
import Glibc
import Memory
import Synchronization
import Testing

/// Rounds of the tests that look for stale registrations: TERCET_ROUNDS, or what takes a second.
private let rounds = getenv("TERCET_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 20_000

/// Some places in the address space, at which memory comes and goes.
private struct Places: ~Copyable {
    static let count = 24
    static let pages = 4
    static let bytes = pages * 4096
    let base: UnsafeMutableRawPointer
    var isMapped = [Bool](repeating: false, count: count)
    private var stamp: UInt64 = 0
    private(set) var moves = 0
    /// MREMAP_DONTUNMAP: the pages go, the addresses stay ours; other threads would get them at once.
    private static let keepPlace: Int32 = 4

    init() { base = mmap(nil, Self.count * Self.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) }

    deinit { munmap(base, Self.count * Self.bytes) }

    func address(_ place: Int) -> UnsafeMutableRawPointer { base + place * Self.bytes }

    mutating func map(_ place: Int, shared: Bool) {
        let flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED
        let result = mmap(address(place), Self.bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
        #expect(result == address(place))
        isMapped[place] = true
    }

    /// Leaves nothing accessible there, and keeps the addresses from others.
    mutating func unmap(_ place: Int) {
        let result = mmap(address(place), Self.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
        #expect(result == address(place))
        isMapped[place] = false
    }

    mutating func move(_ place: Int, to other: Int) {
        let result = tercet_mremap(
            address(place), Self.bytes, Self.bytes, MREMAP_MAYMOVE | MREMAP_FIXED | Self.keepPlace,
            address(other))
        guard result == address(other) else {
            // Refused where only a part of the place is watched; some of it may have been moved all the same.
            unmap(other)
            unmap(place)
            return
        }
        moves += 1
        isMapped[other] = true
        unmap(place)
    }

    /// Writes what was never written before into a page.
    mutating func write(_ place: Int, page: Int) {
        stamp += 1
        let words = (address(place) + page * 4096).assumingMemoryBound(to: UInt64.self)
        for index in 0..<512 { words[index] = stamp << 16 | UInt64(index) }
    }
}

@Suite struct RegistrationStalenessTests {
    /// Map, write, unmap, map the same addresses again, move, discard; what the device reads is always what is there.
    @Test(arguments: [RegistrationWatch.userfaultfd, .caller, .none], [1, 2] as [UInt64])
    func theDeviceReadsWhatIsMapped(watch: RegistrationWatch, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let device = PinningContext(maxRegions: 64)
        let cache = RegistrationCache(device, pinnedBytesLimit: 40 * 4096, watch: watch)
        let fronts = [cache.makeFront(), cache.makeFront()]
        var places = Places()
        var held: [Registration] = []
        var stale = 0
        var checks = 0
        for round in 0..<rounds {
            let place = Int.random(in: 0..<Places.count, using: &random)
            func change() {
                if watch == .caller {
                    cache.invalidate(UnsafeRawBufferPointer(start: places.address(place), count: Places.bytes))
                }
            }
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                change()
                places.map(place, shared: Bool.random(using: &random))
            case 1:
                change()
                places.unmap(place)
            case 2:
                let other = Int.random(in: 0..<Places.count, using: &random)
                guard places.isMapped[place], other != place else { continue }
                change()
                if watch == .caller {
                    cache.invalidate(UnsafeRawBufferPointer(start: places.address(other), count: Places.bytes))
                }
                places.move(place, to: other)
            case 3:
                guard places.isMapped[place] else { continue }
                change()
                madvise(places.address(place) + 4096, 8192, MADV_DONTNEED)
            default:
                guard places.isMapped[place] else { continue }
                let page = Int.random(in: 0..<Places.pages, using: &random)
                let count = Int.random(in: 1...Places.pages - page, using: &random)
                for written in page..<page + count { places.write(place, page: written) }
                let start = places.address(place) + page * 4096 + Int.random(in: 0..<4096, using: &random)
                let end = places.address(place) + (page + count) * 4096
                let front = fronts[round & 1]
                front.synchronize()
                let registration: Registration
                do {
                    registration = try front.acquire(
                        start, length: end - start, access: .remoteRead, isSynchronized: true)
                } catch {
                    #expect(error.errno == ENOBUFS && !held.isEmpty, "seed \(seed), round \(round): \(error)")
                    while let one = held.popLast() { front.release(one) }
                    continue
                }
                let seen = device.read(key: registration.remoteKey, start, end - start)
                let isRight = seen?.withUnsafeBytes { memcmp($0.baseAddress!, start, end - start) == 0 } ?? false
                checks += 1
                if !isRight {
                    stale += 1
                    Issue.record("seed \(seed), round \(round): stale bytes")
                    if stale > 3 { return }
                }
                if Int.random(in: 0..<8, using: &random) == 0 {
                    held.append(registration)
                } else {
                    front.release(registration)
                }
            }
        }
        for registration in held { fronts[0].release(registration) }
        #expect(checks > rounds / 10 && places.moves > 0)
        #expect(cache.counters.pinnedBytes <= 40 * 4096)
    }

    /// Two threads take each other's addresses: the kernel frees those before it tells that they are free.
    @Test func addressesFreedByAnotherThreadAreNotTakenForWhatTheyWere() throws {
        let device = PinningContext()
        let cache = RegistrationCache(device, pinnedBytesLimit: 64 << 20)
        try #require(cache.watch == .userfaultfd, "userfaultfd is allowed here")
        let stale = Atomic<Int>(0)
        let stamps = Atomic<UInt64>(1)
        func work() {
            let front = cache.makeFront()
            for _ in 0..<rounds / 2 {
                let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
                let stamp = stamps.wrappingAdd(1, ordering: .relaxed).newValue
                memory.storeBytes(of: stamp, as: UInt64.self)
                guard let registration = try? front.acquire(memory, length: 4096, access: .remoteRead) else {
                    Issue.record("no registration")
                    return
                }
                let seen = device.read(key: registration.remoteKey, memory, 8)
                let right = withUnsafeBytes(of: stamp) { Array($0) }
                if seen != right { stale.add(1, ordering: .relaxed) }
                front.release(registration)
                munmap(memory, 4096)
            }
        }
        onThreads(2, work)
        #expect(stale.load(ordering: .relaxed) == 0)
        #expect(cache.counters.invalidations > 0)
    }
}

/// Runs `body` on so many threads at once, and waits for all.
private func onThreads(_ count: Int, _ body: () -> Void) {
    withoutActuallyEscaping(body) { body in
        final class Box: @unchecked Sendable {
            // Unchecked: the body may be called from several threads at once; all are waited for.

            let body: () -> Void
            init(_ body: @escaping () -> Void) { self.body = body }
        }
        let box = Box(body)
        var threads = [pthread_t](repeating: 0, count: count)
        for index in 0..<count {
            pthread_create(
                &threads[index], nil,
                { context in
                    Unmanaged<Box>.fromOpaque(context!).takeUnretainedValue().body()
                    return nil
                }, Unmanaged.passUnretained(box).toOpaque())
        }
        for thread in threads { pthread_join(thread, nil) }
        withExtendedLifetime(box) {}
    }
}
