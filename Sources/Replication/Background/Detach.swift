import Base

/// How far a detach has come.
enum DetachStep: UInt8, BitwiseCopyable {
    case idle, flushing, flushed, clearing, recording, releasing
}

extension VolumeEngine {
    /// Detaches: drains, flushes all members, clears the maps, marks clean, releases, in that order. New I/O is refused.
    /// The reservations stay where another's was preempted less than `releaseDelay` ago.
    /// False where the volume is not being served.
    public mutating func detach(now: MonotonicTime) -> Bool {
        self.now = now
        guard phase == .serving || phase == .suspended else { return false }
        scrub.isRunning = false
        detachStep = .idle
        become(.detaching)
        reviewsAcknowledgements = true
        releaseHeld()
        pump()
        return true
    }

    /// Lets the volume go as it is, as a crash would: nothing is flushed, marked or released.
    public mutating func abandon(now: MonotonicTime) {
        self.now = now
        guard phase != .detached, phase != .deposed else { return }
        depose(.abandoned)
        pump()
    }

    mutating func pumpDetach() {
        switch detachStep {
        case .idle:
            guard hostRunning == 0, copies.running == 0, !housekeeping.isRunning, scrub.slot < 0 else { return }
            detachStep = .flushing
            startHousekeeping(clears: true)
        case .flushing: return
        case .flushed:
            guard record.isValid else { return }
            clearIntents(keepsRecent: false)
            detachStep = .clearing
            pumpPages()
        case .clearing:
            guard maps.dirtyPages.isEmpty, staging.pool.available == staging.pool.capacity else { return }
            clearIntents(keepsRecent: false)
            guard maps.dirtyPages.isEmpty else { return pumpPages() }
            record.isClean = maps.intents.isEmpty
            detachStep = .recording
            changeRecord()
        case .recording:
            guard record.isValid else { return }
            detachStep = .releasing
            let mayRelease = preemptedAt.map { now.nanoseconds(since: $0) > configuration.releaseDelay } ?? true
            for member in MemberSet.all where members[member].phase.isConnected {
                if record.fencing == .reservations, active.contains(member), mayRelease {
                    members[member].step = .unregister
                    actions.append(.reservation(member, .unregister(key: attachmentKey)))
                } else {
                    loseMember(member, .removed)
                }
            }
        case .releasing:
            for member in MemberSet.all where members[member].phase.isConnected { return }
            become(.detached)
        }
    }

    mutating func unregistered(_ member: MemberIndex) {
        loseMember(member, .removed)
    }
}
