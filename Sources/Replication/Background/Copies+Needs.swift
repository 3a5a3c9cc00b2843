import Base

/// The choice of what is copied next.
extension Copies {
    /// A region that a read waits for, and that nobody copies yet.
    func regionAwaited(
        _ operations: borrowing Operations, _ volume: borrowing VolumeState
    ) -> RegionIndex? {
        var waiting = operations.first(.reconcile)
        while let slot = waiting {
            for region in operations[slot].regions where volume.maps.unreconciled[region] {
                if !table.isCopying(region), !copied.contains(region) { return region }
            }
            waiting = operations[slot].next.ifAny
        }
        return nil
    }

    /// The maps that say what has to be copied now.
    func neededMaps(_ volume: borrowing VolumeState) -> (maps: [4 of RegionBits], count: Int) {
        var needed: [4 of RegionBits] = .init(repeating: volume.maps.unreconciled)
        var count = pace.mayReconcile(volume.now) ? 1 : 0
        for member in volume.members.active {
            if volume.members.inSync.contains(member) {
                needed[count] = volume.maps.repair(member)
                count += 1
            } else if !pace.isPaused, volume.now >= volume.members[member].copyRetry.at {
                needed[count] = volume.maps.behind(member)
                count += 1
            }
        }
        return (needed, count)
    }

    /// An operator declares `source` right for a region: it is copied to the others, and served again.
    mutating func repair(_ region: RegionIndex, from source: MemberIndex, _ volume: inout VolumeState) {
        for member in MemberSet.all.without(source) {
            if volume.readers.contains(member) {
                volume.maps.setRepair(member, region, true)
            } else {
                volume.requestBehind(member, region...region)
            }
        }
        let wasQuarantined = volume.maps.quarantine[region]
        volume.maps.setQuarantine(region, false)
        if wasQuarantined { markUnreconciled(region, &volume) }
        volume.agenda.insert(.copies)
    }
}
