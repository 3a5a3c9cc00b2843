import BlockInterface
import BlockLaws
import Glibc
import MemoryBlock
import Synchronization
import Testing

/// Two reactors at one RAM device: what one writes, another sees whole or not at all (NVMe, "Atomic Operation").
@Suite("A RAM device that two threads use")
struct SharedMemoryTests {
    private static let size = 64 << 10

    /// Whether all bytes are the same.
    private static func isUniform(_ memory: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        memcmp(memory, memory + 1, length - 1) == 0
    }

    /// A thread changes a range over and over, each time to bytes that are all the same, while this one reads it.
    ///
    /// - Parameters:
    ///   - rounds: reads. Enough for many torn ones where nothing keeps the two apart.
    ///   - change: one change, with a number.
    /// - Returns: reads that found different bytes, and operations that did not succeed.
    private func race(
        rounds: Int, offset: UInt64, device: RAMDevice, change: @escaping @Sendable (ChannelDriver, Int) -> Bool
    ) throws -> (torn: Int, failed: Int) {
        let changer = Changer(
            ChannelDriver(try device.openChannel(depth: 4), byteCount: Self.size), change)
        let driver = ChannelDriver(try device.openChannel(depth: 4), byteCount: Self.size)
        var torn = 0
        var failed = 0
        try changer.runs {
            for _ in 0..<rounds {
                if driver.run(.read, offset: offset, length: Self.size) != .success { failed += 1 }
                if !Self.isUniform(driver.memory.baseAddress!, Self.size) { torn += 1 }
            }
        }
        return (torn, failed + changer.failed.load(ordering: .relaxed))
    }

    /// A thread of its own: the pool of tasks may have none for as long as the other one runs.
    private final class Changer: @unchecked Sendable {
        // Unchecked: only its thread uses the driver; the counters are atomic.

        private let driver: ChannelDriver
        private let change: @Sendable (ChannelDriver, Int) -> Bool
        private let rounds = Atomic<Int>(0)
        private let isOver = Atomic<Bool>(false)
        let failed = Atomic<Int>(0)

        init(_ driver: ChannelDriver, _ change: @escaping @Sendable (ChannelDriver, Int) -> Bool) {
            self.driver = driver
            self.change = change
        }

        /// Does `body` while the thread changes things.
        func runs(_ body: () -> Void) throws {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self).toOpaque()
            try #require(pthread_create(&thread, nil, Self.entry, context) == 0)
            while rounds.load(ordering: .acquiring) < 2 { sched_yield() }
            body()
            isOver.store(true, ordering: .releasing)
            pthread_join(thread, nil)
        }

        fileprivate func loop() {
            var round = 0
            while !isOver.load(ordering: .acquiring) {
                if !change(driver, round) { failed.add(1, ordering: .relaxed) }
                round += 1
                rounds.store(round, ordering: .releasing)
            }
        }

        fileprivate static func run(_ context: UnsafeMutableRawPointer) {
            Unmanaged<Changer>.fromOpaque(context).takeRetainedValue().loop()
        }

        fileprivate static let entry: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
            context in
            if let context { run(context) }
            return nil
        }
    }

    // Not at a stripe's beginning too: then two parts of the lock keep the two threads apart.
    @Test("A read sees a write whole or not at all", arguments: [64 << 10, 96 << 10] as [UInt64])
    func writesAreWhole(offset: UInt64) throws {
        let device = try RAMDevice(byteCount: 1 << 20)
        #expect(Int(device.geometry.atomicWriteSize) >= Self.size)
        let found = try race(rounds: 5_000, offset: offset, device: device) { driver, round in
            memset(driver.memory.baseAddress!, Int32(round & 0xFF), Self.size)
            return driver.run(.write, offset: offset, length: Self.size) == .success
        }
        #expect(found.torn == 0, "\(found.torn) reads saw a part of a write")
        #expect(found.failed == 0)
    }

    @Test("A read sees zeroes whole or not at all")
    func zeroesAreWhole() throws {
        let device = try RAMDevice(byteCount: 1 << 20)
        let found = try race(rounds: 5_000, offset: 64 << 10, device: device) { driver, round in
            memset(driver.memory.baseAddress!, 0xFF, Self.size)
            let operation: [BlockOperation] = [.write, .writeZeroes, .write, .deallocate]
            return driver.run(operation[round % 4], offset: 64 << 10, length: Self.size) == .success
        }
        #expect(found.torn == 0, "\(found.torn) reads saw a part of the zeroes")
        #expect(found.failed == 0)
    }
}
