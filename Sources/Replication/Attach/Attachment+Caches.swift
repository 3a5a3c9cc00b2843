extension Attachment {
    /// The fates of the caches of the members `present`, by what a record says of them.
    func fates(
        of present: MemberSet, by record: Superblock, _ volume: borrowing VolumeState
    ) -> PerMember<CacheFate> {
        var fates = PerMember<CacheFate>(repeating: .lost)
        for member in present {
            fates[member] = volume.rules.fate(
                of: volume.members[member].connection.cache, recorded: record.members[member].bootInstance)
        }
        return fates
    }

    func members(_ present: MemberSet, whoseFateIs fate: CacheFate, _ fates: PerMember<CacheFate>) -> MemberSet {
        var found: MemberSet = []
        for member in present where fates[member] == fate { found.insert(member) }
        return found
    }

    /// Members that the `newest` record alone names in sync, which was never valid: they had all that had been acknowledged when it
    /// was made, and have kept it. Writes that they were not given since are noted on all that were in sync by the record that
    /// counts, some of which are `present`; a member that may lack one is left out.
    func late(
        _ best: Superblock, _ newest: Superblock, ready: MemberSet, present: MemberSet, _ volume: borrowing VolumeState
    ) -> MemberSet {
        guard volume.rules.mayBelieveLateMember, newest.geometry == best.geometry else { return [] }
        let candidates = newest.inSync.intersection(ready).subtracting(best.inSync).subtracting(volume.record.fresh)
        var late: MemberSet = []
        for member in members(candidates, whoseFateIs: .kept, fates(of: candidates, by: newest, volume)) {
            let mayLack =
                !volume.maps.behind(member).isEmpty
                || present.contains { found[$0]?.behind(member).isEmpty == false }
            if !mayLack { late.insert(member) }
        }
        return late
    }
}
