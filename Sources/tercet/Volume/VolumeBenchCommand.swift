import ArgumentParser
import Base
import Foundation
import Histogram
import LoadGenerator
import NVMeInitiator
import Reactor
import Replication
import Trace
import VolumeDriver

struct VolumeBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Load the volume with reads and writes, check every read, and show each second. WRITES DESTROY DATA.",
        discussion: """
            What happens to members meanwhile is told as it happens. At the end all that was written is read back, and \
            the volume is detached when all members are in sync again.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(name: .customLong("rwmixread"), help: "Share of reads, in percent.") var mix: UInt64 = 30
    @Option(name: .customLong("bs"), help: ByteCount.help("Size of one I/O.")) var blockSize = ByteCount(4096)
    @Option(name: .customLong("iodepth"), help: "I/Os under way.") var depth = 16
    @Option(name: .customLong("runtime"), help: "Seconds.") var seconds: Double = 10
    @Option(name: .customLong("number-ios"), help: "End after so many I/Os, if the time is not up before.")
    var ioCount: UInt64?
    @Option(name: .customLong("start-block"), help: "First logical block to use.") var startBlock: UInt64 = 0
    @Option(help: ByteCount.help("How much to use (default: all).")) var size: ByteCount?
    @Option(help: "Where the I/Os go depends on this number only.") var seed: UInt64 = 1
    @Flag(inversion: .prefixedNo, help: "Write a pattern, and check every read.") var verify = true
    @OptionGroup var poll: PollArguments
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard mix <= 100 else { throw ValidationError("--rwmixread is a percentage") }
        guard (1...256).contains(depth) else { throw ValidationError("--iodepth is between 1 and 256") }
        guard blockSize.value % 512 == 0, blockSize.value <= 1 << 20 else {
            throw ValidationError("--bs is a multiple of 512, at most 1m")
        }
    }

    func run() async throws {
        TraceDump.prepare(program: "tercet", folder: TraceDump.temporaryFolder)
        TraceDump.catchTraps()
        TraceDump.dump(on: SIGUSR1)
        let session = try Session(waiting: poll.waiting)
        defer { session.end() }
        let attached = try await VolumeSession(
            try await volume.chosen(), takeOver, depth: max(depth, 64), session: session)
        try await attached.use { try await bench(attached, session) }
    }

    private func bench(_ attached: VolumeSession, _ session: Session) async throws {
        let geometry = await attached.volume.geometry()
        guard blockSize.value % Int(geometry.blockSize) == 0 else {
            throw TercetError(.invalid, "--bs is not a multiple of the volume's block size \(geometry.blockSize)")
        }
        guard startBlock < geometry.dataBlocks else {
            throw TercetError(.invalid, "--start-block is beyond the volume's end")
        }
        let bytes = min(
            UInt64(size?.value ?? Int.max), (geometry.dataBlocks - startBlock) * UInt64(geometry.blockSize))
        let load = UnitLoad(
            readPercentage: mix, isRandom: true, unitBytes: blockSize.value,
            unitCount: min(bytes / UInt64(blockSize.value), 1 << 24), depth: depth, seed: seed,
            ioCount: ioCount ?? .max, verifies: verify)
        guard load.unitCount > UInt64(depth) else { throw TercetError(.invalid, "--size is too small for --iodepth") }
        guard let memory = await attached.volume.allocate(blockSize.value * depth) else {
            throw TercetError(.exhausted, "no memory for --bs times --iodepth")
        }
        let (volume, startBytes) = (attached.volume, startBlock * UInt64(geometry.blockSize))
        let worker = await session.groups[0].run {
            VolumeWorker(load, volume: volume, startBytes: startBytes, memory: memory.pointer)
        }
        let (reactor, group) = (session.reactors[0], session.groups[0])
        let end = MonotonicTime.now().advanced(byMilliseconds: UInt64(seconds * 1000))
        try await attached.watching {
            await withCheckedContinuation { continuation in
                group.send {
                    reactor.add(worker)
                    worker.run(until: end, continuation)
                }
            }
        }
        let (problem, failure) = await group.run { (worker.problem, worker.failure) }
        if let failure { throw TercetError(.failed, failure) }
        if let problem { throw TercetError(.damaged, "verification failed: \(problem)") }
        try await attached.bringIntoSync()
        let report = await group.run { VolumeBenchReport(worker) }
        let counts = await attached.volume.statistics()
        if json { try printJSON(report.result(counts)) } else { report.show(counts) }
    }
}

/// The measurements of a volume's bench.
struct VolumeBenchReport: Sendable {
    var seconds: [VolumeWorker.Second]
    var reads: UInt64
    var writes: UInt64
    var bytesWritten: UInt64
    var longestSilence: UInt64
    var isVerified: Bool
    var readLatency: Histogram<UInt64>
    var writeLatency: Histogram<UInt64>

    init(_ worker: VolumeWorker) {
        seconds = worker.seconds
        reads = worker.reads
        writes = worker.writes
        bytesWritten = worker.writes * UInt64(worker.load.unitBytes)
        longestSilence = worker.longestSilence
        isVerified = worker.load.verifies
        readLatency = worker.readLatency
        writeLatency = worker.writeLatency
    }

    func show(_ counts: VolumeStatistics) {
        print("second   in sync      IOPS   mean µs    max ms")
        for (index, second) in seconds.enumerated() { print(row(String(index), [second])) }
        for members in Set(seconds.map(\.membersInSync)).sorted(by: >) {
            print(row("all", seconds.filter { $0.membersInSync == members }))
        }
        for (name, latency) in [("read", readLatency), ("write", writeLatency)] where latency.totalCount > 0 {
            print(
                String(
                    format: "%@: %llu I/Os, mean %.1f µs, p50 %.1f, p99 %.1f, max %.1f", name, latency.totalCount,
                    latency.mean / 1e3, Double(latency.valueAtPercentile(50)) / 1e3,
                    Double(latency.valueAtPercentile(99)) / 1e3, Double(latency.maxRecorded) / 1e3))
        }
        print(String(format: "longest time without a completion: %.1f ms", Double(longestSilence) / 1e6))
        print(
            "written: \(bytesWritten) bytes; copied in resync: \(counts.bytesCopied) bytes in \(counts.regionsCopied) regions"
        )
        let metadata = counts.pageWrites + counts.recordWrites
        print("writes at the members: \(metadata + counts.memberWrites), of them metadata: \(metadata)")
        print(
            (isVerified ? "verified: every read had what was written last; " : "not verified; ")
                + "all members are in sync")
    }

    private func row(_ name: String, _ seconds: [VolumeWorker.Second]) -> String {
        let count = seconds.map(\.count).reduce(0, +)
        let mean = Double(seconds.map(\.nanoseconds).reduce(0, +)) / Double(max(count, 1)) / 1e3
        let slowest = Double(seconds.map(\.slowest).max() ?? 0) / 1e6
        let padded = String(repeating: " ", count: max(0, 6 - name.count)) + name
        return padded
            + String(
                format: " %9d %9llu %9.1f %9.1f", seconds.first?.membersInSync ?? 0,
                count / UInt64(max(seconds.count, 1)),
                mean, slowest)
    }

    func result(_ counts: VolumeStatistics) -> VolumeBenchResult {
        VolumeBenchResult(
            seconds: seconds.map {
                VolumeBenchResult.Second(ios: $0.count, latencySum: $0.nanoseconds, latencyMaximum: $0.slowest)
            },
            reads: reads, writes: writes, bytesWritten: bytesWritten, bytesResynced: counts.bytesCopied,
            longestSilence: longestSilence, memberLosses: counts.memberLosses, memberWrites: counts.memberWrites,
            metadataWrites: counts.pageWrites + counts.recordWrites,
            readLatency: VolumeBenchResult.Latency(readLatency),
            writeLatency: VolumeBenchResult.Latency(writeLatency))
    }
}

/// The output of `volume bench --json`. Times are in nanoseconds.
struct VolumeBenchResult: Encodable {
    var seconds: [Second]
    var reads: UInt64
    var writes: UInt64
    var bytesWritten: UInt64
    var bytesResynced: UInt64
    /// The longest time in which no I/O completed.
    var longestSilence: UInt64
    var memberLosses: UInt64
    /// Writes of data at the members, and of metadata.
    var memberWrites: UInt64
    var metadataWrites: UInt64
    var readLatency: Latency
    var writeLatency: Latency

    enum CodingKeys: String, CodingKey {
        case seconds, reads, writes
        case bytesWritten = "bytes_written"
        case bytesResynced = "bytes_resynced"
        case longestSilence = "longest_silence_ns"
        case memberLosses = "member_losses"
        case memberWrites = "member_writes"
        case metadataWrites = "metadata_writes"
        case readLatency = "read_latency_ns"
        case writeLatency = "write_latency_ns"
    }

    struct Second: Encodable {
        var ios: UInt64
        var latencySum: UInt64
        var latencyMaximum: UInt64

        enum CodingKeys: String, CodingKey {
            case ios
            case latencySum = "latency_ns_sum"
            case latencyMaximum = "latency_ns_max"
        }
    }

    struct Latency: Encodable {
        var mean: Double
        var p50: UInt64
        var p99: UInt64

        init(_ histogram: Histogram<UInt64>) {
            mean = histogram.mean
            p50 = histogram.valueAtPercentile(50)
            p99 = histogram.valueAtPercentile(99)
        }
    }
}
