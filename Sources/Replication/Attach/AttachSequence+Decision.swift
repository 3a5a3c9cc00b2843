import Base

extension VolumeEngine {
    /// Decides from what at least two fenced members hold who is in sync, what is dirty, and which member the dirty
    /// regions are copied from (invariants 5 and 7).
    mutating func decide() {
        var ready: MemberSet = []
        var highest: Superblock?
        for member in MemberSet.all where members[member].phase == .ready {
            ready.insert(member)
            guard let found = members[member].found else { continue }
            if highest.map({ rules.prefers(found.stamp, to: $0.stamp) }) ?? true { highest = found }
        }
        guard let newest = highest else { return }
        var isOneReplaced = false
        for member in ready where isReplaced(member, by: newest.members[member].uuid) {
            isOneReplaced = true
            refuse(member, .replaced(member: member))
        }
        if isOneReplaced { return }
        // Another attachment's record, written after we were fenced out, or before we fenced: it is not ours to overwrite.
        if newest.stamp.attachmentKey > attachmentKey {
            notice(.newerEpoch(ready.first ?? newest.member, newest.stamp.epoch))
            return depose(.superseded(member: newest.member))
        }
        var best = lastValid(newest, ready)
        // One that was replaced has been taken in already when it holds the newest record. Else it has no vote: two others
        // are needed, one of which holds the last valid record.
        for member in MemberSet.all where members[member].found?.stamp == best.stamp {
            freshMembers.remove(member)
        }
        // A replacement stays, also where the record that tells of it never became valid: the new namespace has nothing yet.
        for member in MemberSet.all where best.members[member].uuid != newest.members[member].uuid {
            best.members[member] = newest.members[member]
            best.members[member].state = .behind
            freshMembers.insert(member)
        }
        var voters = ready.subtracting(freshMembers)
        for member in MemberSet.all where members[member].found == nil { voters.remove(member) }
        guard voters.count >= 2 else { return wait(for: MemberSet.all.subtracting(ready)) }
        let recorded = best.inSync
        let present = recorded.intersection(ready).subtracting(freshMembers)
        guard present != [] else { return wait(for: recorded) }

        // The volume's size is one member's word so far; memory is allocated for what all have room for.
        var isOneTooSmall = false
        for member in ready {
            do throws(MetadataError) {
                _ = try MemberLayout(member: member, memberBlocks: members[member].blocks, geometry: best.geometry)
            } catch {
                isOneTooSmall = true
                refuse(member, error)
            }
        }
        if isOneTooSmall { return }
        adoptGeometry(best)
        let dirty = RegionMap(wordCount: maps.intents.wordCount)
        defer { dirty.free() }
        collectDirty(into: dirty, ready: ready, present: present, recorded: recorded)
        if !rules.mustHeedBitsOfEqualRecords, haveEqualStamps(ready) { dirty.clear() }

        var intact: MemberSet = []
        for member in present {
            let recorded = best.members[member].bootInstance
            if rules.hasKeptCache(instance: members[member].bootInstance, recorded: recorded) { intact.insert(member) }
        }
        // Acknowledged writes that were not flushed are on a member that kept its cache. Where none of those present did,
        // one that is absent may have: it is waited for, unless there is none, or it has been replaced.
        let awaited = recorded.subtracting(present).subtracting(freshMembers)
        if !dirty.isEmpty, intact == [], awaited != [], !configuration.acceptCacheLoss { return wait(for: awaited) }
        // One that lost its cache beside one that kept it is behind where regions are dirty, and recorded as such: a flush
        // that is acknowledged before it has been copied to makes nothing durable there.
        let kept = dirty.isEmpty ? present : rules.inSync(present: present, intact: intact)
        // One that the newest record names in sync has all that was acknowledged, whether or not that record was valid.
        let sources = intact == [] ? kept : intact
        let named = sources.intersection(newest.inSync)
        best.quarantine += newest.quarantine
        adoptDecision(best, ready: ready, inSync: kept, source: (named == [] ? sources : named).first, dirty: dirty)
    }

