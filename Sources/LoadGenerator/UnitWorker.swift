import Base
import Histogram

/// Which units a worker reads and writes, and how.
public struct UnitLoad: Sendable {
    /// Share of reads, 0 to 100.
    public var readPercentage: UInt64
    public var isRandom: Bool
    public var unitBytes: Int
    /// The worker's own units: the number of the first one in its pattern, and how many.
    public var firstUnit: UInt64 = 0
    public var unitCount: UInt64
    public var depth: Int
    public var seed: UInt64
    /// I/Os to submit at most.
    public var ioCount: UInt64
    /// Writes carry a pattern, reads are checked, and at the end all that was written is read back.
    public var verifies: Bool

    public init(
        readPercentage: UInt64, isRandom: Bool, unitBytes: Int, firstUnit: UInt64 = 0, unitCount: UInt64, depth: Int,
        seed: UInt64, ioCount: UInt64, verifies: Bool
    ) {
        self.readPercentage = readPercentage
        self.isRandom = isRandom
        self.unitBytes = unitBytes
        self.firstUnit = firstUnit
        self.unitCount = unitCount
        self.depth = depth
        self.seed = seed
        self.ioCount = ioCount
        self.verifies = verifies
    }
}

/// A worker whose I/Os are reads and writes of units of one size.
public class UnitWorker: LoadWorker {
    struct Slot {
        var unit: UInt64 = 0
        /// Writes to the unit so far, this one included; 0 where its content is not known.
        var version: UInt32 = 0
        var isRead = false
        var start = MonotonicTime(nanoseconds: 0)
    }

    public final let load: UnitLoad
    private let readMemory: UnsafeMutableRawPointer
    private let writeMemory: UnsafeMutableRawPointer
    private let slots: UnsafeMutablePointer<Slot>
    private var units: LoadUnits
    private var submittedCount: UInt64 = 0
    /// Why the load ends before its time: a read that brought something else than what was written, for one.
    public internal(set) final var problem: String?
    public private(set) final var readLatency = UnitWorker.histogram()
    public private(set) final var writeLatency = UnitWorker.histogram()

    /// - Parameters:
    ///   - tracked: no unit is used twice at once.
    ///   - readMemory: `unitBytes` for each of `depth` slots, as is `writeMemory`, which may be the same.
    init(
        _ load: UnitLoad, tracked: Bool, readMemory: UnsafeMutableRawPointer, writeMemory: UnsafeMutableRawPointer
    ) {
        self.load = load
        self.readMemory = readMemory
        self.writeMemory = writeMemory
        slots = .allocate(capacity: load.depth)
        slots.initialize(repeating: Slot(), count: load.depth)
        units = LoadUnits(load.unitCount, isRandom: load.isRandom, tracked: tracked, seed: load.seed)
        super.init(depth: load.depth)
    }

    deinit {
        slots.deallocate()
        units.deallocate()
    }

    /// Submits the I/O of a slot, whose memory is the slot's part of all; `false` where there is no room for it.
    func submit(_ index: Int, _ slot: Slot) -> Bool { invariantViolated("a worker submits to something") }

    final override func nextPhase(_ now: MonotonicTime) -> Phase {
        switch phase {
        case .running where now >= end || submittedCount >= load.ioCount || problem != nil:
            units.startReadingBack()
            return load.verifies && problem == nil ? .readingBack : .ending
        case .readingBack where units.isReadBack || problem != nil: return .ending
        default: return phase
        }
    }

    final override func submit() -> Int {
        var submitted = 0
        let now = freeSlot == nil ? MonotonicTime(nanoseconds: 0) : MonotonicTime.now()
        while let index = freeSlot, let unit = phase == .readingBack ? units.nextWritten() : units.next() {
            let slot = slots + index
            let isRead = phase == .readingBack || units.chance(load.readPercentage)
            slot.pointee = Slot(unit: unit, version: units.version(unit), isRead: isRead, start: now)
            if !isRead {
                slot.pointee.version &+= 1
                if load.verifies {
                    BenchPattern.fill(
                        writeMemory + index * load.unitBytes, bytes: load.unitBytes, unit: load.firstUnit + unit,
                        version: slot.pointee.version)
                }
            }
            // Making patterns takes time, which is not the I/O's.
            if load.verifies { slot.pointee.start = .now() }
            guard submit(index, slot.pointee) else { break }
            units.use(unit)
            take()
            submitted += 1
            submittedCount += 1
            if phase == .running, submittedCount >= load.ioCount { break }
        }
        return submitted
    }

    /// The I/O of a slot has completed: gives the slot back, and checks what was read. Returns what the slot held.
    final func complete(_ index: Int, isSuccess: Bool) -> Slot {
        let slot = slots[index]
        give(index)
        // A failed write leaves unknown data in the unit.
        units.leave(slot.unit, version: isSuccess || slot.isRead ? slot.version : 0)
        guard load.verifies, isSuccess, slot.isRead, slot.version != 0, problem == nil else { return slot }
        let (memory, unit) = (readMemory + index * load.unitBytes, load.firstUnit + slot.unit)
        if !BenchPattern.matches(memory, bytes: load.unitBytes, unit: unit, version: slot.version) {
            problem = "unit \(unit) (\(load.unitBytes) bytes each) does not hold what write \(slot.version) wrote"
        }
        return slot
    }

    /// Counts how long an I/O took.
    final func record(_ nanoseconds: UInt64, _ slot: Slot) {
        if slot.isRead { readLatency.record(nanoseconds) } else { writeLatency.record(nanoseconds) }
    }
}
