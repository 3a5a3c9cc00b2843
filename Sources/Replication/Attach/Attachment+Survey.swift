import Base

extension Attachment {
    /// Looks at a member before anything is believed or written.
    mutating func startSurvey(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.become(member, .surveying)
        return lookForRecord(member, &volume)
    }

    /// Looks for the member's record: at its namespace's present end, and where the end was when a record was last known
    /// to be there. A growth that was broken off, or of which the registry has not heard, leaves records in both places:
    /// the greater is the member's.
    mutating func lookForRecord(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.members[member].joining.found = nil
        volume.members[member].joining.layout = nil
        volume.members[member].joining.staleBlocks = 0
        let blocks = volume.members[member].connection.blocks
        guard let block = volume.slotsBlock(blocks: blocks) else {
            return .refuse(member, .tooSmall(member: member, found: blocks, needed: 6 * volume.blocksPerPage))
        }
        return readSlots(member, .superblock, at: block, &volume)
    }

    /// Reads both superblock slots, which are neighbours.
    private func readSlots(
        _ member: MemberIndex, _ step: JoinStep, at block: UInt64, _ volume: inout VolumeState
    ) -> Effect? {
        volume.members[member].joining.step = step
        volume.members[member].joining.pending = 1
        volume.send(
            Tag(.join, member: member), .read, start: block, count: volume.blocksPerPage * 2,
            buffer: .arena(volume.arena.layout.join(member)))
        return nil
    }

    /// The newer of the two slots that were read at the end of a namespace of `blocks`, of whichever volume.
    private func slotsRead(
        _ member: MemberIndex, endOf blocks: UInt64, _ volume: borrowing VolumeState
    ) throws(MetadataError) -> (superblock: Superblock, damagedSlot: Int?) {
        let base = UnsafeMutableRawPointer(volume.arena.base) + volume.arena.layout.join(member)
        let page = volume.arena.layout.pageSize
        if !volume.rules.mustSumRecords {
            for slot in 0..<2 { Superblock.sum(UnsafeMutableRawBufferPointer(start: base + slot * page, count: page)) }
        }
        return try Superblock.read(
            member: member, slot0: UnsafeRawBufferPointer(start: base, count: page),
            slot1: UnsafeRawBufferPointer(start: base + page, count: page), endOf: blocks)
    }

    /// Decodes the slots that were read, or says what is wrong with them. One that is damaged is told of where the other is
    /// going to be believed; the member's next record is written in its place, because they alternate.
    private func decodeSlots(
        _ member: MemberIndex, endOf blocks: UInt64, _ volume: inout VolumeState
    ) -> Result<Superblock, MetadataError> {
        do throws(MetadataError) {
            let (found, damaged) = try slotsRead(member, endOf: blocks, volume)
            try found.validate(
                as: member, volume: volume.configuration.volume, blockSize: volume.configuration.blockSize,
                memberBlocks: volume.members[member].connection.blocks)
            if let damaged, volume.members[member].phase == .reading {
                volume.outbox.statistics.recordsDamaged += 1
                volume.notice(.recordDamaged(member, slot: damaged))
            }
            return .success(found)
        } catch {
            return .failure(error)
        }
    }

    /// A read or flush of the joining sequence has ended.
    mutating func joinCommandEnded(
        _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState
    ) -> Effect? {
        volume.members[member].joining.pending -= 1
        let phase = volume.members[member].phase
        if phase == .joining { return status == .success ? .mayHaveJoined(member) : .lose(member, .joinFailed) }
        guard phase == .surveying || phase == .reading else { return nil }
        switch (volume.members[member].joining.step, status) {
        case (.superblock, .success): return endSlotsRead(member, &volume)
        case (.formerSuperblock, .success): return formerSlotsRead(member, &volume)
        case (.movedSuperblock, .success): return movedSlotsRead(member, &volume)
        // The former end may be data by now.
        case (.formerSuperblock, .mediaError) where volume.members[member].joining.found != nil:
            return recordFound(member, &volume)
        case (.maps, .success): return mapsRead(member, areReadable: true, &volume)
        case (.maps, .mediaError): return mapsRead(member, areReadable: false, &volume)
        case (.superblock, _), (.formerSuperblock, _), (.movedSuperblock, _), (.maps, _):
            return .lose(member, .joinFailed)
        default: invariantViolated("a joining member reads its superblock or its maps")
        }
    }