    /// The newest record that may have been valid. One is valid once every member that it names in sync has confirmed it:
    /// where such a member holds an older one, nothing was ever acknowledged by the newer, and the one before it holds.
    /// To believe the newer could make a member the truth that was named when it had lost its cache already.
    private func lastValid(_ newest: Superblock, _ ready: MemberSet) -> Superblock {
        var best = newest
        while true {
            var isLacked = false
            var older: Superblock?
            for member in ready where !freshMembers.contains(member) {
                guard let found = members[member].found, found.stamp < best.stamp, found.geometry == best.geometry
                else { continue }
                if best.inSync.contains(member) { isLacked = true }
                if older.map({ $0.stamp < found.stamp }) ?? true { older = found }
            }
            guard isLacked, let older, rules.mustBeConfirmed else { return best }
            best = older
        }
    }

    /// Whether a member was the volume's until another took its place: its record, and so its data, is of before.
    private func isReplaced(_ member: MemberIndex, by uuid: UUIDBytes) -> Bool {
        guard let found = members[member].found, !freshMembers.contains(member) else { return false }
        return found.members[member].uuid != uuid
    }

    private mutating func wait(for awaited: MemberSet) {
        if !isWaitingNoticed { notice(.waitingFor(awaited)) }
        isWaitingNoticed = true
    }

    private func haveEqualStamps(_ ready: MemberSet) -> Bool {
        var stamps: Set<RecordStamp> = []
        for member in ready {
            if let found = members[member].found { stamps.insert(found.stamp) }
        }
        return stamps.count == 1
    }

    private mutating func adoptGeometry(_ best: Superblock) {
        guard maps.geometry != best.geometry else { return }
        let larger = VolumeMaps(best.geometry)
        // What is known from before a recovery stays known: regions keep their numbers when a volume grows.
        if phase == .recovering {
            for kind in 0..<VolumeMaps.kindCount { copyWords(maps.wanted[kind], larger.wanted[kind]) }
            copyWords(maps.quarantine, larger.quarantine)
        }
        maps.free()
        maps = larger
    }

    func copyWords(_ source: RegionMap, _ target: RegionMap) {
        for word in 0..<min(source.wordCount, target.wordCount) { target.words[word] |= source.words[word] }
    }

    /// The OR of all that says that members may differ.
    private func collectDirty(
        into dirty: RegionMap, ready: MemberSet, present: MemberSet, recorded: MemberSet
    ) {
        copyWords(maps.intents, dirty)
        for member in ready {
            guard let found = readyMaps[member], !freshMembers.contains(member) else { continue }
            copyWords(found.intents, dirty)
            // A set bit forces the copy, whatever the record says of the member.
            guard present.contains(member) else { continue }
            for other in recorded { copyWords(found.behind(other), dirty) }
        }
        for other in recorded { copyWords(maps.behind(other), dirty) }
        // Bits beyond the last region are nobody's.
        for region in maps.regionCount..<dirty.wordCount * 64 { dirty[region] = false }
    }

    private mutating func adoptDecision(
        _ best: Superblock, ready: MemberSet, inSync kept: MemberSet, source: MemberIndex?, dirty: RegionMap
    ) {
        record.fencing = best.fencing
        record.minimumCopies = best.minimumCopies
        record.isClean = false
        if best.stamp.attachmentKey == attachmentKey { record.version = max(record.version, best.stamp.version) }
        inSync = kept
        for member in MemberSet.all {
            uuids[member] = replacementUUIDs[member] ?? best.members[member].uuid
            record.behindSince[member] = best.members[member].behindSinceEpoch
            record.bootInstances[member] = best.members[member].bootInstance
            if kept.contains(member) { record.bootInstances[member] = members[member].bootInstance }
        }
        for member in MemberSet.all {
            let behind = maps.behind(member)
            if kept.contains(member) {
                behind.clear()
                continue
            }
            for holder in kept {
                if let found = readyMaps[holder] { copyWords(found.behind(member), behind) }
            }
            copyWords(dirty, behind)
            if freshMembers.contains(member) { behind.setAll(count: maps.regionCount) }
            for region in maps.regionCount..<behind.wordCount * 64 { behind[region] = false }
        }
        maps.intents.copy(from: dirty)
        maps.unflushed.copy(from: dirty)
        maps.unflushedBefore.clear()
        maps.unreconciled.clear()
        if kept.count > 1 { maps.unreconciled.copy(from: dirty) }
        for kind in 0..<VolumeMaps.kindCount { maps.durable[kind].clear() }
        for member in MemberSet.all { maps.repair[member].clear() }
        adoptQuarantine(Set(best.quarantine))
        reconcileSource = source
        copied = CopiedRegions()
        active = []
        isDeciding = true
        for member in ready {
            startJoining(member)
            // None may have been refused meanwhile without the decision being taken again.
        }
        for member in ready { checkJoined(member) }
    }

