import Base
import BlockInterface

/// Makes members equal, region by region: brings members that are behind up to date, reconciles members in sync after a crash,
/// and repairs what one could not read.
struct Copies: ~Copyable {
    private(set) var table: CopyTable
    private(set) var copied = CopiedRegions()
    /// The member that members in sync are reconciled from.
    private var reconcileSource: MemberIndex?
    /// The members that surely have all that was acknowledged before the decision: others take their place only if none is left.
    private var sources: MemberSet = []
    /// The source is written too: a flush of it that failed, of which nobody heard who lives, may have left that on no
    /// media, and a next flush need not cover it.
    private var rewritesSource = false
    /// No member had surely kept its cache when it was decided who is in sync: what is dirty may be on no media before it is
    /// written again.
    var areCachesLost = false
    /// How the last write of a region to the member that it had been read from failed.
    private(set) var rewriteFailure = BlockStatus.writeFault
    var pace = CopyPace()
    private var cursor = RegionCursor()

    init(_ configuration: VolumeConfiguration) { table = CopyTable(count: configuration.copyConcurrency) }

    var running: Int { table.running }
    /// Regions that have been copied and not yet flushed.
    var unflushed: Int { copied.count }

    // MARK: Sources

    @inline(__always)
    func isReconciling(_ regions: ClosedRange<RegionIndex>) -> Bool { table.isReconciling(regions) }

    /// It has been decided anew who is in sync.
    mutating func decide(sources: MemberSet, rewritesSource: Bool, areCachesLost: Bool) {
        self.sources = sources
        reconcileSource = sources.first
        self.rewritesSource = rewritesSource
        self.areCachesLost = areCachesLost
        forgetAll()
    }

    /// The members' contents of a region may differ: it is read only after it was copied from one to the others.
    mutating func markUnreconciled(_ region: RegionIndex, _ volume: inout VolumeState) {
        guard volume.members.usedInSync.count > 1 else { return }
        volume.maps.setUnreconciled(region, true)
        if reconcileSource == nil { reconcileSource = volume.members.fastest(volume.members.usedInSync) }
        volume.agenda.insert(.copies)
    }

    /// A write that some members may have taken, and others not, ends without being acknowledged: its regions are made equal,
    /// by way of the members in sync.
    mutating func noteDifference(_ regions: ClosedRange<RegionIndex>, _ volume: inout VolumeState) {
        copied.invalidate(regions)
        for region in regions { markUnreconciled(region, &volume) }
        for member in MemberSet.all.subtracting(volume.members.inSync) { volume.requestBehind(member, regions) }
    }

    /// A member in sync failed writes to `regions` and is connected still: it falls behind by these regions alone.
    mutating func demote(_ member: MemberIndex, regions: ClosedRange<RegionIndex>, _ volume: inout VolumeState) {
        guard volume.members.active.contains(member) else { return }
        copied.invalidate(regions)
        volume.requestBehind(member, regions)
        volume.members[member].copyRetry.put(off: volume.now, volume.configuration)
        guard volume.members.inSync.contains(member), volume.members.usedInSync.count > 1 else { return }
        volume.outbox.statistics.demotions += 1
        volume.notice(.memberDemoted(member))
        for region in volume.maps.geometry.allRegions
        where volume.maps.repair(member)[region] || volume.maps.unwritten(member)[region]
            || volume.maps.unreconciled[region]
        {
            volume.requestBehind(member, region...region)
        }
        volume.maps.clearRepair(member)
        forget(member)
        takeOutOfSync(member, &volume)
        volume.changeRecord()
    }

    /// A member could not make a write durable: what it has cached since its last good flush may be lost, and the next flush need
    /// not say so. It is copied to the member anew, which is not in sync any more.
    mutating func doubt(_ member: MemberIndex, _ volume: inout VolumeState) {
        guard volume.members.active.contains(member), !volume.members.inSync.contains(member) else { return }
        forget(member)
        volume.maps.add(volume.maps.intents, to: .behind(member))
    }

    /// A member is not in sync any more; others are.
    mutating func takeOutOfSync(_ member: MemberIndex, _ volume: inout VolumeState) {
        volume.members.takeOutOfSync(member)
        volume.maps.clearUnwritten(member)
        guard reconcileSource == member else { return }
        reconcileSource = volume.members.fastest(volume.members.usedInSync.preferring(sources))
    }

