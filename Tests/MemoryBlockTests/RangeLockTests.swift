import BlockInterface
import Synchronization
import Testing

@Suite("The lock of ranges")
struct RangeLockTests {
    private let lock = RangeLock()
    private static let stripe: UInt64 = 64 << 10
    /// From here on the stripes are those of the beginning again.
    private static let period: UInt64 = 4096 * stripe

    private func lock(_ mode: RangeLock.Mode, _ offset: UInt64, _ length: UInt64) -> Bool {
        lock.tryLock(mode, offset: offset, length: length)
    }

    @Test("Many share a range, one has it alone")
    func modes() {
        #expect(lock(.shared, 0, 4096))
        #expect(lock(.shared, 0, 4096))
        #expect(!lock(.exclusive, 0, 512))
        lock.withdraw(offset: 0, length: 512)
        lock.unlock(.shared, offset: 0, length: 4096)
        #expect(!lock(.exclusive, 0, 512))
        lock.withdraw(offset: 0, length: 512)
        lock.unlock(.shared, offset: 0, length: 4096)
        #expect(lock(.exclusive, 0, 512))
        #expect(!lock(.exclusive, 0, 512))
        lock.withdraw(offset: 0, length: 512)
        #expect(!lock(.shared, 0, 512))
        lock.unlock(.exclusive, offset: 0, length: 512)
        #expect(lock(.shared, 0, 512))
    }

    @Test("Ranges are kept apart by their last byte, and across the end of the stripes")
    func overlap() {
        #expect(lock(.exclusive, Self.stripe, Self.stripe))
        #expect(lock(.shared, 0, Self.stripe))
        #expect(lock(.shared, 2 * Self.stripe, 512))
        #expect(!lock(.shared, Self.stripe - 512, 1024))
        #expect(!lock(.shared, 2 * Self.stripe - 512, 1024))
        lock.unlock(.shared, offset: 2 * Self.stripe, length: 512)
        lock.unlock(.shared, offset: 0, length: Self.stripe)
        lock.unlock(.exclusive, offset: Self.stripe, length: Self.stripe)

        #expect(lock(.exclusive, Self.period - Self.stripe, 2 * Self.stripe))
        #expect(!lock(.shared, Self.period - 512, 512))
        #expect(!lock(.shared, Self.period, 512))
        #expect(!lock(.shared, 0, 512))
        #expect(lock(.shared, Self.stripe, 512))
        lock.unlock(.shared, offset: Self.stripe, length: 512)
        lock.unlock(.exclusive, offset: Self.period - Self.stripe, length: 2 * Self.stripe)
        #expect(lock(.exclusive, 0, 3 * Self.period), "everything came back")
        #expect(!lock(.shared, 77 * Self.stripe, 512))
        lock.unlock(.exclusive, offset: 0, length: 3 * Self.period)
        #expect(lock(.shared, 77 * Self.stripe, 512))
    }

    @Test("Who wants a range alone gets it before newcomers, and no longer keeps them off when it gives up")
    func waiting() {
        #expect(lock(.shared, 0, 512))
        #expect(!lock(.exclusive, 0, 2 * Self.stripe))
        #expect(!lock(.shared, 0, 512))
        lock.unlock(.shared, offset: 0, length: 512)
        #expect(!lock(.shared, 0, 512))
        #expect(lock(.exclusive, 0, 2 * Self.stripe))
        lock.unlock(.exclusive, offset: 0, length: 2 * Self.stripe)
        #expect(lock(.shared, Self.stripe, 512))
        // Takes the first stripe, not the second, and wants both.
        #expect(!lock(.exclusive, 0, 2 * Self.stripe))
        #expect(!lock(.shared, 0, 512))
        lock.withdraw(offset: 0, length: 2 * Self.stripe)
        #expect(lock(.shared, 0, 512))
        #expect(lock(.shared, Self.stripe, 512))
    }

    /// The owner of each stripe, as the threads find it.
    private final class Owners: Sendable {
        let sharers = (0..<16).map { _ in Counter() }
        let owners = (0..<16).map { _ in Counter() }
        let violations = Counter()

        final class Counter: Sendable {
            let value = Atomic<Int>(0)
        }

        func enter(_ mode: RangeLock.Mode, _ stripes: Range<Int>) {
            for stripe in stripes {
                let count = mode == .shared ? sharers[stripe] : owners[stripe]
                let others = count.value.add(1, ordering: .sequentiallyConsistent).oldValue
                let strangers = (mode == .shared ? owners : sharers)[stripe].value.load(
                    ordering: .sequentiallyConsistent)
                if strangers > 0 || mode == .exclusive && others > 0 { violations.value.add(1, ordering: .relaxed) }
            }
        }

        func leave(_ mode: RangeLock.Mode, _ stripes: Range<Int>) {
            for stripe in stripes {
                (mode == .shared ? sharers : owners)[stripe].value.subtract(1, ordering: .sequentiallyConsistent)
            }
        }
    }

    @Test("Threads with random ranges never meet, and everybody gets on")
    func threads() async {
        let lock = RangeLock()
        let owners = Owners()
        let seed = UInt64.random(in: .min ... .max)
        let taken = await withTaskGroup(of: Int.self) { group in
            for thread in 0..<4 {
                group.addTask {
                    var state = seed &+ UInt64(thread) &* 0x9E37_79B9_7F4A_7C15
                    func random(_ count: UInt64) -> UInt64 {
                        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                        return (state >> 33) % count
                    }
                    var taken = 0
                    for round in 0..<20_000 {
                        let first = random(12)
                        let count = 1 + random(4)
                        let mode: RangeLock.Mode = random(3) == 0 ? .exclusive : .shared
                        let stripes = Int(first)..<Int(first + count)
                        let (offset, length) = (first * Self.stripe + 512, count * Self.stripe - 1024)
                        var tries = 0
                        while !lock.tryLock(mode, offset: offset, length: length) {
                            tries += 1
                            // Some give up at once.
                            if round % 5 == 0 || tries > 1_000_000 { break }
                            if tries % 16 == 0 { await Task.yield() }
                        }
                        if round % 5 == 0 && tries > 0 || tries > 1_000_000 {
                            if mode == .exclusive { lock.withdraw(offset: offset, length: length) }
                            taken += tries > 1_000_000 ? 0 : 1
                            continue
                        }
                        owners.enter(mode, stripes)
                        owners.leave(mode, stripes)
                        lock.unlock(mode, offset: offset, length: length)
                        taken += 1
                    }
                    return taken
                }
            }
            return await group.reduce(0, +)
        }
        #expect(owners.violations.value.load(ordering: .relaxed) == 0, "seed \(seed)")
        #expect(taken == 80_000, "seed \(seed)")
        #expect(lock.tryLock(.exclusive, offset: 0, length: 16 * Self.stripe), "everything came back, seed \(seed)")
    }
}
