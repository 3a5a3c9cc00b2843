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
}
