import Base
import BlockInterface
import Reactor
import VolumeDriver

/// Loads a volume with overlapping writes, zeroes, trims, flushes and reads, and checks it against a record that outlives
/// this process.
public final class VolumeExerciser: LoadWorker, VolumeIOSink, @unchecked Sendable {
    // Unchecked: the reactor's thread alone uses it while it runs.
    public struct Plan: Sendable {
        /// Blocks that are changed, counted from the record's first.
        var window: Range<UInt64>
        var depth: Int
        /// Blocks of one I/O, at most.
        var blocksMax: UInt64
        var seed: UInt64

        public init(window: Range<UInt64>, depth: Int, blocksMax: UInt64, seed: UInt64) {
            self.window = window
            self.depth = depth
            self.blocksMax = blocksMax
            self.seed = seed
        }
    }

    private struct Slot {
        var operation = BlockOperation.read
        var start: UInt64 = 0
        var count: UInt64 = 0
        var number: UInt64 = 0
        var range: Range<UInt64> { start..<start + count }
    }

    private let plan: Plan
    private let record: ExerciseRecord
    private let io: VolumeIO
    private let memory: UnsafeMutableRawPointer
    private var slots: [Slot]
    /// The number that each block of a slot's read has to hold.
    private var expected: [UInt64]
    private var random: BenchRandom
    private var cursor: UInt64 = 0
    private var milliseconds: UInt64 = 0
    public private(set) var problem: String?
    /// The first I/O that failed; then the load ends.
    public private(set) var failure: String?
    public private(set) var operations: UInt64 = 0

    /// Memory that it needs for `plan`.
    public static func byteCount(_ plan: Plan, blockSize: Int) -> Int { plan.depth * Int(plan.blocksMax) * blockSize }

    public init(_ plan: Plan, record: ExerciseRecord, volume: Volume, memory: UnsafeMutableRawPointer) {
        self.plan = plan
        self.record = record
        io = VolumeIO(volume, depth: plan.depth)
        self.memory = memory
        slots = Array(repeating: Slot(), count: plan.depth)
        expected = Array(repeating: 0, count: plan.depth * Int(plan.blocksMax))
        random = BenchRandom(seed: plan.seed)
        super.init(depth: plan.depth)
        io.sink = self
    }

    /// Reads everything back, then loads the window for so long. On the reactor's thread.
    public func run(milliseconds: UInt64, _ finished: CheckedContinuation<Void, Never>) {
        self.milliseconds = milliseconds
        begin(.readingBack, finished)
    }

    override func nextPhase(_ now: MonotonicTime) -> Phase {
        switch phase {
        case .readingBack where problem != nil: return .ending
        case .readingBack where cursor == record.blockCount && isQuiet:
            end = now.advanced(byMilliseconds: milliseconds)
            return .running
        case .running where now >= end || problem != nil: return .ending
        default: return phase
        }
    }

    private func buffer(_ slot: Int) -> UnsafeMutableRawPointer {
        memory + slot * Int(plan.blocksMax) * record.blockSize
    }

    override func submit() -> Int {
        var submitted = 0
        while let index = freeSlot, phase == .running || cursor < record.blockCount {
            if phase == .readingBack {
                let count = min(plan.blocksMax, record.blockCount - cursor)
                slots[index] = Slot(operation: .read, start: cursor, count: count)
                cursor += count
            } else {
                slots[index] = choose()
            }
            take()
            submit(index)
            submitted += 1
        }
        return submitted
    }

    private func choose() -> Slot {
        let count = 1 + random.next(below: plan.blocksMax)
        var span = UInt64(plan.window.count) - count + 1
        // Half of all go to a small part: they overlap others that are under way.
        if random.next(below: 2) == 0 { span = min(span, 4 * plan.blocksMax) }
        let start = plan.window.lowerBound + random.next(below: span)
        let operation: BlockOperation =
            switch random.next(below: 100) {
            case 0..<50: .write
            case 50..<70: .read
            case 70..<80: .writeZeroes
            case 80..<90: .deallocate
            default: .flush
            }
        return Slot(operation: operation, start: start, count: operation == .flush ? 0 : count)
    }

    private func submit(_ index: Int) {
        let slot = slots[index]
        switch slot.operation {
        case .write:
            slots[index].number = record.submitted(slot.range, zeroes: false)
            for block in slot.range {
                record.fill(
                    buffer(index) + Int(block - slot.start) * record.blockSize, block: block,
                    number: slots[index].number)
            }
        case .writeZeroes, .deallocate: slots[index].number = record.submitted(slot.range, zeroes: true)
        case .read:
            for block in slot.range {
                expected[index * Int(plan.blocksMax) + Int(block - slot.start)] = record.newest(block)
            }
        default: break
        }
        let blockSize = UInt64(record.blockSize)
        let accepted = io.submit(
            BlockRequest(
                tag: UInt64(index), operation: slot.operation,
                flags: slot.operation == .write && random.next(below: 8) == 0 ? .forceUnitAccess : [],
                offset: (record.startBlock + slot.start) * blockSize, length: slot.count * blockSize,
                buffer: buffer(index)))
        invariant(accepted, "the volume takes as many I/Os as it was attached for")
    }

    public func completed(_ completions: UnsafeBufferPointer<BlockCompletion>) {
        for completion in completions {
            let index = Int(completion.tag)
            let slot = slots[index]
            give(index)
            guard completion.status == .success else {
                failure =
                    failure
                    ?? "the \(slot.operation.text) of \(slot.count) blocks at block \(record.startBlock + slot.start) failed: "
                    + completion.status.explanation
                problem = problem ?? failure
                continue
            }
            operations += 1
            switch slot.operation {
            case .write, .writeZeroes, .deallocate: record.acknowledged(slot.number, slot.range)
            case .read:
                for block in slot.range {
                    let offset = Int(block - slot.start)
                    let found = record.problem(
                        buffer(index) + offset * record.blockSize, block: block,
                        expected: phase == .readingBack ? nil : expected[index * Int(plan.blocksMax) + offset])
                    problem = problem ?? found
                }
            default: break
            }
        }
    }
}
