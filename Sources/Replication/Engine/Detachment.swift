import Base

/// Lets a volume go: drains, flushes all members, clears the maps, marks clean, releases, in that order.
struct Detachment {
    /// A thing that a step asks for.
    enum Order {
        /// A flush of all members, after which bits are cleared.
        case flush
        case lose(MemberSet)
        /// All connections have ended.
        case end
    }

    /// Does the next step where the one before it has ended. `isIdle`: nothing of the engine's own runs.
    static func pump(
        _ volume: inout VolumeState, isIdle: Bool, isFlushing: Bool, graceEnd: MonotonicTime
    ) -> Order? {
        switch volume.life.detachStep {
        case .idle:
            guard isIdle else { return nil }
            volume.life.endStep(volume.now, next: .flushing)
            return .flush
        case .flushing where isFlushing: return nil
        case .flushing:
            guard volume.record.isValid else { return nil }
            volume.clearIntents(keepsRecent: false)
            volume.life.endStep(volume.now, next: .clearing)
            volume.pumpPages()
        case .clearing:
            guard !volume.maps.hasDirtyPages, volume.pages.isIdle else { return nil }
            volume.clearIntents(keepsRecent: false)
            guard !volume.maps.hasDirtyPages else {
                volume.pumpPages()
                return nil
            }
            volume.record.letGo(isClean: volume.maps.intents.isEmpty, grace: grace(until: graceEnd, volume))
            volume.life.endStep(volume.now, next: .recording)
            volume.changeRecord()
        case .recording:
            guard volume.record.isValid || !volume.rules.mustRecordDetach else { return nil }
            volume.life.endStep(volume.now, next: .releasing)
            return .lose(release(&volume, graceEnd))
        case .releasing:
            guard volume.members.connected == [] else { return nil }
            volume.life.endStep(volume.now, next: .releasing)
            return .end
        }
        return nil
    }

    /// The word to the next attachment of writers that were fenced.
    private static func grace(until end: MonotonicTime, _ volume: borrowing VolumeState) -> FencingGrace {
        let left = end.nanoseconds(since: volume.now)
        guard left > 0 else { return FencingGrace() }
        return FencingGrace(
            milliseconds: UInt32(clamping: (left - 1) / 1_000_000 + 1), clock: volume.configuration.clock,
            endSeconds: UInt32(clamping: (end.nanoseconds - 1) / 1_000_000_000 + 1))
    }

    /// Gives the reservations up, unless they are to be left, or a writer that was fenced may still write: then they stay. Members
    /// that are not asked for it are returned.
    private static func release(_ volume: inout VolumeState, _ graceEnd: MonotonicTime) -> MemberSet {
        guard volume.record.fencing == .reservations, volume.now >= graceEnd, !volume.life.leavesReservations else {
            return volume.members.connected
        }
        let releasing = volume.members.connected.intersection(volume.members.active)
        for member in releasing {
            volume.members[member].joining.step = .unregister
            volume.ask(.reservation(member, .unregister(key: volume.record.attachmentKey)))
        }
        return volume.members.connected.subtracting(releasing)
    }
}
