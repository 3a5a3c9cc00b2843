import Base

/// Invariant 5: fence first, believe afterwards.
///
/// Each member is surveyed (superblock, reservations), so that a key can be chosen that is greater than all seen; fenced
/// (ours registered, others' preempted and aborted); read; and waits until the volume's decision. The same sequence takes
/// in a member that returns to a volume being served, and starts a volume again that lost all its members in sync.
extension VolumeEngine {
    /// Attaches the volume. `nonce` is a random number of this attachment. Ends in phase `serving`, or in `attachFailed`.
    public mutating func attach(nonce: UInt32, now: MonotonicTime) {
        invariant(phase == .detached && attachmentKey == 0, "an engine attaches once")
        self.now = now
        attachNonce = nonce
        become(.attaching)
        tickMembers()
    }

    /// Makes the volume's decision when enough members are ready; called while it is not being served.
    mutating func pumpPhase() {
        switch phase {
        case .attaching, .recovering: pumpDecision()
        case .detaching: pumpDetach()
        case .detached, .serving, .suspended, .deposed: break
        }
    }

    private mutating func pumpDecision() {
        if attachmentKey == 0 { chooseKey() }
        guard attachmentKey != 0 else { return }
        if isDeciding, !restartsDecision { return }
        // Pages on their way to a member that was lost belong to maps that the decision may replace.
        guard staging.pool.available == staging.pool.capacity else { return }
        // Whatever is under way ends first; then all that were in use are read anew.
        for member in MemberSet.all {
            switch members[member].phase {
            case .active, .joining:
                if members[member].outstanding > 0 { return }
            default: continue
            }
        }
        if let target = growthTarget, active == .all { return startGrowth(target) }
        for member in MemberSet.all where members[member].phase == .active || members[member].phase == .joining {
            active.remove(member)
            dropPageNeeds(of: member)
            startReading(member)
        }
        restartsDecision = false
        isDeciding = false
        decideIfReady()
    }

    /// Members that take part, and whether one is still on its way.
    private mutating func decideIfReady() {
        var ready = 0
        var isOneComing = false
        for member in MemberSet.all {
            switch members[member].phase {
            case .ready: ready += 1
            case .surveying, .surveyed, .fencing, .reading, .draining: isOneComing = true
            case .connecting: isOneComing = isOneComing || phase == .attaching
            default: continue
            }
        }
        guard ready >= 2 else {
            attachDeadline = .distantFuture
            return
        }
        if attachDeadline == .distantFuture {
            attachDeadline = now.advanced(byNanoseconds: configuration.attachGrace)
        }
        if isOneComing, now < attachDeadline { return }
        decide()
    }

    // MARK: Choosing the key

    private mutating func chooseKey() {
        var surveyed = 0
        var isOneComing = false
        for member in MemberSet.all.subtracting(configuration.excluded) {
            switch members[member].phase {
            case .surveyed: surveyed += 1
            case .connecting, .draining, .surveying: isOneComing = true
            default: continue
            }
        }
        guard surveyed >= 2 else { return }
        if attachDeadline == .distantFuture {
            attachDeadline = now.advanced(byNanoseconds: configuration.attachGrace)
        }
        if isOneComing, now < attachDeadline { return }
        var epoch: UInt64 = 0
        var latest: MemberIndex = 0
        var first: (member: MemberIndex, superblock: Superblock)?
        for member in MemberSet.all where members[member].phase == .surveyed {
            for key in members[member].keysSeen where key >> 32 > epoch { (epoch, latest) = (key >> 32, member) }
            guard let found = members[member].found else { continue }
            if found.stamp.epoch > epoch { (epoch, latest) = (found.stamp.epoch, member) }
            if let first, let field = contradiction(first.superblock, found) {
                return failAttach(.metadata(.contradiction(member: member, other: first.member, field: field)))
            }
            if first == nil { first = (member, found) }
        }
        guard first != nil else {
            for member in MemberSet.all where members[member].phase == .surveyed {
                return failAttach(.metadata(.notFormatted(member: member)))
            }
            return
        }
        guard epoch < UInt64(UInt32.max) else { return failAttach(.epochExhausted(member: latest)) }
        attachmentKey = (epoch + 1) << 32 | UInt64(attachNonce)
        attachDeadline = .distantFuture
        for member in MemberSet.all where members[member].phase == .surveyed { startFence(member) }
    }

    /// What two members' superblocks of one volume cannot disagree on.
    private func contradiction(_ a: Superblock, _ b: Superblock) -> String? {
        if a.geometry.regionSize != b.geometry.regionSize { return "region size" }
        guard a.stamp == b.stamp else { return nil }
        if a.inSync != b.inSync { return "members in sync" }
        if a.geometry != b.geometry { return "geometry" }
        if a.members.map(\.uuid) != b.members.map(\.uuid) { return "members" }
        return nil
    }

    // MARK: Giving up

    /// Ends an attach before anything was written.
    mutating func failAttach(_ error: AttachError) {
        actions.append(.attachFailed(error))
        endAll(.detached)
    }

    /// Another initiator has taken over: the volume stops, and no member is blamed (rule R22).
    mutating func depose(_ error: AttachError) {
        guard phase != .deposed, phase != .detached else { return }
        if phase == .attaching {
            actions.append(.attachFailed(error))
        }
        endAll(.deposed)
    }

    private mutating func endAll(_ next: VolumePhase) {
        become(next)
        for member in MemberSet.all where members[member].phase.isConnected { loseMember(member, .removed) }
        for list in [
            held.takeAll(), awaitingIntent.takeAll(), awaitingReconcile.takeAll(), backingOff.takeAll(),
            awaitingRecord.takeAll(),
        ] {
            var list = list
            while let slot = list.popFirst(slots) { dispatch(slot) }
        }
    }

    /// Stops taking a member in whose metadata is not this volume's.
    mutating func refuse(_ member: MemberIndex, _ error: MetadataError) {
        if phase == .attaching, attachmentKey == 0 { return failAttach(.metadata(error)) }
        notice(.memberRefused(member, error))
        members[member].isRefused = true
        loseMember(member, .joinFailed)
    }
}
