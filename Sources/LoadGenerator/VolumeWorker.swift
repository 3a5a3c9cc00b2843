import Base
import BlockInterface
import Reactor
import Replication
import VolumeDriver

/// Keeps a volume at its depth with reads and writes that carry a pattern, checks what it reads, and counts by the second.
public final class VolumeWorker: UnitWorker, VolumeIOSink, @unchecked Sendable {
    // Unchecked: the reactor's thread alone uses it while it runs.
    /// Counts of one second.
    public struct Second: Sendable {
        public internal(set) var count: UInt64 = 0
        public internal(set) var nanoseconds: UInt64 = 0
        public internal(set) var slowest: UInt64 = 0
        /// The fewest members that were in sync.
        public internal(set) var membersInSync = memberCount
    }

    private let volume: Volume
    private let io: VolumeIO
    private let startBytes: UInt64
    private let memory: UnsafeMutableRawPointer
    private var start = MonotonicTime(nanoseconds: 0)
    private var lastCompletion = MonotonicTime(nanoseconds: 0)
    public private(set) var reads: UInt64 = 0
    public private(set) var writes: UInt64 = 0
    /// The longest time in which no I/O completed.
    public private(set) var longestSilence: UInt64 = 0
    public private(set) var seconds: [Second] = []
    /// The first I/O that failed; then the load ends.
    public private(set) var failure: String?

    /// - Parameters:
    ///   - startBytes: where the first unit begins.
    ///   - memory: a unit for each slot.
    public init(
        _ load: UnitLoad, volume: Volume, startBytes: UInt64, memory: UnsafeMutableRawPointer
    ) {
        self.volume = volume
        io = VolumeIO(volume, depth: load.depth)
        self.startBytes = startBytes
        self.memory = memory
        super.init(load, tracked: true, readMemory: memory, writeMemory: memory)
        io.sink = self
    }

    /// Runs until `end`, then reads back all that was written. On the reactor's thread.
    public func run(until end: MonotonicTime, _ finished: CheckedContinuation<Void, Never>) {
        start = .now()
        lastCompletion = start
        self.end = end
        begin(.running, finished)
    }

    override func submit(_ index: Int, _ slot: Slot) -> Bool {
        io.submit(
            BlockRequest(
                tag: UInt64(index), operation: slot.isRead ? .read : .write,
                offset: startBytes + slot.unit * UInt64(load.unitBytes), length: UInt64(load.unitBytes),
                buffer: memory + index * load.unitBytes))
    }

    public func completed(_ completions: UnsafeBufferPointer<BlockCompletion>) {
        let now = MonotonicTime.now()
        longestSilence = max(longestSilence, now.nanoseconds(since: lastCompletion))
        lastCompletion = now
        for completion in completions {
            let slot = complete(Int(completion.tag), isSuccess: completion.status == .success)
            guard completion.status == .success else {
                failure =
                    failure
                    ?? "a \(slot.isRead ? "read" : "write") of \(load.unitBytes) bytes at byte "
                    + "\(startBytes + slot.unit * UInt64(load.unitBytes)) failed: \(completion.status.explanation)"
                problem = problem ?? failure
                continue
            }
            let took = now.nanoseconds(since: slot.start)
            if phase != .readingBack { count(took, at: now) }
            if slot.isRead { reads += 1 } else { writes += 1 }
            record(took, slot)
        }
        goOn(now)
    }

    private func count(_ took: UInt64, at now: MonotonicTime) {
        // An operation that ends after the time is up was begun in the last second.
        let second = Int(min(now, end).nanoseconds(since: start) / 1_000_000_000)
        while seconds.count <= second { seconds.append(Second()) }
        seconds[second].count += 1
        seconds[second].nanoseconds += took
        seconds[second].slowest = max(seconds[second].slowest, took)
        seconds[second].membersInSync = min(seconds[second].membersInSync, volume.membersInSync)
    }
}
