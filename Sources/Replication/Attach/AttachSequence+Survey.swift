import Base

extension VolumeEngine {
    /// Looks at a member before anything is believed or written.
    mutating func startSurvey(_ member: MemberIndex) {
        become(member, .surveying)
        lookForRecord(member)
    }

    /// Looks for the member's record: at its namespace's present end, and where the end was when a record was last known
    /// to be there. A growth that was broken off, or of which the registry has not heard, leaves records in both places:
    /// the greater is the member's.
    mutating func lookForRecord(_ member: MemberIndex) {
        members[member].found = nil
        members[member].layout = nil
        members[member].staleBlocks = 0
        guard let block = slotsBlock(member, blocks: members[member].blocks) else {
            return refuse(
                member, .tooSmall(member: member, found: members[member].blocks, needed: 6 * blocksPerPage))
        }
        readSlots(member, .superblock, at: block)
    }

    var blocksPerPage: UInt64 { UInt64(arenaLayout.pageSize) / UInt64(configuration.blockSize) }

    func slotsBlock(_ member: MemberIndex, blocks: UInt64) -> UInt64? {
        MemberLayout.slotBlock(0, memberBlocks: blocks, blockSize: configuration.blockSize)
    }

    /// Reads both superblock slots, which are neighbours.
    mutating func readSlots(_ member: MemberIndex, _ step: JoinStep, at block: UInt64) {
        members[member].step = step
        members[member].joinPending = 1
        send(
            Tag(.join, member: member), .read, start: block, count: blocksPerPage * 2, owner: .arena,
            buffer: UInt64(arenaLayout.join(member)))
    }

    /// The newer of the two slots that were read, whoever's it is.
    private func slotsRead(_ member: MemberIndex) throws(MetadataError) -> (superblock: Superblock, damagedSlot: Int?) {
        let base = UnsafeRawPointer(arena) + arenaLayout.join(member)
        let page = arenaLayout.pageSize
        return try Superblock.read(
            member: member, slot0: UnsafeRawBufferPointer(start: base, count: page),
            slot1: UnsafeRawBufferPointer(start: base + page, count: page))
    }

    /// Decodes the slots that were read, or says what is wrong with them. One that is damaged is told of where the other is
    /// going to be believed; the member's next record is written in its place, because they alternate.
    mutating func decodeSlots(_ member: MemberIndex) -> Result<Superblock, MetadataError> {
        do throws(MetadataError) {
            let (found, damaged) = try slotsRead(member)
            try found.validate(
                as: member, volume: configuration.volume, blockSize: configuration.blockSize,
                memberBlocks: members[member].blocks)
            if let damaged, members[member].phase == .reading {
                statistics.recordsDamaged += 1
                notice(.recordDamaged(member, slot: damaged))
            }
            return .success(found)
        } catch {
            return .failure(error)
        }
    }

    /// A read of the joining sequence has ended.
    mutating func joinReadCompleted(_ tag: Tag, _ status: MemberStatus) {
        let member = tag.member
        members[member].joinPending -= 1
        if members[member].phase == .joining {
            return status == .success ? checkJoined(member) : loseMember(member, .joinFailed)
        }
        guard members[member].phase == .surveying || members[member].phase == .reading else { return }
        switch (members[member].step, status) {
        case (.superblock, .success): endSlotsRead(member)
        case (.formerSuperblock, .success): formerSlotsRead(member)
        case (.movedSuperblock, .success): movedSlotsRead(member)
        // The former end may be data by now.
        case (.formerSuperblock, .mediaError) where members[member].found != nil: recordFound(member)
        case (.maps, .success): mapsRead(member)
        case (.maps, .mediaError): mapsUnreadable(member)
        case (.superblock, _), (.formerSuperblock, _), (.movedSuperblock, _), (.maps, _):
            loseMember(member, .joinFailed)
        default: invariantViolated("a joining member reads its superblock or its maps")
        }
    }

    /// The slots at the namespace's present end have been read.
    private mutating func endSlotsRead(_ member: MemberIndex) {
        let former = formattedBlocks[member]
        switch decodeSlots(member) {
        case .success(let found): members[member].found = found
        case .failure(let error):
            let isNothing = error == .notFormatted(member: member) || error == .bothSlotsCorrupt(member: member)
            guard isNothing, former != 0, former != members[member].blocks else { return recordMissing(member, error) }
            if former > members[member].blocks {
                return recordMissing(
                    member, .shrunk(member: member, found: members[member].blocks, expected: former))
            }
        }
        guard former != 0, former < members[member].blocks, let block = slotsBlock(member, blocks: former) else {
            return recordFound(member)
        }
        readSlots(member, .formerSuperblock, at: block)
    }

    /// The slots at the former end have been read as well.
    private mutating func formerSlotsRead(_ member: MemberIndex) {
        switch (decodeSlots(member), members[member].found) {
        case (.success(let former), let found?):
            let isFormer = former.stamp > found.stamp
            members[member].found = isFormer ? former : found
            members[member].staleBlocks = isFormer ? members[member].blocks : formattedBlocks[member]
        case (.success(let former), nil): members[member].found = former
        case (.failure, .some): break
        case (.failure, nil):
            // Whoever grows the volume writes the record at the present end, and then wipes the former one: perhaps between
            // our two looks.
            guard let block = slotsBlock(member, blocks: members[member].blocks) else { return lookForRecord(member) }
            return readSlots(member, .movedSuperblock, at: block)
        }
        recordFound(member)
    }

    /// The slots at the present end have been read a second time.
    private mutating func movedSlotsRead(_ member: MemberIndex) {
        switch decodeSlots(member) {
        case .success(let found): members[member].found = found
        case .failure(let error): return recordMissing(member, error)
        }
        recordFound(member)
    }

    /// A member that was replaced need not have a record. Where it has one of another volume, its own has to be the newer of
    /// the two slots.
    private mutating func recordMissing(_ member: MemberIndex, _ error: MetadataError) {
        guard freshMembers.contains(member) else { return refuse(member, error) }
        members[member].superblockSequence = (try? slotsRead(member))?.superblock.sequence ?? 0
        recordFound(member)
    }

    /// The member's record has been looked for, and is in `found` where there is one.
    private mutating func recordFound(_ member: MemberIndex) {
        if members[member].phase == .reading { return readByRecord(member) }
        if attachmentKey == 0, let found = members[member].found { record.fencing = found.fencing }
        guard record.fencing == .reservations else { return surveyed(member) }
        members[member].step = .surveyReport
        actions.append(.reservation(member, .report))
    }

    /// A member has been looked at: it is fenced at once where the key is chosen already.
    mutating func surveyed(_ member: MemberIndex) {
        become(member, .surveyed)
        if attachmentKey != 0 { startFence(member) }
    }
}
