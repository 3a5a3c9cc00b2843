import Base

extension VolumeState {
    /// The consequence of a member's answer to its record.
    enum RecordAnswer {
        case nothing
        case lose(MemberLossReason)
        /// A member that joins has confirmed its record.
        case hasJoined
        /// A member that is active has confirmed the wanted record, or an older one, which is followed by the wanted one.
        case confirmed
    }

    /// The record has to change: nothing that relies on the change is acknowledged until it is valid (invariant 2).
    mutating func changeRecord() {
        record.reviewQuarantine(maps)
        record.change(inSync: members.inSync)
        for member in members.active { writeRecord(to: member) }
    }

    /// Writes the wanted record to a member, unless a write of it is on its way: then it follows. It is written twice, into one
    /// slot after the other, before the member counts as holding it: where one is damaged later, the other tells the same.
    mutating func writeRecord(to member: MemberIndex) {
        guard members[member].record.versionInFlight == 0, members[member].record.confirmedVersion != record.version,
            phase != .deposed
        else { return }
        guard let layout = members[member].joining.layout else { invariantViolated("an active member has a layout") }
        // The slot that holds the newest record is never written: the sequence is raised when its write has succeeded.
        let sequence = members[member].record.sequence + 1
        var blocks = PerMember<UInt64>(repeating: 0)
        for other in MemberSet.all { blocks[other] = other == member ? layout.memberBlocks : memberBlocks(other) }
        let superblock = record.superblock(
            for: member, sequence: sequence, volume: configuration.volume, geometry: maps.geometry,
            inSync: members.inSync, blocks: blocks)
        invariant(superblock.inSync != [], "a record names at least one member in sync")
        let offset = arena.layout.superblock(member)
        superblock.encode(into: arena.page(at: offset))
        members[member].record.versionInFlight = record.version
        members[member].record.issuedAt = now
        outbox.statistics.recordWrites += 1
        send(
            Tag(.superblock, member: member), .write, start: layout.slotBlock(Int(sequence & 1)),
            count: maps.geometry.blocksPerPage, buffer: .arena(offset), forceUnitAccess: true)
        if rules.maySentRecordCount(in: phase) {
            members[member].record.confirmedVersion = record.version
            _ = reviewRecord()
        }
    }

    /// The size with which the record names a member.
    private func memberBlocks(_ member: MemberIndex) -> UInt64 {
        if members.active.contains(member), let layout = members[member].joining.layout { return layout.memberBlocks }
        return record.formattedBlocks[member] != 0
            ? record.formattedBlocks[member] : members[member].connection.blocks
    }

    /// A member has answered for its record, or for the wiping of one that is not its any more.
    mutating func recordAnswered(_ member: MemberIndex, _ status: MemberStatus) -> RecordAnswer {
        let version = members[member].record.versionInFlight
        members[member].record.versionInFlight = 0
        let wasSignpost = members[member].record.isSignposting
        members[member].record.isSignposting = false
        // A signpost that cannot be written is done without: the record itself is there.
        let status = wasSignpost && (status == .mediaError || status == .noSpace) ? .success : status
        guard maps.holders.contains(member), phase != .deposed else { return .nothing }
        guard status == .success else {
            guard status.mayBeSentAgain else { return .lose(.metadataFailed) }
            // The record is written again, and what is stale wiped behind it.
            members[member].record.isWipingStale = false
            if let reason = metadataWasRefused(member) { return .lose(reason) }
            writeRecord(to: member)
            return .nothing
        }
        members[member].record.refusedSince = .distantFuture
        if members[member].record.isWipingStale {
            members[member].record.isWipingStale = false
            members[member].joining.staleBlocks = 0
        } else if !wasSignpost {
            members[member].record.sequence += 1
            if members[member].record.halfConfirmedVersion != version, rules.mustFillBothSlots {
                members[member].record.halfConfirmedVersion = version
                writeRecord(to: member)
                return .nothing
            }
            if wipeStaleRecord(member, version) { return .nothing }
        }
        if putSignpost(member, version) { return .nothing }
        members[member].record.confirmedVersion = version
        // Here the member's metadata is from now on, and is looked for when it comes back.
        if let layout = members[member].joining.layout { record.formattedBlocks[member] = layout.memberBlocks }
        record.fresh.remove(member)
        if members[member].phase == .joining { return .hasJoined }
        // Members that lack nothing wait for the record before they count as in sync.
        agenda.insert(.copies)
        return .confirmed
    }