    // MARK: Joining

    /// Takes in a member that has come back to a volume that is served: it is behind, and gets all metadata, then all
    /// writes (invariant 8).
    mutating func admit(_ member: MemberIndex) {
        if isReplaced(member, by: uuids[member]) { return refuse(member, .replaced(member: member)) }
        if let found = members[member].found, !freshMembers.contains(member) {
            if found.stamp.attachmentKey > attachmentKey {
                notice(.newerEpoch(member, found.stamp.epoch))
                return depose(.superseded(member: member))
            }
            if let foundMaps = readyMaps[member], rules.mustMarkLosses {
                let own = RegionMap(wordCount: maps.intents.wordCount)
                copyWords(foundMaps.intents, own)
                for region in maps.regionCount..<own.wordCount * 64 { own[region] = false }
                addAll(own, kind: member.number)
                own.free()
            }
        } else {
            let everything = RegionMap(wordCount: maps.intents.wordCount)
            everything.setAll(count: maps.regionCount)
            addAll(everything, kind: member.number)
            everything.free()
        }
        notice(.memberReturning(member))
        startJoining(member)
        checkJoined(member)
    }

    /// Has all bitmap pages written to a member, and what it has cached flushed.
    mutating func startJoining(_ member: MemberIndex) {
        // What was found where the volume has data may be data by now.
        if let start = slotsBlock(member, blocks: members[member].staleBlocks), start < maps.geometry.dataBlocks {
            members[member].staleBlocks = 0
        }
        // Metadata stays where it is, unless the volume has another size by now: then it moves to the member's end.
        if members[member].layout?.geometry != maps.geometry {
            if let old = members[member].layout, old.memberBlocks != members[member].blocks {
                members[member].staleBlocks = old.memberBlocks
            }
            do throws(MetadataError) {
                members[member].layout = try MemberLayout(
                    member: member, memberBlocks: members[member].blocks, geometry: maps.geometry)
            } catch {
                return refuse(member, error)
            }
        }
        readyMaps[member]?.free()
        readyMaps[member] = nil
        become(member, .joining)
        members[member].metadataRefusedSince = .distantFuture
        for page in 0..<maps.pageCount where page / maps.pagesPerMap != member.number {
            maps.pageNeeds[page].insert(member)
            maps.dirtyPages[page] = true
        }
        // The record that follows may drop the only other member that has cached what this one has.
        members[member].step = .flush
        members[member].joinPending = 1
        send(Tag(.join, member: member), .flush)
    }

    /// Makes a member active once it has all pages, and where the volume is being served the record too: from then on data
    /// may be written where its metadata was before the volume grew.
    mutating func checkJoined(_ member: MemberIndex) {
        guard members[member].phase == .joining, members[member].joinPending == 0, !isStaged(for: member) else {
            return
        }
        for page in 0..<maps.pageCount where maps.pageNeeds[page].contains(member) { return }
        let isServed = phase == .serving || phase == .suspended || phase == .detaching
        if isServed, members[member].confirmedVersion == 0 { return writeRecord(to: member) }
        become(member, .active)
        active.insert(member)
        if isServed {
            writeRecord(to: member)
            reviewRecord()
            reviewsAcknowledgements = true
            copies.mayStart = true
            reviewService()
            return
        }
        guard phase == .attaching || phase == .recovering, isDeciding, !restartsDecision else { return }
        for other in MemberSet.all where members[other].phase == .joining { return }
        changeRecord()
    }

    /// The record that was wanted is durable.
    mutating func recordBecameValid() {
        if phase == .attaching || phase == .recovering, isDeciding, !restartsDecision { startServing() }
    }

    private mutating func startServing() {
        isDeciding = false
        isWaitingNoticed = false
        attachDeadline = .distantFuture
        invariant(
            active.count >= 2 && active.intersection(inSync) != [], "invariant 5: two members hold the new record")
        become(active.count < max(2, record.minimumCopies) ? .suspended : .serving)
        for member in active { members[member].reconnectDelay = 0 }
        endGrowth()
        copies.mayStart = true
        reviewReconciled()
        if phase == .serving { releaseHeld() } else { notice(.waitingFor(MemberSet.all.subtracting(active))) }
        for member in MemberSet.all where members[member].phase == .ready { admit(member) }
    }
}
