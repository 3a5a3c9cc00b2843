import BlockInterface

/// Whether a host's flush may be answered by what the members say, after all may have lost their caches.
enum FlushDurability: BitwiseCopyable {
    /// A flush of all members makes everything durable.
    case flushable
    /// Regions are to be written again first.
    case isBeingRewritten
    /// The one member in sync that has a region cannot write it again, and no other has it yet.
    case cannotBeRewritten(BlockStatus)
}

/// Regions that their source has, and cannot write again.
extension Copies {
    mutating func durability(_ volume: borrowing VolumeState) -> FlushDurability {
        guard areCachesLost, volume.rules.mustRewriteBeforeFlush else { return .flushable }
        if volume.maps.unreconciledCount > 0 { return .isBeingRewritten }
        for member in volume.members.usedInSync where volume.maps.unwrittenCount[member] > 0 {
            return .cannotBeRewritten(rewriteFailure)
        }
        // All has been written again, and the flush that now goes out covers it.
        areCachesLost = false
        return .flushable
    }

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
            guard volume.members.usedInSync.count > 1, volume.maps.unreconciledCount == 0,
                let region = volume.maps.unwritten(member).first
            else { continue }
            demote(member, regions: region...region, &volume)
        }
    }
}