    /// Copies to a member, or from it, count no more.
    mutating func forget(_ member: MemberIndex) {
        table.forget(member)
        copied.forget(member)
    }

    mutating func forgetAll() { copied = CopiedRegions() }

    // MARK: Starting

    /// Whether regions are copied: while the volume is served, and while it detaches as long as an I/O may wait for a region.
    private func mayCopy(_ operations: borrowing Operations, _ volume: borrowing VolumeState) -> Bool {
        volume.phase == .serving
            || volume.phase == .detaching && volume.life.detachStep == .idle && operations.hostRunning > 0
    }

    /// Starts copies of regions that need it: first those that a read waits for. True where a flush is wanted, by which what
    /// has been copied becomes durable.
    mutating func pump(_ operations: inout Operations, _ volume: inout VolumeState) -> Bool {
        while table.running < table.count, !copied.isFull {
            if let region = regionAwaited(operations, volume) ?? regionToRewrite(operations, volume) {
                start(region, &operations, &volume)
                continue
            }
            if pace.isTooEarly(volume.now) { return copied.count > 0 && isAnyAwaited(operations) }
            let (needed, count) = neededMaps(volume)
            guard let region = cursor.next(of: needed, count, unless: table, copied) else {
                volume.agenda.remove(.copies)
                pace.nothingFound(volume.now)
                break
            }
            start(region, &operations, &volume)
            pace.started(volume.maps.geometry.regionSize, volume.now)
        }
        return copied.count > 0 && (copied.isFull || table.running == 0 || isAnyAwaited(operations))
    }

    /// Whether what has been copied is to be durable soon: a read waits for it, or a flush for the last of it.
    private func isAnyAwaited(_ operations: borrowing Operations) -> Bool {
        operations.isAny(.reconcile) || operations.isAny(.rewrite) && table.running == 0
    }

    /// Whether there may be something to copy, and it may be copied.
    func isDue(_ operations: borrowing Operations, _ volume: borrowing VolumeState) -> Bool {
        volume.agenda.contains(.copies) && mayCopy(operations, volume)
    }

    /// A region that has to be written again before the flushes that wait may be sent.
    private mutating func regionToRewrite(
        _ operations: borrowing Operations, _ volume: borrowing VolumeState
    ) -> RegionIndex? {
        guard operations.isAny(.rewrite), pace.mayReconcile(volume.now) else { return nil }
        return cursor.next(of: .init(repeating: volume.maps.unreconciled), 1, unless: table, copied)
    }

    private mutating func start(_ region: RegionIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        guard let slot = operations.takeInternal(.copy) else { return }
        _ = table.start(CopyState(operation: slot, region: region))
        let blocks = volume.maps.geometry.blocks(ofRegion: region)
        if operations.place(slot, start: blocks.lowerBound, count: UInt64(blocks.count), volume.maps.geometry) {
            dispatch(slot, &operations, &volume)
        } else {
            volume.outbox.statistics.overlapsHeld += 1
        }
    }

    // MARK: Copying

    /// The region is the copy's: writes to it wait until it has ended (invariant 8).
    mutating func dispatch(_ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        let place = table.place(of: slot)
        let region = table[place].region
        guard mayCopy(operations, volume) else { return end(slot, &operations, &volume) }
        let reconciles = volume.maps.unreconciled[region]
        var good = volume.members.usedInSync.subtracting(table[place].unreadable)
        for member in MemberSet.all where volume.maps.repair(member)[region] { good.remove(member) }
        let decided = reconcileSource.flatMap { reconciles && good.contains($0) ? $0 : nil }
        guard let source = decided ?? volume.members.fastest(reconciles ? good.preferring(sources) : good) else {
            return hasNoSource(slot, &operations, &volume)
        }
        var destinations: MemberSet = []
        for member in volume.members.active.without(source) {
            let isNeeded =
                volume.members.inSync.contains(member)
                ? reconciles || volume.maps.repair(member)[region] : volume.maps.behind(member)[region]
            if isNeeded { destinations.insert(member) }
        }
        if reconciles, rewritesSource { destinations.insert(source) }
        if destinations == [] {
            if reconciles {
                volume.maps.setUnreconciled(region, false)
                volume.agenda.insert(.reconciled)
            }
            return end(slot, &operations, &volume)
        }
        table[place].source = source
        table[place].destinations = destinations
        table[place].reconciles = reconciles
        table[place].cursor = operations[slot].start
        readChunk(slot, &operations, &volume)
    }

