import Base

/// Invariant 5: fence first, believe afterwards.
///
/// Each member is surveyed (superblock, reservations), so that a key can be chosen that is greater than all seen; fenced
/// (ours registered, others' preempted and aborted); read; and waits until the volume's decision. The same sequence takes
/// in a member that returns to a volume being served, and starts a volume again that lost all its members in sync.
struct Attachment: ~Copyable {
    private var nonce: UInt32 = 0
    /// When members are not waited for any longer that are on their way.
    private var deadline = MonotonicTime.distantFuture
    /// The last that was told of members that are waited for; `nil` where they are not.
    private var toldWait: VolumeNotice?
    /// A member was lost on which the decision rested: it is taken anew from what the others hold.
    private(set) var restartsDecision = false
    /// The geometry that the volume is being enlarged to.
    private var growthTarget: VolumeGeometry?
    /// Until then the reservations have to stay: a writer that was fenced, by this attachment or an earlier one, may still write.
    var graceEnd = MonotonicTime(nanoseconds: 0)
    /// The maps read from members that are not used yet.
    var found = PerMember<FoundMaps?>(repeating: nil)

    deinit { for member in MemberSet.all { found[member]?.free() } }

    mutating func begin(nonce: UInt32) { self.nonce = nonce }

    /// A member was lost while the decision is being carried out.
    mutating func restartDecision() { restartsDecision = true }

    /// No member in sync is left: everything starts again from what the members hold.
    mutating func recover(_ volume: inout VolumeState) {
        volume.life.isDeciding = false
        toldWait = nil
        volume.record.distrust()
    }

    /// The first record is valid: the volume is served.
    mutating func isServed(_ volume: inout VolumeState) {
        volume.life.isDeciding = false
        toldWait = nil
        deadline = .distantFuture
    }

    /// The members to wait for, and why: told once.
    mutating func wait(for awaited: MemberSet, because reason: WaitReason = .tooFew, _ volume: inout VolumeState) {
        let notice = VolumeNotice.waitingFor(awaited, reason)
        if toldWait != notice { volume.notice(notice) }
        toldWait = notice
    }

    // MARK: Deciding

    /// Goes on with the attach or the recovery, as far as it can.
    mutating func pump(_ volume: inout VolumeState) -> [Effect] {
        if volume.record.attachmentKey == 0, let effect = chooseKey(&volume) { return [effect] }
        guard volume.record.attachmentKey != 0 else { return [] }
        if volume.life.isDeciding, !restartsDecision { return [] }
        // Pages on their way to a member that was lost belong to maps that the decision may replace.
        guard volume.pages.isIdle else { return [] }
        // Commands that are under way end first; then all members that were in use are read anew.
        let used = volume.members.those(in: .active).union(volume.members.those(in: .joining))
        for member in used where volume.members[member].outstanding > 0 { return [] }
        if let target = growthTarget, volume.members.active == .all { return startGrowth(target, &volume) }
        restartsDecision = false
        volume.life.isDeciding = false
        var effects: [Effect] = []
        for member in used {
            volume.members.doNotUse(member)
            volume.maps.drop(member)
            if let effect = startReading(member, &volume) { effects.append(effect) }
        }
        return effects.isEmpty && isTimeToDecide(volume) ? decide(&volume) : effects
    }

    /// Whether enough members are ready, and no other is worth waiting for.
    private mutating func isTimeToDecide(_ volume: borrowing VolumeState) -> Bool {
        var ready = 0
        var isOneComing = false
        for member in MemberSet.all {
            switch volume.members[member].phase {
            case .ready: ready += 1
            case .surveying, .surveyed, .fencing, .reading, .draining: isOneComing = true
            case .connecting: isOneComing = isOneComing || volume.phase == .attaching
            default: continue
            }
        }
        guard ready >= 2 else {
            deadline = .distantFuture
            return false
        }
        return !isWaiting(isOneComing, volume)
    }

    /// Whether a member that is on its way is waited for still, once two are there.
    private mutating func isWaiting(_ isOneComing: Bool, _ volume: borrowing VolumeState) -> Bool {
        if deadline == .distantFuture {
            deadline = volume.now.advanced(byNanoseconds: volume.configuration.attachGrace)
        }
        return isOneComing && volume.now < deadline
    }

    // MARK: Choosing the key

