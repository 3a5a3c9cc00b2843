import Base

/// The engine's own work beside hosts' I/O.
struct Background: ~Copyable {
    var copies: Copies
    var scrub = Scrub()
    private(set) var housekeeping = Housekeeping()

    init(_ configuration: VolumeConfiguration) { copies = Copies(configuration) }

    /// A flush of housekeeping is under way.
    var isFlushing: Bool { housekeeping.isRunning }
    /// Another one follows.
    var wantsFlush: Bool { housekeeping.wantsFlush }

    /// Starts a flush, unless one is under way: then it follows. The flush is to be dispatched.
    mutating func startFlush(
        clears: Bool, _ operations: inout Operations, _ volume: inout VolumeState
    ) -> OperationIndex? {
        guard !housekeeping.isRunning else {
            housekeeping.wantsFlush = true
            return nil
        }
        guard let slot = operations.takeInternal(.flush) else { return nil }
        copies.flushStarts()
        housekeeping.start(clears: clears, operations, &volume)
        return slot
    }

    /// The flush that is due, if one is; it is to be dispatched.
    mutating func tickHousekeeping(_ operations: inout Operations, _ volume: inout VolumeState) -> OperationIndex? {
        if copies.pace.mayLookAgain(volume.now) { volume.agenda.insert(.copies) }
        guard let clears = housekeeping.isDue(volume) else { return nil }
        return startFlush(clears: clears, &operations, &volume)
    }

    /// A flush has been done by the members `done`.
    mutating func flushed(_ done: MemberSet, _ volume: inout VolumeState) {
        housekeeping.isRunning = false
        guard volume.life.isServing else { return }
        copies.settle(done, &volume)
        if housekeeping.clears, volume.members.active.subtracting(done) == [] {
            volume.clearIntents(keepsRecent: volume.phase != .detaching)
        }
        volume.agenda.insert(.copies)
        copies.review(&volume)
    }
}
