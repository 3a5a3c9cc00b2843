import Base

extension VolumeEngine {
    /// Puts a new namespace in a member's place; `connect` for the member means the new one from now on. Everything is
    /// copied to it, and the volume is served meanwhile. False where the volume is not served, where no other member is
    /// in sync by a valid record (a moment later it may be), or where the new namespace is another of the volume's already.
    /// A namespace that is being put there, or was, is copied to anew: what is there is not believed.
    public mutating func replaceMember(_ member: MemberIndex, uuid: UUIDBytes, now: MonotonicTime) -> Bool {
        self.now = now
        let others = active.intersection(inSync).without(member)
        guard phase == .serving || phase == .suspended, record.isValid, others != [],
            !MemberSet.all.contains(where: { $0 != member && uuids[$0] == uuid })
        else { return false }
        loseMember(member, .removed)
        uuids[member] = uuid
        replacementUUIDs[member] = uuid
        freshMembers.insert(member)
        inSync.remove(member)
        if reconcileSource == member { reconcileSource = fastest(others) }
        endReconcileIfSingle()
        let everything = RegionMap(wordCount: maps.intents.wordCount)
        everything.setAll(count: maps.regionCount)
        addAll(everything, kind: member.number)
        everything.free()
        members[member].found = nil
        members[member].layout = nil
        members[member].superblockSequence = 0
        // It may be the old namespace again, at which commands of the old association may still land (invariant 6).
        members[member].reconnectDelay = 0
        members[member].connectAt = min(members[member].connectAt, now)
        if members[member].phase == .refused {
            become(member, .connecting)
            actions.append(.connect(member))
        }
        changeRecord()
        reviewService()
        pump()
        return true
    }
}
