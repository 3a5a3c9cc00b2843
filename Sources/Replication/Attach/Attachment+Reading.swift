import Base

extension Attachment {
    /// Reads a member's superblock and maps, now that nobody else writes to it.
    mutating func startReading(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.become(member, .reading)
        volume.members[member].record.distrust()
        volume.members[member].record.versionInFlight = 0
        volume.members[member].record.isWipingStale = false
        volume.members[member].record.isSignposting = false
        if !volume.rules.mustReadAfterFencing, volume.members[member].joining.found != nil {
            return readByRecord(member, &volume)
        }
        return lookForRecord(member, &volume)
    }

    /// Reads the maps of the record that was found: from here on the member's metadata is where this record says.
    mutating func readByRecord(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        guard let record = volume.members[member].joining.found else {
            // A replaced member has nothing to read, until it has been given a record.
            return isRead(member, &volume)
        }
        guard
            let layout = try? MemberLayout(
                member: member, memberBlocks: record.members[member].blocks, geometry: record.geometry)
        else { return .refuse(member, .invalidField(member: member, field: "size")) }
        volume.members[member].record.sequence = record.sequence
        volume.members[member].joining.layout = layout
        volume.record.formattedBlocks[member] = layout.memberBlocks
        found[member]?.free()
        found[member] = FoundMaps(record.geometry)
        volume.members[member].joining.mapCursor = 0
        return readMaps(member, &volume)
    }

    /// Reads the next pages of the member's maps, which lie one after the other.
    private mutating func readMaps(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        guard let layout = volume.members[member].joining.layout else {
            invariantViolated("a member is read by its layout")
        }
        let total = MemberLayout.mapCount * layout.geometry.pagesPerMap
        let cursor = volume.members[member].joining.mapCursor
        guard cursor < total else { return isRead(member, &volume) }
        let pages = min(ArenaLayout.joinPages, total - cursor)
        volume.members[member].joining.step = .maps
        volume.members[member].joining.pending = 1
        volume.send(
            Tag(.join, member: member), .read, start: layout.mapsStart + UInt64(cursor) * volume.blocksPerPage,
            count: UInt64(pages) * volume.blocksPerPage, buffer: .arena(volume.arena.layout.join(member)))
        return nil
    }

    /// Takes over pages of a member's maps. Those that cannot be read count as all dirty, like pages that are corrupt.
    mutating func mapsRead(_ member: MemberIndex, areReadable: Bool, _ volume: inout VolumeState) -> Effect? {
        guard let maps = found[member] else { invariantViolated("a member's maps are read into memory") }
        let geometry = maps.geometry
        let cursor = volume.members[member].joining.mapCursor
        let pages = min(ArenaLayout.joinPages, MemberLayout.mapCount * geometry.pagesPerMap - cursor)
        for index in 0..<pages {
            let (ordinal, number) = (cursor + index).quotientAndRemainder(dividingBy: geometry.pagesPerMap)
            let kind = BitmapPage.kind(ordinal: ordinal, on: member)
            let page = volume.arena.page(
                at: volume.arena.layout.join(member) + index * volume.arena.layout.pageSize)
            if areReadable,
                BitmapPage.isIntact(page, volume: volume.configuration.volume, kind: kind, number: number)
            {
                maps.take(page, kind: kind, number: number)
            } else {
                maps.takeAsDirty(kind: kind, number: number)
            }
        }
        volume.members[member].joining.mapCursor = cursor + pages
        return readMaps(member, &volume)
    }

    private func isRead(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        volume.members[member].joining.step = .idle
        volume.become(member, .ready)
        return .isReady(member)
    }
}
