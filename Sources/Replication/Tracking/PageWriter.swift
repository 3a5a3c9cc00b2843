import Base

extension VolumeEngine {
    /// Writes bitmap pages that members lack, as far as there is staging memory. A page has one write on its way at a
    /// time, so that writes of it cannot overtake each other.
    mutating func pumpPages() {
        guard phase != .deposed else { return }
        for word in 0..<maps.dirtyPages.wordCount {
            var bits = maps.dirtyPages.words[word]
            while bits != 0 {
                let page = word * 64 + bits.trailingZeroBitCount
                bits &= bits - 1
                if maps.pageNeeds[page] == [] { maps.dirtyPages[page] = false }
                guard !maps.pageInFlight[page], maps.pageNeeds[page] != [] else { continue }
                guard let slot = staging.pool.take() else { return }
                stage(page, Int(slot))
            }
        }
    }

    private mutating func stage(_ page: Int, _ slot: Int) {
        let (kind, number) = page.quotientAndRemainder(dividingBy: maps.pagesPerMap)
        let offset = arenaLayout.staging(slot)
        let targets = maps.pageNeeds[page]
        let wanted = maps.words(maps.wanted[kind], page: page)
        let durable = maps.words(maps.durable[kind], page: page)
        let bits = (arena + offset + BitmapPage.headerSize).assumingMemoryBound(to: UInt64.self)
        for word in 0..<maps.wordsPerPage {
            bits[word] = wanted[word].littleEndian
            // A bit that is being cleared counts as clear from now on: the write may land at any time.
            durable[word] &= wanted[word]
        }
        staging.pageSequence += 1
        maps.pageNeeds[page] = []
        maps.dirtyPages[page] = false
        maps.pageInFlight[page] = true
        staging.pool[UInt32(slot)].pointee = StagingPages.Slot(
            page: page, pending: targets, issuedAt: now)
        let contents = UnsafeMutableRawBufferPointer(start: arena + offset, count: arenaLayout.pageSize)
        BitmapPage.seal(
            contents, volume: configuration.volume, sequence: staging.pageSequence, kind: kind, number: number)
        for member in targets {
            guard let layout = members[member].layout else { invariantViolated("an active member has a layout") }
            statistics.pageWrites += 1
            let ordinal =
                kind == VolumeMaps.intentKind
                ? BitmapPage.inFlightOrdinal : BitmapPage.behindOrdinal(of: MemberIndex(kind), on: member)
            send(
                Tag(.page, member: member, index: slot), .write,
                start: layout.pageBlock(ordinal: ordinal, page: number),
                count: maps.geometry.blocksPerPage, owner: .arena, buffer: UInt64(offset), forceUnitAccess: true)
        }
    }

    mutating func pageCompleted(_ tag: Tag, _ status: MemberStatus) {
        let slot = UInt32(tag.index)
        invariant(tag.index < ArenaLayout.stagingPages, "a page's completion names a staging slot")
        staging.pool[slot].pointee.pending.remove(tag.member)
        let page = staging.pool[slot].pointee.page
        if holdsMetadata(tag.member) {
            switch status {
            case .success: members[tag.member].metadataRefusedSince = .distantFuture
            case .busy, .notDone, .pathError:
                // Written again with the next round; until then it is not durable.
                staging.pool[slot].pointee.isIncomplete = true
                maps.pageNeeds[page].insert(tag.member)
                maps.dirtyPages[page] = true
                metadataWasRefused(tag.member)
            default: loseMember(tag.member, .metadataFailed)
            }
        }
        guard staging.pool[slot].pointee.pending == [] else { return }
        maps.pageInFlight[page] = false
        if !staging.pool[slot].pointee.isIncomplete { adoptStaged(page, Int(slot)) }
        staging.pool.give(slot)
        reviewsIntents = true
        reviewsAcknowledgements = true
        for member in MemberSet.all where members[member].phase == .joining { checkJoined(member) }
    }

    /// A member was too busy for metadata, or not to be reached the way it was tried: it is sent again, but not for ever.
    mutating func metadataWasRefused(_ member: MemberIndex) {
        if members[member].metadataRefusedSince == .distantFuture { members[member].metadataRefusedSince = now }
        if now.nanoseconds(since: members[member].metadataRefusedSince) > configuration.commandTimeout {
            loseMember(member, .timedOut)
        }
    }

    /// What was staged is on all that hold the page: its bits are durable, except those that are no longer wanted.
    private mutating func adoptStaged(_ page: Int, _ slot: Int) {
        let kind = page / maps.pagesPerMap
        let wanted = maps.words(maps.wanted[kind], page: page)
        let durable = maps.words(maps.durable[kind], page: page)
        let bits = (arena + arenaLayout.staging(slot) + BitmapPage.headerSize).assumingMemoryBound(to: UInt64.self)
        for word in 0..<maps.wordsPerPage { durable[word] = UInt64(littleEndian: bits[word]) & wanted[word] }
    }

    /// Whether the member is being kept up to date with the metadata.
    func holdsMetadata(_ member: MemberIndex) -> Bool {
        active.contains(member) || members[member].phase == .joining
    }

    /// Clears bits of a map that are no longer needed. They stop to count as durable at once, and leave the members with
    /// the page's next write.
    mutating func clear(_ bits: RegionMap, kind: Int) {
        for page in 0..<maps.pagesPerMap {
            var hasChanged = false
            for word in page * maps.wordsPerPage..<(page + 1) * maps.wordsPerPage where bits.words[word] != 0 {
                if maps.wanted[kind].words[word] & bits.words[word] != 0 { hasChanged = true }
                maps.wanted[kind].words[word] &= ~bits.words[word]
                maps.durable[kind].words[word] &= ~bits.words[word]
            }
            if hasChanged { markPage(kind * maps.pagesPerMap + page) }
        }
    }

    /// A member's metadata is not kept up to date any more.
    mutating func dropPageNeeds(of member: MemberIndex) {
        for page in 0..<maps.pageCount { maps.pageNeeds[page].remove(member) }
    }

    /// Whether a page has a write on its way that includes the member.
    func isStaged(for member: MemberIndex) -> Bool {
        for index in 0..<staging.pool.capacity where staging.pool.slots[index].pending.contains(member) { return true }
        return false
    }
}
