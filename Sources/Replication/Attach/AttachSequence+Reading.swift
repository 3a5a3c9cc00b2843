import Base

extension VolumeEngine {
    /// Reads a member's superblock and maps, now that nobody else writes to it.
    mutating func startReading(_ member: MemberIndex) {
        become(member, .reading)
        members[member].confirmedVersion = 0
        members[member].superblockVersionInFlight = 0
        members[member].isWipingStale = false
        lookForRecord(member)
    }

    /// Reads the maps of the record that was found: from here on the member's metadata is where this record says.
    mutating func readByRecord(_ member: MemberIndex) {
        guard let found = members[member].found else {
            // A replaced member has nothing to read, until it has been given a record.
            return memberIsReady(member)
        }
        guard
            let layout = try? MemberLayout(
                member: member, memberBlocks: found.members[member].blocks, geometry: found.geometry)
        else { return refuse(member, .invalidField(member: member, field: "size")) }
        members[member].superblockSequence = found.sequence
        members[member].layout = layout
        formattedBlocks[member] = layout.memberBlocks
        readyMaps[member]?.free()
        readyMaps[member] = FoundMaps(found.geometry)
        members[member].mapCursor = 0
        readMaps(member)
    }

    /// Reads the next pages of the member's maps, which lie one after the other.
    private mutating func readMaps(_ member: MemberIndex) {
        guard let layout = members[member].layout else { invariantViolated("a member is read by its layout") }
        let total = MemberLayout.mapCount * layout.geometry.pagesPerMap
        let cursor = members[member].mapCursor
        guard cursor < total else { return memberIsReady(member) }
        let pages = min(ArenaLayout.joinPages, total - cursor)
        members[member].step = .maps
        members[member].joinPending = 1
        send(
            Tag(.join, member: member), .read, start: layout.mapsStart + UInt64(cursor) * blocksPerPage,
            count: UInt64(pages) * blocksPerPage, owner: .arena, buffer: UInt64(arenaLayout.join(member)))
    }

    mutating func mapsRead(_ member: MemberIndex) {
        takeMapPages(member, areReadable: true)
    }

    /// Pages that cannot be read count as all dirty, like pages that are corrupt.
    mutating func mapsUnreadable(_ member: MemberIndex) {
        takeMapPages(member, areReadable: false)
    }

    private mutating func takeMapPages(_ member: MemberIndex, areReadable: Bool) {
        guard let maps = readyMaps[member] else { invariantViolated("a member's maps are read into memory") }
        let geometry = maps.geometry
        let total = MemberLayout.mapCount * geometry.pagesPerMap
        let cursor = members[member].mapCursor
        let pages = min(ArenaLayout.joinPages, total - cursor)
        for index in 0..<pages {
            let (ordinal, number) = (cursor + index).quotientAndRemainder(dividingBy: geometry.pagesPerMap)
            let kind = BitmapPage.kind(ordinal: ordinal, on: member)
            let page = UnsafeMutableRawBufferPointer(
                start: arena + arenaLayout.join(member) + index * arenaLayout.pageSize, count: arenaLayout.pageSize)
            let wordsPerPage = geometry.bitsPerPage / 64
            let words = maps.map(kind: kind).words + number * wordsPerPage
            if areReadable, BitmapPage.isIntact(page, volume: configuration.volume, kind: kind, number: number) {
                for word in 0..<wordsPerPage {
                    words[word] = UInt64(
                        littleEndian: page.load(fromByteOffset: BitmapPage.headerSize + word * 8, as: UInt64.self))
                }
            } else {
                let first = number * geometry.bitsPerPage
                for region in first..<min(first + geometry.bitsPerPage, geometry.regionCount) {
                    maps.map(kind: kind)[region] = true
                }
            }
        }
        members[member].mapCursor = cursor + pages
        readMaps(member)
    }

    private mutating func memberIsReady(_ member: MemberIndex) {
        members[member].step = .idle
        become(member, .ready)
        switch phase {
        case .serving, .suspended: admit(member)
        // A detach needs two members that hold its record: one that comes back is taken in while it is under way.
        case .detaching where detachStep != .releasing: admit(member)
        default: break
        }
    }
}
