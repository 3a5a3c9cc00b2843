import Base

/// Regions in which members in sync were found to differ, and nothing proves which is right: they are not read until
/// `repairRegion` says whose contents they are to have, or a scrub finds all three members equal. The record names them, so
/// that this holds after a detach or a crash too, but no more than it has room for; a next scrub finds the others.
extension VolumeEngine {
    /// Brings the list for the record up to date: a region leaves it when its repair has been flushed.
    mutating func reviewQuarantine() {
        quarantined = quarantined.filter { maps.quarantine[$0] || isUnderRepair($0) }
        guard !maps.quarantine.isEmpty else { return }
        var all = Set(quarantined)
        for word in 0..<maps.quarantine.wordCount {
            var bits = maps.quarantine.words[word]
            while bits != 0, all.count < maps.geometry.quarantineCapacity {
                all.insert(word * 64 + bits.trailingZeroBitCount)
                bits &= bits - 1
            }
        }
        quarantined = all.sorted()
    }

    /// Changes the record where a region that it names has been repaired.
    mutating func tickQuarantine() {
        guard phase == .serving, quarantined.contains(where: { !maps.quarantine[$0] && !isUnderRepair($0) }) else {
            return
        }
        changeRecord()
    }

    /// Takes over what records say: what was being repaired when they were written may not have been.
    mutating func adoptQuarantine(_ regions: Set<Int>) {
        quarantined = Set(quarantined).union(regions).filter { $0 < maps.regionCount }
            .sorted().prefix(maps.geometry.quarantineCapacity).map { $0 }
        for region in quarantined { maps.quarantine[region] = true }
    }

    /// Whether members may still differ in a region without a durable bit that says so: the record names it until then.
    private func isUnderRepair(_ region: Int) -> Bool {
        maps.unreconciled[region]
            || MemberSet.all.contains { member in
                maps.repair[member][region] || maps.behind(member)[region] && !maps.behindDurable(member)[region]
            }
    }

    /// A scrub has found the members that it `compared` equal in a region. Where they are all that are in sync, the region
    /// is served again: it has been written since, or a member that differed is not in sync any more, and is copied to.
    mutating func liftQuarantine(_ region: Int, compared: MemberSet) {
        guard maps.quarantine[region], compared == inSync, compared.count > 1 else { return }
        for member in MemberSet.all.subtracting(inSync) { _ = requestBehind(member, region...region) }
        maps.quarantine[region] = false
    }

    /// A scrub has found members in sync to differ.
    mutating func quarantine(_ region: Int) {
        // Neither size, time nor number decides which is right (invariant 7): it is reported and not served.
        maps.quarantine[region] = true
        notice(.mismatch(region: region))
        if !quarantined.contains(region), quarantined.count < maps.geometry.quarantineCapacity { changeRecord() }
    }
}
