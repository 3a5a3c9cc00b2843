import Base

extension Attachment {
    /// Decides from what at least two fenced members hold who is in sync, what is dirty, and which member the dirty
    /// regions are copied from (invariants 5 and 7).
    mutating func decide(_ volume: inout VolumeState) -> [Effect] {
        let ready = volume.members.those(in: .ready)
        guard let newest = believed(of: ready, volume) else { return [] }
        var refusals: [Effect] = []
        for member in ready
        where volume.rules.mustRefuseReplaced
            && volume.record.isReplaced(
                member, volume.members[member].joining.found, by: newest.members[member].uuid)
        {
            refusals.append(.refuse(member, .replaced(member: member)))
        }
        if !refusals.isEmpty { return refusals }
        // Another attachment's record, written after we were fenced out, or before we fenced: it is not ours to overwrite.
        if newest.stamp.attachmentKey > volume.record.attachmentKey {
            volume.notice(.newerEpoch(ready.first ?? newest.member, newest.stamp.epoch))
            return [.depose(.superseded(member: newest.member))]
        }
        var best = lastValid(newest, ready, volume)
        adoptReplacements(&best, newest, &volume)
        var voters = ready.subtracting(volume.record.fresh)
        for member in ready where volume.members[member].joining.found == nil { voters.remove(member) }
        guard voters.count >= 2 else {
            wait(for: MemberSet.all.subtracting(ready), &volume)
            return []
        }
        let present = best.inSync.intersection(ready).subtracting(volume.record.fresh)
        guard present != [] else {
            wait(for: best.inSync, &volume)
            return []
        }
        refusals = tooSmall(for: best, ready, volume)
        if !refusals.isEmpty { return refusals }
        if volume.maps.geometry != best.geometry {
            // Bits that are known from before a recovery stay known.
            volume.maps.adopt(best.geometry, keepsBits: volume.phase == .recovering)
        }
        return decide(best, newest, ready: ready, present: present, &volume)
    }

    /// Decides by the record that counts, some of whose members in sync are `present`.
    private mutating func decide(
        _ best: Superblock, _ newest: Superblock, ready: MemberSet, present: MemberSet, _ volume: inout VolumeState
    ) -> [Effect] {
        let dirty = RegionMap(wordCount: volume.maps.intents.wordCount)
        defer { dirty.free() }
        collectDirty(into: dirty, ready: ready, present: present, recorded: best.inSync, volume)
        if !volume.rules.mustHeedBitsOfEqualRecords, haveEqualStamps(ready, volume) { dirty.clear() }

        let fates = fates(of: present, by: best, volume)
        let intact = members(present, whoseFateIs: .kept, fates)
        // Acknowledged writes that were not flushed are on a member that kept its cache. Where none of those present did,
        // one that is absent may have: it is waited for, unless there is none, or it has been replaced.
        let awaited = best.inSync.subtracting(present).subtracting(volume.record.fresh)
        if !dirty.bits.isEmpty, intact == [], awaited != [], !volume.configuration.acceptsLoss {
            wait(for: awaited, because: .lostCaches, &volume)
            return []
        }
        // One that lost its cache beside one that kept it is behind where regions are dirty, and recorded as such: a flush
        // that is acknowledged before it has been copied to makes nothing durable there. So it is beside one that only failed a
        // flush, and beside one of another make, which does not tell: what these may have, it has surely not.
        var keepers = intact
        for fate in [CacheFate.readable, .untold] where keepers == [] {
            keepers = members(present, whoseFateIs: fate, fates)
        }
        let kept = dirty.bits.isEmpty ? present : volume.rules.inSync(present: present, intact: keepers)
        // One that the newest record names in sync has all that was acknowledged, whether or not that record was valid.
        let sources = keepers == [] ? kept : keepers
        let named = sources.intersection(newest.inSync)
        let quarantine = Set(best.quarantine + newest.quarantine)
        adopt(best, quarantine, inSync: kept, dirty: dirty.bits, &volume)
        var effects = [
            Effect.decided(
                sources: named == [] ? sources : named, rewritesSource: volume.rules.mustRewriteSource,
                areCachesLost: intact == [] && !dirty.bits.isEmpty)
        ]
        for member in ready {
            if let effect = startJoining(member, &volume) { effects.append(effect) }
        }
        return effects + ready.map { .mayHaveJoined($0) }
    }

    /// The newest record that was found.
    private func believed(of ready: MemberSet, _ volume: borrowing VolumeState) -> Superblock? {
        var highest: Superblock?
        for member in ready {
            guard let found = volume.members[member].joining.found else { continue }
            guard let other = highest else {
                highest = found
                continue
            }
            if volume.rules.prefers(found.stamp, to: other.stamp) { highest = found }
        }
        return highest
    }