    /// Wipes the record that a member's own has made stale: it would be believed by an initiator that knows no other size of the
    /// member than that of then. False where there is none. The member counts as holding its own only after that.
    private mutating func wipeStaleRecord(_ member: MemberIndex, _ version: UInt64) -> Bool {
        let stale = members[member].joining.staleBlocks
        guard stale != 0, stale <= members[member].connection.blocks, let layout = members[member].joining.layout,
            let start = slotsBlock(blocks: stale),
            // Sizes that differ by less than a page mean the same place.
            start + 2 * blocksPerPage <= layout.mapsStart || start >= layout.slotBlock(1) + blocksPerPage
        else { return false }
        members[member].record.isWipingStale = true
        members[member].record.versionInFlight = version
        members[member].record.issuedAt = now
        send(
            Tag(.superblock, member: member), .writeZeroes, start: start, count: 2 * blocksPerPage,
            forceUnitAccess: true)
        return true
    }

    /// Leaves a copy of the record at the end of a namespace that has become larger than the member's metadata knows of: an
    /// attach looks there first, and the copy says at the end of which size the record is kept. False where there is nothing
    /// to do, or where the copy would be in the way of the metadata itself.
    private mutating func putSignpost(_ member: MemberIndex, _ version: UInt64) -> Bool {
        let blocks = members[member].connection.blocks
        guard let layout = members[member].joining.layout, blocks > layout.memberBlocks,
            members[member].record.signpostedBlocks != blocks, let start = slotsBlock(blocks: blocks),
            start >= layout.slotBlock(1) + blocksPerPage
        else { return false }
        members[member].record.signpostedBlocks = blocks
        members[member].record.isSignposting = true
        members[member].record.versionInFlight = version
        members[member].record.issuedAt = now
        send(
            Tag(.superblock, member: member), .write, start: start, count: blocksPerPage,
            buffer: .arena(arena.layout.superblock(member)), forceUnitAccess: true)
        return true
    }

    /// A member's namespace has become larger. Behind a record that is on its way the signpost follows by itself.
    mutating func memberGrew(_ member: MemberIndex) {
        guard members.active.contains(member), members[member].record.versionInFlight == 0,
            members[member].record.confirmedVersion == record.version
        else { return }
        _ = putSignpost(member, record.version)
    }

    /// Finds out whether the wanted record is valid. True where it has just become so.
    mutating func reviewRecord() -> Bool {
        guard !record.isValid, record.version > 0 else { return false }
        var confirmed: MemberSet = []
        for member in members.active where members[member].record.confirmedVersion == record.version {
            confirmed.insert(member)
        }
        guard
            rules.isValid(
                confirmed: confirmed, holders: members.usedInSync, active: members.active, isFirst: life.isDeciding)
        else { return false }
        if record.becomeValid(), !life.isDeciding {
            notice(.contentsMarked(record.contents))
            agenda.insert(.intents)
        }
        agenda.insert(.acknowledgements)
        return true
    }

    /// Members that have answered neither for their record nor otherwise for longer than a command may take.
    func isRecordLate(_ member: MemberIndex) -> Bool {
        members[member].record.versionInFlight != 0
            && now.nanoseconds(since: members[member].record.issuedAt) > configuration.commandTimeout
    }

    // MARK: Contents

    /// Whether data may leave: no record says durably that nothing was ever written. Has it changed where one does.
    mutating func mayHoldData() -> Bool {
        if _fastPath(record.durableContents != .blank) { return true }
        if record.contents == .blank { mark(.written) }
        return record.durableContents != .blank
    }

    mutating func mark(_ contents: VolumeContents) {
        record.mark(contents)
        changeRecord()
    }

    // MARK: Quarantine

    /// Regions in which members in sync were found to differ, and nothing proves which is right: they are not read until
    /// `VolumeEngine.repairRegion` says whose contents they are to have, or a scrub finds all members in sync equal. The record
    /// names them, so that this holds after a detach or a crash too, but no more than it has room for; a next scrub finds the
    /// others. Neither size, time nor number decides which is right (invariant 7).
    mutating func quarantine(_ region: RegionIndex) {
        maps.setQuarantine(region, true)
        notice(.mismatch(region: region))
        if record.canName(region, of: maps.geometry) { changeRecord() }
    }

    /// A scrub has found the members that it `compared` equal in a region. Where they are all that are in sync, the region
    /// is served again: it has been written since, or a member that differed is not in sync any more, and is copied to.
    mutating func liftQuarantine(_ region: RegionIndex, compared: MemberSet) {
        guard maps.quarantine[region], compared == members.inSync, compared.count > 1 else { return }
        for member in MemberSet.all.subtracting(members.inSync) { requestBehind(member, region...region) }
        maps.setQuarantine(region, false)
    }

    /// Changes the record where a region that it names has been repaired.
    mutating func tickQuarantine() {
        if phase == .serving, record.namesRepaired(maps) { changeRecord() }
    }
}
