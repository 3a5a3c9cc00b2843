import Base

/// The record of who is in sync, as it is wanted, and which members have confirmed it.
struct RecordKeeper: ~Copyable {
    /// Raised at each change.
    var version: UInt64 = 0
    /// The wanted record is durable on at least two members, among them all that are active and in sync.
    var isValid = false
    var minimumCopies = 2
    var fencing = FencingMode.reservations
    var isClean = false
    /// The boot instance of each member's target since which it holds all that it acknowledged.
    var bootInstances = PerMember<UInt64>(repeating: 0)
    var behindSince = PerMember<UInt64>(repeating: 0)
}

extension VolumeEngine {
    var epoch: UInt64 { attachmentKey >> 32 }

    /// The record has to change: nothing that relies on the change is acknowledged until it is valid (invariant 2).
    mutating func changeRecord() {
        record.version += 1
        record.isValid = false
        reviewQuarantine()
        for member in MemberSet.all {
            if inSync.contains(member) {
                record.behindSince[member] = 0
            } else if record.behindSince[member] == 0 {
                record.behindSince[member] = epoch
            }
        }
        for member in active { writeRecord(to: member) }
    }

    /// Writes the wanted record to a member, unless a write of it is on its way: then it follows.
    mutating func writeRecord(to member: MemberIndex) {
        guard members[member].superblockVersionInFlight == 0, members[member].confirmedVersion != record.version,
            phase != .deposed
        else { return }
        guard let layout = members[member].layout else { invariantViolated("an active member has a layout") }
        // The slot that holds the valid record is never written: the sequence is raised when its write has succeeded.
        let sequence = members[member].superblockSequence + 1
        let records = MemberSet.all.map { index in
            MemberRecord(
                uuid: uuids[index], blocks: index == member ? layout.memberBlocks : memberBlocks(index),
                bootInstance: record.bootInstances[index],
                state: inSync.contains(index) ? .inSync : .behind, behindSinceEpoch: record.behindSince[index])
        }
        let superblock = Superblock(
            sequence: sequence, volume: configuration.volume, member: member,
            geometry: maps.geometry, fencing: record.fencing, minimumCopies: record.minimumCopies,
            isClean: record.isClean, stamp: RecordStamp(attachmentKey: attachmentKey, version: record.version),
            members: records, quarantine: quarantined)
        invariant(superblock.inSync != [], "a record names at least one member in sync")
        let offset = arenaLayout.superblock(member)
        superblock.encode(into: UnsafeMutableRawBufferPointer(start: arena + offset, count: arenaLayout.pageSize))
        members[member].superblockVersionInFlight = record.version
        members[member].superblockIssuedAt = now
        statistics.recordWrites += 1
        send(
            Tag(.superblock, member: member), .write,
            start: layout.slotBlock(Int(sequence & 1)), count: maps.geometry.blocksPerPage,
            owner: .arena, buffer: UInt64(offset), forceUnitAccess: true)
        if rules.maySentRecordCount(in: phase) {
            members[member].confirmedVersion = record.version
            reviewRecord()
        }
    }

    mutating func superblockCompleted(_ tag: Tag, _ status: MemberStatus) {
        let member = tag.member
        let version = members[member].superblockVersionInFlight
        members[member].superblockVersionInFlight = 0
        guard holdsMetadata(member), phase != .deposed else { return }
        switch status {
        case .success:
            members[member].metadataRefusedSince = .distantFuture
            if members[member].isWipingStale {
                members[member].isWipingStale = false
                members[member].staleBlocks = 0
            } else {
                members[member].superblockSequence += 1
                if wipeStaleRecord(member, version) { return }
            }
            members[member].confirmedVersion = version
            // Here the member's metadata is from now on, and is looked for when it comes back.
            if let layout = members[member].layout { formattedBlocks[member] = layout.memberBlocks }
            freshMembers.remove(member)
            if members[member].phase == .joining { return checkJoined(member) }
            // Members that lack nothing wait for the record before they count as in sync.
            copies.mayStart = true
            reviewRecord()
        case .busy, .notDone, .pathError:
            // The record is written again, and what is stale wiped behind it.
            members[member].isWipingStale = false
            metadataWasRefused(member)
            guard holdsMetadata(member) else { return }
        default: return loseMember(member, .metadataFailed)
        }
        writeRecord(to: member)
    }

    /// Wipes the record that a member's own has made stale: whoever knew the member's size of then alone would believe it.
    /// False where there is none. The member counts as holding its own only after that.
    private mutating func wipeStaleRecord(_ member: MemberIndex, _ version: UInt64) -> Bool {
        let stale = members[member].staleBlocks
        guard stale != 0, stale <= members[member].blocks, let layout = members[member].layout,
            let start = slotsBlock(member, blocks: stale),
            // Where sizes differ by less than a page it is the same place.
            start + 2 * blocksPerPage <= layout.mapsStart || start >= layout.slotBlock(1) + blocksPerPage
        else { return false }
        members[member].isWipingStale = true
        members[member].superblockVersionInFlight = version
        members[member].superblockIssuedAt = now
        send(
            Tag(.superblock, member: member), .writeZeroes, start: start, count: 2 * blocksPerPage,
            forceUnitAccess: true)
        return true
    }

    /// Finds out whether the wanted record is valid.
    mutating func reviewRecord() {
        guard !record.isValid, record.version > 0 else { return }
        var confirmed: MemberSet = []
        for member in active where members[member].confirmedVersion == record.version {
            confirmed.insert(member)
        }
        let holders = active.intersection(inSync)
        guard rules.isValid(confirmed: confirmed, holders: holders, active: active, isFirst: isDeciding) else { return }
        record.isValid = true
        reviewsAcknowledgements = true
        recordBecameValid()
    }

    private func memberBlocks(_ member: MemberIndex) -> UInt64 {
        if active.contains(member), let layout = members[member].layout { return layout.memberBlocks }
        return formattedBlocks[member] != 0 ? formattedBlocks[member] : members[member].blocks
    }
}