    /// A member that was replaced has been taken in already when it holds the newest record. Else it has no vote: two others
    /// are needed, one of which holds the last valid record. A replacement stays, also where the record that tells of it
    /// never became valid: the new namespace has nothing yet.
    private func adoptReplacements(_ best: inout Superblock, _ newest: Superblock, _ volume: inout VolumeState) {
        for member in MemberSet.all where volume.members[member].joining.found?.stamp == best.stamp {
            volume.record.fresh.remove(member)
        }
        for member in MemberSet.all where best.members[member].uuid != newest.members[member].uuid {
            best.members[member] = newest.members[member]
            best.members[member].state = .behind
            volume.record.fresh.insert(member)
        }
    }

    /// The volume's size is one member's word so far; memory is allocated for what all have room for.
    private func tooSmall(
        for best: Superblock, _ ready: MemberSet, _ volume: borrowing VolumeState
    ) -> [Effect] {
        var refusals: [Effect] = []
        for member in ready {
            do throws(MetadataError) {
                _ = try MemberLayout(
                    member: member, memberBlocks: volume.members[member].connection.blocks, geometry: best.geometry)
            } catch {
                refusals.append(.refuse(member, error))
            }
        }
        return refusals
    }

    /// The newest record that may have been valid. One is valid once every member that it names in sync has confirmed it:
    /// where such a member holds an older one, nothing was ever acknowledged by the newer, and the one before it holds.
    /// To believe the newer could make a member the truth that was named when it had lost its cache already. A member that shows
    /// an older one beside a damaged slot holds an older one: both of its slots hold what it has confirmed.
    private func lastValid(
        _ newest: Superblock, _ ready: MemberSet, _ volume: borrowing VolumeState
    ) -> Superblock {
        var best = newest
        while true {
            var isLacked = false
            var older: Superblock?
            for member in ready.subtracting(volume.record.fresh) {
                guard let found = volume.members[member].joining.found, found.stamp < best.stamp,
                    found.geometry == best.geometry
                else { continue }
                if best.inSync.contains(member) { isLacked = true }
                if older.map({ $0.stamp < found.stamp }) ?? true { older = found }
            }
            guard isLacked, let older, volume.rules.mustBeConfirmed else { return best }
            best = older
        }
    }

    private func haveEqualStamps(_ ready: MemberSet, _ volume: borrowing VolumeState) -> Bool {
        var stamps: Set<RecordStamp> = []
        for member in ready {
            if let found = volume.members[member].joining.found { stamps.insert(found.stamp) }
        }
        return stamps.count == 1
    }

    /// The OR of all that says that members may differ.
    private func collectDirty(
        into dirty: RegionMap, ready: MemberSet, present: MemberSet, recorded: MemberSet,
        _ volume: borrowing VolumeState
    ) {
        dirty.add(volume.maps.intents)
        for member in ready.subtracting(volume.record.fresh) {
            guard let found = found[member] else { continue }
            dirty.add(found.intents)
            // A set bit forces the copy, whatever the record says of the member.
            guard present.contains(member) else { continue }
            for other in recorded { dirty.add(found.behind(other)) }
        }
        for other in recorded { dirty.add(volume.maps.behind(other)) }
        dirty.truncate(to: volume.maps.regionCount)
    }

    private func adopt(
        _ best: Superblock, _ quarantine: Set<RegionIndex>, inSync: MemberSet, dirty: RegionBits,
        _ volume: inout VolumeState
    ) {
        var instances = PerMember<UInt64>(repeating: 0)
        for member in MemberSet.all { instances[member] = volume.members[member].connection.cache.number }
        volume.record.adopt(best, inSync: inSync, bootInstances: instances)
        // A mark counts wherever it is found: one too many keeps somebody from making a file system, one too few would lose one.
        for member in volume.members.those(in: .ready).subtracting(volume.record.fresh) {
            if let found = volume.members[member].joining.found { volume.record.mark(found.contents) }
        }
        volume.members.decideInSync(inSync)
        volume.maps.adopt(
            dirty: dirty, inSync: inSync, fresh: volume.record.fresh,
            reconciles: inSync.count > 1 || volume.rules.mustRewriteSource
        ) { holder, member in
            found[holder]?.behind(member)
        }
        volume.record.adoptQuarantine(quarantine, &volume.maps)
        volume.members.useNone()
        volume.life.isDeciding = true
    }
}