    private func readChunk(_ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        let place = table.place(of: slot)
        table[place].chunk = min(
            UInt64(volume.arena.layout.chunkSize) / UInt64(volume.configuration.blockSize),
            operations[slot].end - table[place].cursor)
        table[place].isReading = true
        send(slot, .read, to: MemberSet(table[place].source), &operations, &volume)
    }

    private func send(
        _ slot: OperationIndex, _ operation: MemberOperation, to targets: MemberSet, _ operations: inout Operations,
        _ volume: inout VolumeState
    ) {
        let place = table.place(of: slot)
        operations.markIssued(slot, volume.now)
        operations[slot].progress.pending = targets
        for member in targets {
            volume.send(
                operations.tag(slot, member), operation, start: table[place].cursor, count: table[place].chunk,
                buffer: .arena(volume.arena.layout.copy(place)))
        }
    }

    mutating func completed(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ operations: inout Operations,
        _ volume: inout VolumeState
    ) {
        let place = table.place(of: slot)
        if table[place].isReading { return hasRead(slot, member, status, &operations, &volume) }
        if status != .success || !volume.members.active.contains(member) {
            destinationFailed(place, member, status, &volume)
        }
        if operations[slot].progress.pending == [] { hasWritten(slot, &operations, &volume) }
    }

    private mutating func hasRead(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ operations: inout Operations,
        _ volume: inout VolumeState
    ) {
        let place = table.place(of: slot)
        table[place].isReading = false
        guard mayCopy(operations, volume), volume.members.usedInSync.contains(member) else {
            return end(slot, &operations, &volume)
        }
        switch status {
        case .success:
            let targets = table[place].destinations.intersection(volume.members.active)
            table[place].destinations = targets
            if targets == [] { return end(slot, &operations, &volume) }
            send(slot, .write, to: targets, &operations, &volume)
        case .mediaError, .noSpace:
            table[place].unreadable.insert(member)
            dispatch(slot, &operations, &volume)
        default: end(slot, &operations, &volume)
        }
    }

    /// A destination that cannot be written is the member's failure, never the volume's (rule R16).
    private mutating func destinationFailed(
        _ place: Int, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState
    ) {
        let isRefused = status == .mediaError || status == .noSpace
        table[place].destinations.remove(member)
        if member == table[place].source, isRefused, volume.members.active.contains(member) {
            if volume.rules.mustDoubtUnwritten { volume.maps.setUnwritten(member, table[place].region, true) }
            rewriteFailure = status == .noSpace ? .capacityExceeded : .writeFault
            return sourceNotRewritten(place, &volume)
        }
        // A member that is behind and cannot take the region stays so: those in sync are made equal without it.
        let isOnlyBehind =
            isRefused && volume.members.active.contains(member) && !volume.members.inSync.contains(member)
        if !isOnlyBehind { table[place].isIncomplete = true }
        guard volume.members.active.contains(member), isRefused else { return }
        let region = table[place].region
        demote(member, regions: region...region, &volume)
    }

    private mutating func hasWritten(
        _ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState
    ) {
        let place = table.place(of: slot)
        let state = table[place]
        guard mayCopy(operations, volume), state.destinations != [] else { return end(slot, &operations, &volume) }
        volume.outbox.statistics.bytesCopied +=
            state.chunk * UInt64(volume.configuration.blockSize) * UInt64(state.destinations.count)
        table[place].cursor += state.chunk
        if table[place].cursor < operations[slot].end, volume.rules.mustCopyWholeRegion {
            guard volume.members.active.contains(state.source) else { return end(slot, &operations, &volume) }
            return readChunk(slot, &operations, &volume)
        }
        volume.outbox.statistics.regionsCopied += 1
        guard volume.rules.countsAsCopied(number: volume.outbox.statistics.regionsCopied) else {
            return end(slot, &operations, &volume)
        }
        copied.append(
            CopiedRegion(
                region: state.region, source: state.source, destinations: state.destinations,
                reconciles: state.reconciles && !state.isIncomplete))
        if !volume.rules.mustFlushCopies {
            copied.markFlushing()
            settle(state.destinations, &volume)
        }
        end(slot, &operations, &volume)
    }

