import AllocationProbe
import Base
import BlockInterface
import Testing

@testable import VolumeDriver

/// Limits and shares of volumes, in made-up time.
@Suite struct VolumeLimitsTests {
    private func at(_ microseconds: UInt64) -> MonotonicTime {
        MonotonicTime(nanoseconds: 1_000_000_000_000 + microseconds * 1000)
    }

    private func read(_ bytes: UInt64) -> BlockRequest {
        BlockRequest(tag: 0, operation: .read, offset: 0, length: bytes)
    }

    /// I/Os that pass in so many seconds, where somebody always wants one.
    private func passed(_ gate: inout VolumeGate, bytes: UInt64, seconds: UInt64, from: UInt64 = 0) -> Int {
        var passed = 0
        for microsecond in stride(from: from, to: from + seconds * 1_000_000, by: 100) {
            while gate.isOpen(at(microsecond)), passed < 100_000_000 {
                gate.begin(read(bytes), at(microsecond))
                gate.end(read(bytes))
                passed += 1
            }
        }
        return passed
    }

    @Test(arguments: [1, 500, 30_000] as [UInt64])
    func iosASecond(limit: UInt64) {
        var gate = VolumeGate(nil)
        gate.change(VolumeLimits(iosPerSecond: limit))
        // 20 ms of it may come at once.
        let found = passed(&gate, bytes: 4096, seconds: 10)
        #expect(UInt64(found) >= limit * 10 * 99 / 100 && UInt64(found) <= limit * 10 + limit / 50 + 2)
    }

    @Test(arguments: [4096, 1 << 20, 32 << 20] as [UInt64])
    func bytesASecond(size: UInt64) {
        var gate = VolumeGate(nil)
        gate.change(VolumeLimits(bytesPerSecond: 100_000_000))
        let bytes = UInt64(passed(&gate, bytes: size, seconds: 10)) * size
        #expect(bytes >= 980_000_000 && bytes <= 1_010_000_000 + 2 * size)
    }

    @Test func limitsChangeWhileItRuns() {
        var gate = VolumeGate(nil)
        gate.change(VolumeLimits(iosPerSecond: 100))
        #expect(passed(&gate, bytes: 512, seconds: 1) <= 103)
        gate.change(VolumeLimits(iosPerSecond: 10_000))
        #expect(passed(&gate, bytes: 512, seconds: 1, from: 1_000_000) >= 9_900)
        gate.change(VolumeLimits())
        #expect(gate.isOpen(at(2_000_000)))
        // Flushes carry no data.
        gate.change(VolumeLimits(bytesPerSecond: 1000))
        for _ in 0..<100 {
            #expect(gate.isOpen(at(2_000_000)))
            gate.begin(BlockRequest(tag: 0, operation: .flush), at(2_000_000))
        }
    }

    /// A gate that is shut says when it opens.
    @Test func aShutGateOpensWhenItSays() {
        var gate = VolumeGate(nil)
        gate.change(VolumeLimits(iosPerSecond: 10))
        var now = at(0)
        while gate.isOpen(now) { gate.begin(read(512), now) }
        for _ in 0..<20 {
            let opens = gate.opensAt
            #expect(opens > now && !gate.isOpen(MonotonicTime(nanoseconds: opens.nanoseconds - 1000)))
            now = opens
            #expect(gate.isOpen(now))
            gate.begin(read(512), now)
        }
    }

    /// Volumes whose I/O a machine of so many I/Os at once ends one after the other; each user keeps `depth` waiting. Returns how many
    /// each got.
    private func compete(_ weights: [UInt32], depths: [Int], ends: Int) -> [Int] {
        let share = FairShare()
        var gates = weights.map { weight in
            var gate = VolumeGate(share)
            gate.change(VolumeLimits(weight: weight))
            return gate
        }
        var running: [Int] = []
        var counts = weights.map { _ in 0 }
        var own = weights.map { _ in 0 }
        for _ in 0..<ends {
            for volume in gates.indices {
                while own[volume] < depths[volume], gates[volume].isOpen(at(0)) {
                    gates[volume].begin(read(4096), at(0))
                    own[volume] += 1
                    running.append(volume)
                }
            }
            // The oldest ends.
            let over = running.removeFirst()
            gates[over].end(read(4096))
            own[over] -= 1
            counts[over] += 1
        }
        return counts
    }

    @Test func weightsCountUnderOverload() {
        let counts = compete([100, 300], depths: [1000, 1000], ends: 100_000)
        let ratio = Double(counts[1]) / Double(counts[0])
        #expect(ratio > 2.8 && ratio < 3.2)
        let equal = compete([100, 100, 100], depths: [1000, 300, 200], ends: 100_000)
        #expect(Double(equal.max() ?? 0) / Double(equal.min() ?? 1) < 1.1)
    }

    /// A user who wants little gets it, and the rest goes to the other.
    @Test func whoWantsLittleWaitsForNobody() {
        let counts = compete([100, 100], depths: [1, 1000], ends: 100_000)
        // One among those that fill the window: the other's depth does not push it back further.
        #expect(counts[0] >= 100_000 / 258)
        let alone = compete([1], depths: [1000], ends: 10_000)
        #expect(alone == [10_000])
    }

    @Test func nothingIsAllocated() throws {
        try #require(allocationProbeIsActive())
        let share = FairShare()
        var gate = VolumeGate(share)
        gate.change(VolumeLimits(iosPerSecond: 1000, bytesPerSecond: 1 << 30))
        _ = passed(&gate, bytes: 4096, seconds: 1)
        let before = allocationsOfThread()
        let found = passed(&gate, bytes: 4096, seconds: 1, from: 1_000_000)
        #expect(allocationsOfThread() == before)
        #expect(found > 900)
    }
}
