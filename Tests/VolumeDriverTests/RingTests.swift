import Glibc
import Reactor
import Testing

/// Values from one thread to another.
@Suite struct RingTests {
    @Test func itIsInOrderAndBounded() {
        let ring = Ring<UInt64>(capacity: 3)
        #expect(ring.pop() == nil)
        var pushed: UInt64 = 0
        while ring.push(pushed) { pushed += 1 }
        #expect(pushed == 4)
        for value in 0..<pushed { #expect(ring.pop() == value) }
        #expect(ring.pop() == nil)
        #expect(ring.push(9))
        #expect(ring.pop() == 9)
    }

    /// A million values between two threads, the taker of which sleeps whenever it finds nothing: all arrive, in order, and no
    /// wake-up is missed.
    @Test func noWakeUpIsMissed() async {
        let ring = Ring<UInt64>(capacity: 64)
        let bell = Doorbell()
        let count: UInt64 = 1_000_000
        async let isSound = Task.detached { () -> Bool in
            var expected: UInt64 = 0
            while expected < count {
                if let value = ring.pop() {
                    guard value == expected else { return false }
                    expected += 1
                    continue
                }
                bell.arm()
                if let value = ring.pop() {
                    bell.disarm()
                    guard value == expected else { return false }
                    expected += 1
                    continue
                }
                var watched = pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&watched, 1, 20_000) == 1 else { return false }
                bell.acknowledge()
            }
            return true
        }.value
        let pusher = Task.detached {
            for value in 0..<count {
                while !ring.push(value) { sched_yield() }
                bell.ring()
            }
        }
        await pusher.value
        #expect(await isSound)
    }
}