    /// The slots at the namespace's present end have been read.
    private mutating func endSlotsRead(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        let blocks = volume.members[member].connection.blocks
        var former = volume.record.formattedBlocks[member]
        switch decodeSlots(member, endOf: blocks, &volume) {
        case .success(let found):
            volume.members[member].joining.found = found
            if let told = found.formerSize(of: blocks) {
                former = told
                volume.record.formattedBlocks[member] = told
            }
        case .failure(let error):
            let isNothing = error == .notFormatted(member: member) || error == .bothSlotsCorrupt(member: member)
            guard isNothing, former != 0, former != blocks else { return recordMissing(member, error, &volume) }
            if former > blocks {
                return recordMissing(member, .shrunk(member: member, found: blocks, expected: former), &volume)
            }
        }
        guard former != 0, former < blocks, let block = volume.slotsBlock(blocks: former) else {
            return recordFound(member, &volume)
        }
        return readSlots(member, .formerSuperblock, at: block, &volume)
    }

    /// The slots at the former end have been read as well.
    private mutating func formerSlotsRead(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        let blocks = volume.members[member].connection.blocks
        let formerBlocks = volume.record.formattedBlocks[member]
        switch (decodeSlots(member, endOf: formerBlocks, &volume), volume.members[member].joining.found) {
        case (.success(let former), let found?):
            if found.formerSize(of: blocks) != nil {
                // A signpost at the present end, which stays.
                volume.members[member].joining.found = former.stamp >= found.stamp ? former : found
                break
            }
            let isFormer = former.stamp > found.stamp
            volume.members[member].joining.found = isFormer ? former : found
            volume.members[member].joining.staleBlocks = isFormer ? blocks : volume.record.formattedBlocks[member]
        case (.success(let former), nil): volume.members[member].joining.found = former
        case (.failure, .some): break
        case (.failure, nil):
            // An initiator that grows the volume writes the record at the present end, and then wipes the former one: perhaps
            // between our two looks.
            guard let block = volume.slotsBlock(blocks: blocks) else { return lookForRecord(member, &volume) }
            return readSlots(member, .movedSuperblock, at: block, &volume)
        }
        return recordFound(member, &volume)
    }

    /// The slots at the present end have been read a second time.
    private mutating func movedSlotsRead(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        switch decodeSlots(member, endOf: volume.members[member].connection.blocks, &volume) {
        case .success(let found): volume.members[member].joining.found = found
        case .failure(let error): return recordMissing(member, error, &volume)
        }
        return recordFound(member, &volume)
    }

    /// A member that was replaced need not have a record. Where it has one of another volume, its own has to be the newer of
    /// the two slots.
    private mutating func recordMissing(
        _ member: MemberIndex, _ error: MetadataError, _ volume: inout VolumeState
    ) -> Effect? {
        guard volume.record.fresh.contains(member) else { return .refuse(member, error) }
        let read = try? slotsRead(member, endOf: volume.members[member].connection.blocks, volume)
        volume.members[member].record.sequence = read?.superblock.sequence ?? 0
        return recordFound(member, &volume)
    }

    /// The member's record has been looked for, and is in `found` where there is one.
    private mutating func recordFound(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        if volume.members[member].phase == .reading { return readByRecord(member, &volume) }
        if volume.record.attachmentKey == 0, let found = volume.members[member].joining.found {
            volume.record.fencing = found.fencing
        }
        guard volume.record.fencing == .reservations else { return surveyed(member, &volume) }
        volume.members[member].joining.step = .surveyReport
        volume.ask(.reservation(member, .report))
        return nil
    }

    /// A member has been looked at: it is fenced at once where the key is chosen already.
    mutating func surveyed(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.become(member, .surveyed)
        return volume.record.attachmentKey != 0 ? startFence(member, &volume) : nil
    }
}
