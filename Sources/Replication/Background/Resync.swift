import Base

/// A region on its way from one member to others.
struct CopyState: BitwiseCopyable {
    var slot: Int32 = -1
    var region = 0
    var source = MemberIndex(0)
    var destinations: MemberSet = []
    /// Members that could not be read from.
    var unreadable: MemberSet = []
    /// The region's contents may differ between members in sync.
    var reconciles = false
    /// A destination was busy: the region is copied again.
    var isIncomplete = false
    var isReading = false
    var cursor: UInt64 = 0
    var chunk: UInt64 = 0
}

/// The copies that run, and the pace at which they are started.
struct CopyTable: ~Copyable {
    let states: UnsafeMutablePointer<CopyState>
    let count: Int
    var running = 0
    /// There may be something to copy.
    var mayStart = false
    /// When that is looked at again after nothing was found: the maps of a large volume are not searched with each tick.
    var lookAgainAt = MonotonicTime(nanoseconds: 0)
    var isPaused = false
    /// Bytes per second; 0 for no limit.
    var rate: UInt64 = 0
    /// When the rate allows the next region.
    var nextAt = MonotonicTime(nanoseconds: 0)
    var cursor = 0
    /// When regions that no member could read are tried again.
    var reconcileAgainAt = MonotonicTime(nanoseconds: 0)

    init(count: Int) {
        self.count = count
        states = .allocate(capacity: max(1, count))
        states.initialize(repeating: CopyState(), count: max(1, count))
    }

    deinit { states.deallocate() }

    func isCopying(_ region: Int) -> Bool {
        for index in 0..<count where states[index].slot >= 0 && states[index].region == region { return true }
        return false
    }

    /// A region that was on its way to a lost member is not on it, even where its part has ended there: what is written
    /// once the region is free again does not reach the member.
    func forget(_ member: MemberIndex) {
        for index in 0..<count where states[index].slot >= 0 {
            if states[index].destinations.contains(member) { states[index].isIncomplete = true }
            states[index].destinations.remove(member)
            if states[index].source == member {
                states[index].destinations = []
                states[index].isIncomplete = true
            }
        }
    }

    /// Whether members in sync are being made equal in one of `regions`. That goes on for a moment where the source is lost,
    /// and one member alone counts from then on: what is on its way to that member must not be overtaken by a read.
    func isReconciling(_ regions: ClosedRange<Int>) -> Bool {
        guard running > 0 else { return false }
        for index in 0..<count where states[index].slot >= 0 && states[index].reconciles {
            if regions.contains(states[index].region) { return true }
        }
        return false
    }

    func isCopying(to member: MemberIndex) -> Bool {
        for index in 0..<count where states[index].slot >= 0 && states[index].destinations.contains(member) {
            return true
        }
        return false
    }
}

extension VolumeEngine {
    /// Whether regions are copied: while the volume is served, and while it detaches as long as an I/O may wait for a region.
    private var mayCopy: Bool { phase == .serving || phase == .detaching && detachStep == .idle && hostRunning > 0 }

    /// Stops copying to members that are behind, after the regions that are under way.
    public mutating func pauseResync() { copies.isPaused = true }

    public mutating func resumeResync() {
        copies.isPaused = false
        copies.mayStart = true
    }

    /// Bytes per second that are copied, but for regions that a read waits for; 0 for no limit.
    public mutating func setResyncRate(_ bytesPerSecond: UInt64) { copies.rate = bytesPerSecond }

    /// Starts copies of regions that need it: first those that a read waits for.
    mutating func pumpCopies() {
        guard mayCopy, copies.mayStart else { return }
        while copies.running < copies.count, !copied.isFull {
            if let region = regionAwaited() {
                startCopy(region)
                continue
            }
            if now < copies.nextAt { return }
            guard let region = nextRegion() else {
                copies.mayStart = false
                copies.lookAgainAt = now.advanced(byMilliseconds: 20)
                break
            }
            startCopy(region)
            if copies.rate > 0 {
                let pause = UInt64(maps.geometry.regionSize) &* 1_000_000_000 / copies.rate
                copies.nextAt = max(now, copies.nextAt).advanced(byNanoseconds: pause)
            }
        }
        if copied.count > 0, copied.isFull || copies.running == 0 || !awaitingReconcile.isEmpty {
            if housekeeping.isRunning { housekeeping.wantsFlush = true } else { startHousekeeping(clears: false) }
        }
        if !copies.mayStart, copied.count == 0 { reviewReconciled() }
    }

