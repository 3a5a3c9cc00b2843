import Base
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Testing

/// The counts of a host's commands and of a namespace's.
@Suite struct CountingTests {
    private static let compare = RawCommand.io(nvme_cmd_compare, flags: 0x41)
    private static let write = RawCommand.io(nvme_cmd_write, flags: 0x42)

    private func data(_ value: UInt8, blocks: Int = 1) -> InProcessData { .fromHost(.blocks(blocks, of: value)) }

    /// A namespace of zeroes, commands of each kind, and the halves of fused ones.
    @Test func eachCommandIsCountedOnce() throws {
        let (world, host) = try EngineWorld().attached()
        let before = world.target.counters[0].hosts[0].statistics
        func expect(_ command: RawCommand, _ data: InProcessData, _ status: RawStatus) throws {
            #expect(try host.execute(command, data) == status)
        }
        func expectPair(_ value: UInt8, _ statuses: [RawStatus]) {
            let ids = [host.send(Self.compare, data(value)), host.send(Self.write, data(9))]
            #expect(ids.map { host.status(of: $0) } == statuses)
        }
        let different = RawStatus.media(NVME_SC_COMPARE_FAILED, doNotRetry: true)
        try expect(.io(nvme_cmd_read, 0, 8), .toHost(4096), .success)
        try expect(.io(nvme_cmd_read, 8, 1), .toHost(512), .success)
        try expect(.io(nvme_cmd_write, 8, 2), data(1, blocks: 2), .success)
        try expect(.io(nvme_cmd_compare, 8, 2), data(1, blocks: 2), .success)
        try expect(.io(nvme_cmd_compare, 8), data(2), different)
        try expect(.io(nvme_cmd_read, 8192), .toHost(512), .refused(NVME_SC_LBA_RANGE))
        try expect(.io(nvme_cmd_write, 8192), data(1), .refused(NVME_SC_LBA_RANGE))
        try expect(.flush(), .none, .success)
        try expect(.io(nvme_cmd_verify), .none, .success)
        expectPair(0, [.success, .success])
        expectPair(0, [different, .generic(NVME_SC_FUSED_FAIL)])

        let counters = world.target.counters[0]
        let (counted, namespace) = (counters.hosts[0], counters.namespaces[0])
        #expect(namespace.reads.commands == 2 && namespace.reads.bytes == 4608)
        // The second one is half of the first pair.
        #expect(namespace.writes.commands == 2 && namespace.writes.bytes == 1536)
        #expect(namespace.failed == 5)
        #expect(counted.statistics.readCommands == 2 && counted.statistics.bytesRead == 4608)
        #expect(counted.statistics.writeCommands == 2 && counted.statistics.bytesWritten == 1536)
        let others = counted.statistics.otherCommands - before.otherCommands
        #expect(others == 4, "a Compare, a Flush, a Verify, and half of the first pair")
        #expect(counted.statistics.failedCommands == 5)
        #expect([counted.reads, counted.writes].map { $0.counts.reduce(0, +) } == [2, 2])
    }

    @Test func aCommandIsCountedWithItsTime() throws {
        let (world, host) = try EngineWorld().attached()
        world.isFull = true
        let write = host.send(.io(nvme_cmd_write), data(1))
        world.settle()
        world.run(milliseconds: 20) { false }
        world.isFull = false
        #expect(host.status(of: write) == .success)
        let counters = world.target.counters[0]
        #expect(counters.namespaces[0].writes.nanoseconds == 20_000_000)
        #expect(counters.hosts[0].statistics.writeNanoseconds == 20_000_000)
        // 1.25 times 2^24 ns, some 20.97 ms, is the first bound that is not shorter.
        let bucket = try #require(LatencyCounts.upperNanoseconds.firstIndex(of: (5 << 22) - 1))
        #expect(counters.hosts[0].writes.counts[bucket] == 1)
    }

    /// Each time is in the first bucket whose bound is not shorter, and in the last one if there is none.
    @Test func timesAreInTheirBuckets() {
        let bounds = LatencyCounts.upperNanoseconds
        let times = [0, 1, 2, 3, 4, 5, 1000, 1023, 1024] + bounds + bounds.map { $0 + 1 } + [1 << 40, 1 << 62]
        for time in times {
            var fine = [UInt64](repeating: 0, count: LatencyCounts.fineCount)
            fine[LatencyCounts.fineBucket(of: time)] += 1
            var counts = LatencyCounts()
            counts.add(fine: fine)
            let expected = bounds.firstIndex { time <= $0 } ?? bounds.count - 1
            #expect(counts.counts.firstIndex(of: 1) == expected, "\(time) ns")
        }
    }
}
