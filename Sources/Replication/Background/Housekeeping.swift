import Base

/// Marks regions clean that have not been written for a while: flushes all members, then clears the bits (invariant 3).
/// The same flush makes what was copied durable.
struct Housekeeping: ~Copyable {
    var isRunning = false
    /// The running flush ends with clearing bits; otherwise it is for copied regions only.
    var clears = false
    var wantsFlush = false
    var lastClearAt = MonotonicTime(nanoseconds: 0)
}

extension VolumeEngine {
    mutating func tickHousekeeping() {
        if now >= copies.lookAgainAt { copies.mayStart = true }
        guard !housekeeping.isRunning, phase == .serving else { return }
        let isDue = now.nanoseconds(since: housekeeping.lastClearAt) >= configuration.housekeepingInterval
        if isDue, !maps.intents.isEmpty {
            startHousekeeping(clears: true)
        } else if housekeeping.wantsFlush {
            startHousekeeping(clears: false)
        }
    }

    mutating func startHousekeeping(clears: Bool) {
        guard let slot = takeInternalSlot(.flush) else { return }
        housekeeping.isRunning = true
        housekeeping.clears = clears
        housekeeping.wantsFlush = false
        statistics.housekeepingFlushes += 1
        copied.markFlushing()
        if clears {
            housekeeping.lastClearAt = now
            maps.unflushedBefore.copy(from: maps.unflushed)
            maps.unflushed.clear()
            markRunningWrites()
            if !rules.mustFlushBeforeClearing { clearIntents(keepsRecent: false) }
        }
        dispatch(slot)
    }

    /// Regions with writes that have not ended are not covered by a flush that starts now.
    private mutating func markRunningWrites() {
        for index in 0..<pool.capacity where slots[index].state != .free && slots[index].kind.isWrite {
            guard slots[index].isPlaced else { continue }
            for region in slots[index].regions { maps.unflushed[region] = true }
        }
    }

    /// The flush has been done by `done`.
    mutating func housekeepingFlushed(_ done: MemberSet) {
        housekeeping.isRunning = false
        guard phase == .serving || phase == .detaching else { return }
        settleCopied(done)
        if housekeeping.clears, active.subtracting(done) == [] {
            clearIntents(keepsRecent: phase != .detaching)
        }
        if phase == .detaching, detachStep == .flushing { detachStep = .flushed }
        copies.mayStart = true
        reviewReconciled()
    }

    /// Clears the in-flight bits of regions whose writes are on every member, or noted durably for those that lack them,
    /// and flushed. Regions written lately keep theirs: they will probably be written again.
    ///
    /// Only under a valid record: an older one may hold, which does not say that a member lacks what its bits say.
    mutating func clearIntents(keepsRecent: Bool) {
        guard record.isValid else { return }
        let clearable = RegionMap(wordCount: maps.intents.wordCount)
        defer { clearable.free() }
        var isAny = false
        for word in 0..<clearable.wordCount where maps.intents.words[word] != 0 {
            var bits = maps.intents.words[word] & ~maps.unflushed.words[word] & ~maps.unreconciled.words[word]
            if keepsRecent { bits &= ~maps.unflushedBefore.words[word] }
            for member in MemberSet.all.subtracting(inSync) {
                let wanted = maps.behind(member).words[word]
                let durable = maps.behindDurable(member).words[word]
                bits &= active.contains(member) ? ~wanted | durable : durable
            }
            clearable.words[word] = bits
            isAny = isAny || bits != 0
        }
        if isAny { clear(clearable, kind: VolumeMaps.intentKind) }
    }
}