    /// A region that a read waits for, and that nobody copies yet.
    private func regionAwaited() -> Int? {
        var slot = awaitingReconcile.head
        while slot >= 0 {
            for region in slots[Int(slot)].regions where maps.unreconciled[region] {
                if !copies.isCopying(region), !copied.contains(region) { return region }
            }
            slot = slots[Int(slot)].next
        }
        return nil
    }

    /// The next region that a member needs, round and round.
    private mutating func nextRegion() -> Int? {
        let words = maps.unreconciled.wordCount
        var word = copies.cursor / 64
        var mask: UInt64 = ~0 << UInt64(copies.cursor % 64)
        let (needed, count) = neededMaps()
        for _ in 0...words {
            var bits: UInt64 = 0
            for index in 0..<count { bits |= needed[index][word] }
            bits &= mask
            mask = ~0
            while bits != 0 {
                let region = word * 64 + bits.trailingZeroBitCount
                bits &= bits - 1
                if copies.isCopying(region) || copied.contains(region) { continue }
                copies.cursor = region + 1 < words * 64 ? region + 1 : 0
                return region
            }
            word += 1
            if word == words { word = 0 }
        }
        return nil
    }

    /// The maps that say what has to be copied now.
    private func neededMaps() -> (words: [4 of UnsafeMutablePointer<UInt64>], count: Int) {
        var needed: [4 of UnsafeMutablePointer<UInt64>] = .init(repeating: maps.unreconciled.words)
        var count = now >= copies.reconcileAgainAt ? 1 : 0
        for member in active {
            if inSync.contains(member) {
                needed[count] = maps.repair[member].words
                count += 1
            } else if !copies.isPaused, now >= members[member].copyRetryAt {
                needed[count] = maps.behind(member).words
                count += 1
            }
        }
        return (needed, count)
    }

    private mutating func startCopy(_ region: Int) {
        guard let slot = takeInternalSlot(.copy) else { return }
        for index in 0..<copies.count where copies.states[index].slot < 0 {
            copies.states[index] = CopyState()
            copies.states[index].slot = slot
            copies.states[index].region = region
            copies.running += 1
            slots[Int(slot)].copyIndex = index
            let blocks = maps.geometry.blocks(ofRegion: region)
            return place(slot, start: blocks.lowerBound, count: UInt64(blocks.count))
        }
        invariantViolated("a copy is started when one is free")
    }

    /// The region is the copy's: writes to it wait until it has ended (invariant 8).
    mutating func dispatchCopy(_ slot: Int32) {
        let copy = slots[Int(slot)].copyIndex
        let region = copies.states[copy].region
        let sources = active.intersection(inSync).subtracting(copies.states[copy].unreadable)
        guard mayCopy else { return endCopy(slot) }
        let reconciles = maps.unreconciled[region]
        var good = sources
        for member in MemberSet.all where maps.repair[member][region] { good.remove(member) }
        let decided = reconcileSource.flatMap { reconciles && good.contains($0) ? $0 : nil }
        guard let source = decided ?? fastest(good) else { return copyHasNoSource(slot) }
        var destinations: MemberSet = []
        for member in active where member != source {
            let isNeeded =
                inSync.contains(member) ? reconciles || maps.repair[member][region] : maps.behind(member)[region]
            if isNeeded { destinations.insert(member) }
        }
        if destinations == [] {
            if reconciles { maps.unreconciled[region] = false; reviewsReconcile = true }
            return endCopy(slot)
        }
        copies.states[copy].source = source
        copies.states[copy].destinations = destinations
        copies.states[copy].reconciles = reconciles
        copies.states[copy].cursor = slots[Int(slot)].start
        readChunk(slot)
    }

    private mutating func readChunk(_ slot: Int32) {
        let index = Int(slot)
        let copy = slots[index].copyIndex
        let end = slots[index].start + slots[index].count
        let chunk = min(
            UInt64(arenaLayout.chunkSize) / UInt64(configuration.blockSize), end - copies.states[copy].cursor)
        copies.states[copy].chunk = chunk
        copies.states[copy].isReading = true
        sendCopy(slot, .read, to: MemberSet(copies.states[copy].source))
    }

