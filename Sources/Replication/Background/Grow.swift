import Base

extension VolumeEngine {
    /// Enlarges the volume to `dataBlocks` after its three namespaces have grown (`MemberEvent.resized`). I/O waits while
    /// the metadata moves to the members' new ends; the new blocks are then copied from one member to the others, and are
    /// read as that member holds them. Ends in the notice `grown` or `growFailed`.
    ///
    /// False where that is not possible now: all members have to be in sync and large enough, and the new metadata must
    /// not overlap the old, which stays valid until the new is. Until `grown` has come, the registry keeps the old sizes
    /// as `VolumeConfiguration.formattedBlocks`; then it takes them from the record, which says of a member that was lost
    /// meanwhile where its metadata still is.
    public mutating func grow(dataBlocks: UInt64, now: MonotonicTime) -> Bool {
        self.now = now
        guard phase == .serving, active == .all, inSync == .all, maps.unreconciled.isEmpty, record.isValid,
            growthTarget == nil, dataBlocks > maps.geometry.dataBlocks,
            let target = try? VolumeGeometry(
                blockSize: maps.geometry.blockSize, regionSize: maps.geometry.regionSize, dataBlocks: dataBlocks)
        else { return false }
        for member in MemberSet.all {
            guard let old = members[member].layout,
                let new = try? MemberLayout(member: member, memberBlocks: members[member].blocks, geometry: target),
                new.mapsStart >= old.slotBlock(1) + blocksPerPage
            else { return false }
        }
        growthTarget = target
        enterRecovery()
        pump()
        return true
    }

    /// A namespace has another size now.
    mutating func memberResized(_ member: MemberIndex, blocks: UInt64) {
        guard members[member].phase.isConnected else { return }
        members[member].blocks = blocks
        if let layout = members[member].layout, blocks < layout.memberBlocks {
            refuse(member, .shrunk(member: member, found: blocks, expected: layout.memberBlocks))
        }
    }

    /// Nothing is under way on any member: the metadata moves. The members join anew, as after a recovery, and the record
    /// that makes them serve again is the first at the new place.
    mutating func startGrowth(_ target: VolumeGeometry) {
        let old = maps.geometry
        let larger = VolumeMaps(target)
        copyWords(maps.intents, larger.intents)
        copyWords(maps.quarantine, larger.quarantine)
        maps.free()
        maps = larger
        // Writes that were under way, and were given back to a host that does not wait, are on some members only.
        maps.unreconciled.copy(from: maps.intents)
        // What the namespaces hold behind the old end differs from member to member, the old metadata included.
        for region in Int(old.dataBlocks / old.blocksPerRegion)..<maps.regionCount {
            maps.unreconciled[region] = true
            maps.intents[region] = true
        }
        maps.unflushed.copy(from: maps.intents)
        reconcileSource = fastest(active)
        active = []
        isDeciding = true
        for member in MemberSet.all {
            members[member].confirmedVersion = 0
            startJoining(member)
        }
    }

    /// The volume is served again after a growth. One that was broken off has happened all the same where a member that
    /// was found holds its record.
    mutating func endGrowth() {
        guard let target = growthTarget else { return }
        growthTarget = nil
        notice(maps.geometry == target ? .grown(dataBlocks: target.dataBlocks) : .growFailed)
    }
}
