import Base

/// Marks regions clean that have not been written for a while: flushes all members, then clears the bits (invariant 3).
/// The same flush makes what was copied durable.
struct Housekeeping: ~Copyable {
    var isRunning = false
    /// The running flush ends with clearing bits; otherwise it is for copied regions only.
    private(set) var clears = false
    var wantsFlush = false
    private var lastClearAt = MonotonicTime(nanoseconds: 0)

    /// Whether a flush is to be started, and whether it clears bits.
    func isDue(_ volume: borrowing VolumeState) -> Bool? {
        guard !isRunning, volume.phase == .serving else { return nil }
        let isTime = volume.now.nanoseconds(since: lastClearAt) >= volume.configuration.housekeepingInterval
        if isTime, !volume.maps.intents.isEmpty, volume.rules.mustClearBits { return true }
        return wantsFlush ? false : nil
    }

    /// A flush starts.
    mutating func start(clears: Bool, _ operations: borrowing Operations, _ volume: inout VolumeState) {
        isRunning = true
        self.clears = clears
        wantsFlush = false
        volume.outbox.statistics.housekeepingFlushes += 1
        guard clears else { return }
        lastClearAt = volume.now
        volume.maps.startFlushPeriod()
        // Regions with writes that have not ended are not covered by a flush that starts now.
        for slot in operations.places where operations[slot].state != .free && operations[slot].kind.isWrite {
            if operations[slot].order.isPlaced { volume.maps.noteWritten(operations[slot].regions) }
        }
        if !volume.rules.mustFlushBeforeClearing { volume.clearIntents(keepsRecent: false) }
    }
}
