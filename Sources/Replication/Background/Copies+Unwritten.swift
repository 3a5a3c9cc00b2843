/// Regions that their source has, and cannot write again.
extension Copies {
    /// The source has the region, and cannot write it again: that is no reason to prefer another's, before others have it from
    /// there. Until then the region's in-flight bit stays.
    func sourceNotRewritten(_ place: Int, _ volume: inout VolumeState) {
        guard table[place].destinations == [], volume.members.usedInSync == MemberSet(table[place].source) else {
            return
        }
        volume.maps.setUnreconciled(table[place].region, false)
        volume.agenda.insert(.reconciled)
    }

    /// A member in sync that could not write regions again is behind by them, once another has them for certain: its next loss of
    /// power may bring back what was there before.
    mutating func demoteUnwritten(_ volume: inout VolumeState) {
        for member in volume.members.usedInSync where volume.maps.unwrittenCount[member] > 0 {
            guard volume.members.usedInSync.count > 1, volume.maps.unreconciled.isEmpty,
                let region = volume.maps.unwritten(member).first
            else { continue }
            demote(member, regions: region...region, &volume)
        }
    }
}
