import Base
import InitiatorTransport
import NVMeInitiator
import Reactor

/// Counts of a worker; others read them through the reactor.
public struct BenchCounts: Sendable {
    public var reads: UInt64 = 0
    public var writes: UInt64 = 0
    /// Answered with an error status, not done, and not known, in this order.
    public var failed: UInt64 = 0
    public var notDone: UInt64 = 0
    public var unknown: UInt64 = 0
    public var firstProblem: String?

    public init() {}
}

/// Keeps one queue at its depth.
public final class BenchWorker: UnitWorker, @unchecked Sendable {
    // Unchecked: the reactor's thread alone uses it while it runs.
    private let namespace: NamespaceDescription
    private let blocksPerUnit: UInt64
    private let queue: IOQueue
    public var group: InitiatorGroup { queue.group }
    private let readMemory: DataMemory
    private let writeMemory: DataMemory
    private let sink = Sink()
    public private(set) var counts = BenchCounts()

    private final class Sink: CompletionSink {
        unowned(unsafe) var worker: BenchWorker?
        override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) { worker?.completed(completions) }
    }

    public init(
        _ load: UnitLoad, namespace: NamespaceDescription, queue: IOQueue, readMemory: DataMemory,
        writeMemory: DataMemory
    ) {
        self.namespace = namespace
        blocksPerUnit = UInt64(load.unitBytes / namespace.blockSize)
        self.queue = queue
        self.readMemory = readMemory
        self.writeMemory = writeMemory
        super.init(
            load, tracked: load.verifies, readMemory: readMemory.segment.address,
            writeMemory: writeMemory.segment.address)
        sink.worker = self
        queue.sink = sink
    }

    /// Runs until `end`; with verification, reads everything back that was written. Returns when nothing is under way.
    public func run(until end: MonotonicTime) async {
        await withCheckedContinuation { continuation in
            queue.group.send {
                self.end = end
                self.begin(.running, continuation)
            }
        }
    }

    override func submit(_ index: Int, _ slot: Slot) -> Bool {
        // Not one of both in a variable: it would be retained for each I/O.
        let (place, length) = (index * load.unitBytes, load.unitBytes)
        let data = slot.isRead ? readMemory.part(place, length) : writeMemory.part(place, length)
        return queue.submit(
            IOOperation(
                slot.isRead ? .read : .write, namespace: namespace.index,
                startingLBA: (load.firstUnit + slot.unit) * blocksPerUnit, blockCount: blocksPerUnit,
                data: data, tag: UInt64(index))) == .accepted
    }

    private func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        let now = MonotonicTime.now()
        for completion in completions {
            let slot = complete(Int(completion.tag), isSuccess: completion.isSuccess)
            if !completion.isSuccess {
                count(completion, slot)
            } else if phase != .readingBack {
                if slot.isRead { counts.reads += 1 } else { counts.writes += 1 }
                record(now.nanoseconds(since: slot.start), slot)
            }
        }
        goOn(now)
    }

    private func count(_ completion: IOCompletion, _ slot: Slot) {
        switch completion.outcome {
        case .surelyDone: counts.failed += 1
        case .surelyNotDone: counts.notDone += 1
        case .unknown: counts.unknown += 1
        }
        if counts.firstProblem == nil {
            let what = slot.isRead ? "read" : "write"
            counts.firstProblem = "\(what) of unit \(load.firstUnit + slot.unit): \(completion.problem ?? "")"
        }
    }
}
