import Base
import Testing

@testable import VolumeSimulation

@Suite struct MachineClockTests {
    @Test(arguments: [0, 200, -200, -500_000] as [Int64])
    func timeNeverGoesBackAndIsFoundAgain(drift: Int64) {
        var clock = MachineClock()
        clock.drift = drift
        clock.ahead = 12_345_678
        var last = MonotonicTime(nanoseconds: 0)
        for step in UInt64(0)...20_000 {
            // Past the places where what it has drifted changes.
            let time = MonotonicTime(nanoseconds: 1_000_000_000 + step * 999 + step * step)
            let shown = clock.local(time)
            #expect(shown >= last)
            last = shown
            let found = clock.world(shown)
            #expect(clock.local(found) >= shown, "a deadline that is over there is over here")
            #expect(found <= time.advanced(byNanoseconds: 3), "and not long after")
        }
        #expect(clock.world(.distantFuture) == .distantFuture)
    }

    @Test func aSecondIsOffByItsDrift() {
        var clock = MachineClock()
        clock.drift = 200
        let later = clock.local(MonotonicTime(nanoseconds: 11_000_000_000))
        #expect(later.nanoseconds == 11_002_000_000)
    }
}