    private mutating func chooseKey(_ volume: inout VolumeState) -> Effect? {
        var isOneComing = false
        for member in MemberSet.all.subtracting(volume.configuration.excluded) {
            switch volume.members[member].phase {
            case .connecting, .draining, .surveying: isOneComing = true
            default: continue
            }
        }
        let surveyed = volume.members.those(in: .surveyed)
        guard surveyed.subtracting(volume.configuration.excluded).count >= 2, !isWaiting(isOneComing, volume) else {
            return nil
        }
        var epoch: UInt64 = 0
        var latest: MemberIndex = 0
        var first: (member: MemberIndex, superblock: Superblock)?
        for member in surveyed {
            for key in volume.members[member].joining.keysSeen where key >> 32 > epoch {
                (epoch, latest) = (key >> 32, member)
            }
            guard let found = volume.members[member].joining.found else { continue }
            if found.stamp.epoch > epoch { (epoch, latest) = (found.stamp.epoch, member) }
            if let first, let field = first.superblock.contradiction(with: found) {
                return .failAttach(.metadata(.contradiction(member: member, other: first.member, field: field)))
            }
            if first == nil { first = (member, found) }
        }
        if first == nil, let member = surveyed.first { return .failAttach(.metadata(.notFormatted(member: member))) }
        guard epoch < UInt64(UInt32.max) else { return .failAttach(.epochExhausted(member: latest)) }
        volume.record.choose(key: (epoch + 1) << 32 | UInt64(nonce))
        deadline = .distantFuture
        for member in surveyed {
            if let effect = startFence(member, &volume) { return effect }
        }
        return nil
    }

    // MARK: Growing

    /// Prepares the volume's growth. False where that is not possible now: all members have to be in sync and large enough,
    /// and the new metadata must not overlap the old.
    mutating func prepareGrowth(dataBlocks: UInt64, _ volume: borrowing VolumeState) -> Bool {
        let geometry = volume.maps.geometry
        guard volume.phase == .serving, volume.members.active == .all, volume.members.inSync == .all,
            volume.maps.unreconciled.isEmpty, volume.record.isValid, growthTarget == nil,
            dataBlocks > geometry.dataBlocks,
            let target = try? VolumeGeometry(
                blockSize: geometry.blockSize, regionSize: geometry.regionSize, dataBlocks: dataBlocks)
        else { return false }
        for member in MemberSet.all {
            guard let old = volume.members[member].joining.layout,
                let new = try? MemberLayout(
                    member: member, memberBlocks: volume.members[member].connection.blocks, geometry: target),
                new.mapsStart >= old.slotBlock(1) + volume.blocksPerPage
            else { return false }
        }
        growthTarget = target
        return true
    }

    /// Nothing is under way on any member: the metadata moves. The members join anew, as after a recovery, and the record
    /// that makes them serve again is the first at the new place.
    private mutating func startGrowth(_ target: VolumeGeometry, _ volume: inout VolumeState) -> [Effect] {
        // Regions that were to be written again everywhere still are.
        let isReconciling = volume.maps.unreconciledCount > 0
        volume.maps.grow(to: target)
        // Its new blocks are read as a member holds them, which need not be zeroes.
        if volume.record.contents == .blank { volume.record.mark(.written) }
        var effects = [
            Effect.decided(
                sources: volume.members.fastest(volume.members.active).map { MemberSet($0) } ?? [],
                rewritesSource: isReconciling, areCachesLost: isReconciling)
        ]
        volume.members.useNone()
        volume.life.isDeciding = true
        for member in MemberSet.all {
            volume.members[member].record.distrust()
            if let effect = startJoining(member, &volume) { effects.append(effect) }
        }
        return effects
    }

    /// The volume is served again after a growth. One that was broken off has happened all the same where a member that
    /// was found holds its record.
    mutating func endGrowth(_ volume: inout VolumeState) {
        guard let target = growthTarget else { return }
        growthTarget = nil
        volume.notice(volume.maps.geometry == target ? .grown(dataBlocks: target.dataBlocks) : .growFailed)
    }
}

extension Superblock {
    /// The field in which two members' superblocks differ that must be equal in one volume; `nil` where they agree.
    fileprivate func contradiction(with other: Superblock) -> String? {
        if geometry.regionSize != other.geometry.regionSize { return "region size" }
        guard stamp == other.stamp else { return nil }
        if inSync != other.inSync { return "members in sync" }
        if geometry != other.geometry { return "geometry" }
        if members.map(\.uuid) != other.members.map(\.uuid) { return "members" }
        return nil
    }
}