    private mutating func sendCopy(_ slot: Int32, _ operation: MemberOperation, to targets: MemberSet) {
        let index = Int(slot)
        let copy = slots[index].copyIndex
        markIssued(slot)
        slots[index].pending = targets
        for member in targets {
            send(
                Tag(.operation, member: member, index: index, generation: slots[index].generation), operation,
                start: copies.states[copy].cursor, count: copies.states[copy].chunk, owner: .arena,
                buffer: UInt64(arenaLayout.copy(copy)))
        }
    }

    mutating func copyCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let copy = slots[Int(slot)].copyIndex
        if copies.states[copy].isReading {
            copyRead(slot, member, status)
        } else {
            if status != .success || !isUsable(member) { destinationFailed(copy, member, status) }
            if slots[Int(slot)].pending == [] { copyWritten(slot) }
        }
    }

    private mutating func copyRead(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let copy = slots[Int(slot)].copyIndex
        copies.states[copy].isReading = false
        guard mayCopy, isUsable(member), inSync.contains(member) else { return endCopy(slot) }
        switch status {
        case .success:
            let targets = copies.states[copy].destinations.intersection(active)
            copies.states[copy].destinations = targets
            if targets == [] { return endCopy(slot) }
            sendCopy(slot, .write, to: targets)
        case .mediaError, .noSpace:
            copies.states[copy].unreadable.insert(member)
            dispatchCopy(slot)
        default: endCopy(slot)
        }
    }

    /// A destination that cannot be written is the member's failure, never the volume's (rule R16).
    private mutating func destinationFailed(_ copy: Int, _ member: MemberIndex, _ status: MemberStatus) {
        copies.states[copy].destinations.remove(member)
        copies.states[copy].isIncomplete = true
        guard isUsable(member), status == .mediaError || status == .noSpace else { return }
        let region = copies.states[copy].region
        demote(member, regions: region...region)
    }

    private mutating func copyWritten(_ slot: Int32) {
        let index = Int(slot)
        let copy = slots[index].copyIndex
        let state = copies.states[copy]
        guard mayCopy, state.destinations != [] else { return endCopy(slot) }
        statistics.bytesCopied += state.chunk * UInt64(configuration.blockSize) * UInt64(state.destinations.count)
        copies.states[copy].cursor += state.chunk
        if copies.states[copy].cursor < slots[index].start + slots[index].count {
            guard isUsable(state.source) else { return endCopy(slot) }
            return readChunk(slot)
        }
        statistics.regionsCopied += 1
        copied.append(
            CopiedRegion(
                region: state.region, source: state.source, destinations: state.destinations,
                reconciles: state.reconciles && !state.isIncomplete))
        endCopy(slot)
    }

    /// No member in sync can read the region: what it has to be is not known.
    private mutating func copyHasNoSource(_ slot: Int32) {
        let copy = slots[Int(slot)].copyIndex
        let region = copies.states[copy].region
        notice(.regionUnreadable(region))
        copies.reconcileAgainAt = now.advanced(byNanoseconds: configuration.reconnectDelay)
        failReads(of: region)
        for member in MemberSet.all {
            maps.repair[member][region] = false
            guard active.contains(member), !inSync.contains(member), maps.behind(member)[region] else { continue }
            delayCopies(to: member)
        }
        endCopy(slot)
    }

    /// Reads that wait for a region that cannot be read end; others go on waiting.
    private mutating func failReads(of region: Int) {
        var list = awaitingReconcile.takeAll()
        while let slot = list.popFirst(slots) {
            if slots[Int(slot)].regions.contains(region) {
                finish(slot, .mediaError)
            } else {
                awaitingReconcile.append(slot, slots)
            }
        }
    }

    private mutating func endCopy(_ slot: Int32) {
        let copy = slots[Int(slot)].copyIndex
        if copies.states[copy].reconciles { reviewsReconcile = true }
        copies.states[copy].slot = -1
        copies.running -= 1
        copies.mayStart = true
        release(slot)
    }
}