    /// No member in sync can read the region: what it has to be is not known. Reads that wait for it end; others go on waiting.
    private mutating func hasNoSource(
        _ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState
    ) {
        let region = table[table.place(of: slot)].region
        volume.notice(.regionUnreadable(region))
        pace.reconcileLater(volume.now, volume.configuration)
        var list = operations.takeAll(.reconcile)
        while let waiting = operations.popFirst(&list) {
            if operations[waiting].regions.contains(region) {
                operations.finish(waiting, .unrecoveredReadError, &volume)
            } else {
                operations.wait(waiting, for: .reconcile)
            }
        }
        list = operations.takeAll(.rewrite)
        while let waiting = operations.popFirst(&list) { operations.finish(waiting, .writeFault, &volume) }
        for member in MemberSet.all {
            volume.maps.setRepair(member, region, false)
            guard volume.members.active.contains(member), !volume.members.inSync.contains(member),
                volume.maps.behind(member)[region]
            else { continue }
            volume.members[member].copyRetry.put(off: volume.now, volume.configuration)
        }
        end(slot, &operations, &volume)
    }

    private mutating func end(_ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        let place = table.place(of: slot)
        if table[place].reconciles { volume.agenda.insert(.reconciled) }
        table.end(place)
        volume.agenda.insert(.copies)
        operations.release(slot)
    }

    // MARK: After a flush

    /// A flush starts that covers what has been copied by now.
    mutating func flushStarts() { copied.markFlushing() }

    /// Clears the bits of regions whose copies have been flushed on the members `done`.
    mutating func settle(_ done: MemberSet, _ volume: inout VolumeState) {
        while let entry = copied.popFlushed() {
            let good = entry.destinations.intersection(done).intersection(volume.members.active)
            let inSyncOthers = volume.members.usedInSync.without(entry.source)
            let isReconciled = entry.reconciles && inSyncOthers.subtracting(good) == []
            // While members in sync may still differ, their source may be lost, and another be what all go by.
            let isCertain = isReconciled || !volume.maps.unreconciled[entry.region]
            for member in good {
                if volume.maps.repair(member)[entry.region] {
                    volume.maps.setRepair(member, entry.region, false)
                    volume.outbox.statistics.regionsRepaired += 1
                }
                volume.maps.setUnwritten(member, entry.region, false)
                if !volume.members.inSync.contains(member), isCertain { volume.maps.clearBehind(member, entry.region) }
                volume.members[member].copyRetry.succeeded()
            }
            if isReconciled, volume.maps.unreconciled[entry.region] {
                volume.maps.setUnreconciled(entry.region, false)
                volume.agenda.insert(.reconciled)
            }
        }
    }

    /// Takes members into sync that lack nothing any more, and hold the valid record: the next one names them, and where they
    /// lack it, the one that they hold is believed.
    mutating func review(_ volume: inout VolumeState) {
        guard volume.phase == .serving else { return }
        var hasChanged = false
        for member in volume.members.active.subtracting(volume.members.inSync) {
            let holdsRecord =
                volume.record.isValid && volume.members[member].record.confirmedVersion == volume.record.version
            guard volume.rules.mayTakeIntoSync(holdsRecord: holdsRecord), volume.maps.behind(member).isEmpty,
                !table.isCopying(to: member), !copied.contains(to: member)
            else { continue }
            volume.members.takeIntoSync(member)
            volume.record.tookIntoSync(member, bootInstance: volume.members[member].connection.cache.number)
            volume.members[member].connection.reconnectDelay = 0
            volume.members[member].copyRetry.succeeded()
            volume.notice(.memberInSync(member))
            hasChanged = true
        }
        if hasChanged { volume.changeRecord() }
        demoteUnwritten(&volume)
    }
}
