import Base

extension VolumeEngine {
    /// Looks at a member before anything is believed or written.
    mutating func startSurvey(_ member: MemberIndex) {
        become(member, .surveying)
        members[member].found = nil
        members[member].layout = nil
        guard let block = slotsBlock(member, blocks: members[member].blocks) else {
            return refuse(
                member, .tooSmall(member: member, found: members[member].blocks, needed: 6 * blocksPerPage))
        }
        readSlots(member, .surveySuperblock, at: block)
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

    /// Decodes the slots that were read, or says what is wrong with them.
    func decodeSlots(_ member: MemberIndex) -> Result<Superblock, MetadataError> {
        let base = UnsafeRawPointer(arena) + arenaLayout.join(member)
        let page = arenaLayout.pageSize
        do throws(MetadataError) {
            let found = try Superblock.decode(
                member: member, slot0: UnsafeRawBufferPointer(start: base, count: page),
                slot1: UnsafeRawBufferPointer(start: base + page, count: page))
            try found.validate(
                as: member, volume: configuration.volume, blockSize: configuration.blockSize,
                memberBlocks: members[member].blocks)
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
        guard status == .success else {
            if status == .mediaError, members[member].step == .maps {
                mapsUnreadable(member)
                return
            }
            return loseMember(member, .joinFailed)
        }
        switch members[member].step {
        case .surveySuperblock, .surveyFormattedSuperblock: surveySlotsRead(member)
        case .superblock: slotsRead(member)
        case .superblockAtEnd: endSlotsRead(member)
        case .maps: mapsRead(member)
        default: invariantViolated("a joining member reads its superblock or its maps")
        }
    }

    private mutating func surveySlotsRead(_ member: MemberIndex) {
        switch decodeSlots(member) {
        case .success(let found):
            members[member].found = found
            if attachmentKey == 0 { record.fencing = found.fencing }
        case .failure(let error):
            // After the namespace was resized the metadata is where its end used to be.
            let formatted = formattedBlocks[member]
            if members[member].step == .surveySuperblock, formatted != 0, formatted != members[member].blocks,
                error == .notFormatted(member: member) || error == .bothSlotsCorrupt(member: member)
            {
                if formatted > members[member].blocks {
                    return refuse(member, .shrunk(member: member, found: members[member].blocks, expected: formatted))
                }
                if let block = slotsBlock(member, blocks: formatted) {
                    return readSlots(member, .surveyFormattedSuperblock, at: block)
                }
            }
            guard freshMembers.has(member) else { return refuse(member, error) }
        }
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
