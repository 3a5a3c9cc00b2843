import Base

extension VolumeEngine {
    /// Starts a host's I/O in a slot.
    mutating func begin(_ slot: Int32, _ request: HostRequest) {
        let index = Int(slot)
        reset(index)
        slots[index].forceUnitAccess = request.forceUnitAccess
        slots[index].buffer = request.buffer
        slots[index].cookie = request.cookie
        switch request.operation {
        case .read: slots[index].kind = .read
        case .write: slots[index].kind = .write
        case .writeZeroes, .deallocate: slots[index].kind = .writeZeroes
        case .flush: slots[index].kind = .flush
        case .compareAndWrite:
            slots[index].kind = .write
            slots[index].compares = true
        }
        switch phase {
        case .detached, .attaching, .detaching: return finish(slot, .detached)
        case .deposed: return finish(slot, .deposed)
        case .suspended where configuration.suspendPolicy == .fail: return finish(slot, .suspended)
        case .recovering where configuration.suspendPolicy == .fail: return finish(slot, .suspended)
        default: break
        }
        if slots[index].kind == .flush { return dispatch(slot) }
        let (end, overflow) = request.start.addingReportingOverflow(request.count)
        guard !overflow, request.count > 0, end <= maps.geometry.dataBlocks, request.count <= maximumTransferBlocks
        else {
            return finish(slot, .outOfRange)
        }
        place(slot, start: request.start, count: request.count)
    }

    /// Puts an operation's range in order with those that overlap it, and dispatches it when nothing is before it.
    mutating func place(_ slot: Int32, start: UInt64, count: UInt64) {
        let index = Int(slot)
        slots[index].start = start
        slots[index].count = count
        let regions = maps.geometry.regions(start: start, count: count)
        slots[index].firstRegion = regions.lowerBound
        slots[index].lastRegion = regions.upperBound
        slots[index].isPlaced = true
        overlaps.insert(slot, slots)
        if slots[index].blockers > 0 {
            statistics.overlapsHeld += 1
            become(slot, .blocked)
        } else {
            dispatch(slot)
        }
    }

    /// Clears a slot for its next operation; the generation goes on.
    mutating func reset(_ index: Int) {
        let generation = slots[index].generation &+ 1
        slots[index] = Operation()
        slots[index].generation = generation
    }

    /// Does an operation whose turn has come.
    mutating func dispatch(_ slot: Int32) {
        let index = Int(slot)
        invariant(slots[index].blockers == 0, "invariant 4: nothing is sent before what it overlaps has ended")
        switch slots[index].kind {
        case .copy: return dispatchCopy(slot)
        case .scrub: return dispatchScrub(slot)
        default: break
        }
        guard phase == .serving || phase == .detaching else {
            if phase == .deposed { return finish(slot, .deposed) }
            if configuration.suspendPolicy == .fail, !slots[index].isInternal {
                if slots[index].kind.isWrite, slots[index].firstIssuedAt.nanoseconds != 0 {
                    noteDifference(slots[index].regions)
                }
                return finish(slot, .suspended)
            }
            return hold(slot)
        }
        if slots[index].compares, !slots[index].isPlaced {
            return place(slot, start: slots[index].start, count: slots[index].count)
        }
        switch slots[index].kind {
        case .read: dispatchRead(slot)
        case .write, .writeZeroes: dispatchWrite(slot)
        case .flush: dispatchFlush(slot)
        case .copy, .scrub: break
        }
    }

    /// Keeps an operation until the volume is served.
    mutating func hold(_ slot: Int32) {
        let index = Int(slot)
        invariant(slots[index].pending == [], "an operation is held only when nothing of it is under way")
        become(slot, .held)
        slots[index].done = []
        slots[index].failed = []
        slots[index].excused = []
        slots[index].retried = []
        // The time for which it waits is not the members'.
        slots[index].firstIssuedAt = MonotonicTime(nanoseconds: 0)
        held.append(slot, slots)
    }

    /// Dispatches what was held, in order.
    mutating func releaseHeld() {
        var list = held.takeAll()
        while let slot = list.popFirst(slots) { dispatch(slot) }
        reviewsAcknowledgements = true
    }

    /// Ends an operation: tells the host, unblocks what waits for it, frees the slot.
    mutating func finish(_ slot: Int32, _ status: HostStatus) {
        let index = Int(slot)
        tellHost(index, status)
        guard slots[index].pending == [] else {
            invariant(!rules.mustKeepBuffers, "invariant 6: a buffer is given back after the last completion")
            return
        }
        release(slot)
    }

    /// Tells the host how its I/O ended, once.
    mutating func tellHost(_ index: Int, _ status: HostStatus) {
        guard !slots[index].isInternal, !slots[index].hasCompletedHost else { return }
        slots[index].hasCompletedHost = true
        completionQueue.append(HostCompletion(cookie: slots[index].cookie, status: status))
    }

    /// Gives a slot back to the pool.
    mutating func release(_ slot: Int32) {
        let index = Int(slot)
        if slots[index].isPlaced { overlaps.remove(slot, slots, ready: &ready) }
        if !slots[index].isInternal { hostRunning -= 1 }
        become(slot, .free)
        pool.give(UInt32(bitPattern: slot))
    }

    /// Takes a slot for the engine's own use; `nil` when all are taken.
    mutating func takeInternalSlot(_ kind: OperationKind) -> Int32? {
        guard let slot = pool.take() else { return nil }
        reset(Int(slot))
        slots[Int(slot)].isInternal = true
        slots[Int(slot)].kind = kind
        return Int32(bitPattern: slot)
    }

    /// Routes the completion of an operation's command.
    mutating func operationCompleted(_ tag: Tag, _ status: MemberStatus) {
        let index = tag.index
        invariant(
            index < pool.capacity && slots[index].generation == tag.generation
                && slots[index].pending.contains(tag.member),
            "a completion belongs to a command of the slot's present operation")
        slots[index].pending.remove(tag.member)
        let member = tag.member
        if status == .success { noteLatency(index, member) }
        if status == .unknown, isUsable(member) { loseMember(member, .outcomeUnknown) }
        let slot = Int32(index)
        if slots[index].compares { return compareCompleted(slot, member, status) }
        switch slots[index].kind {
        case .read: readCompleted(slot, member, status)
        case .write, .writeZeroes: writeCompleted(slot, member, status)
        case .flush: flushCompleted(slot, member, status)
        case .copy: copyCompleted(slot, member, status)
        case .scrub: scrubCompleted(slot, member, status)
        }
    }

    /// Whether commands to the member count: it is on the association on which they were sent.
    @inline(__always)
    func isUsable(_ member: MemberIndex) -> Bool { active.contains(member) }

    /// Marks an operation as sent.
    @inline(__always)
    mutating func markIssued(_ slot: Int32) {
        let index = Int(slot)
        if slots[index].state != .issued { become(slot, .issued) }
        slots[index].issuedAt = now
        if slots[index].firstIssuedAt.nanoseconds == 0 { slots[index].firstIssuedAt = now }
    }

    /// Sends an operation again after a pause.
    mutating func backOff(_ slot: Int32) {
        become(slot, .backingOff)
        slots[Int(slot)].resumeAt = now.advanced(byNanoseconds: configuration.retryDelay)
        backingOff.append(slot, slots)
        statistics.retries += 1
    }

    /// Looks for commands that take too long and pauses that are over.
    mutating func tickOperations() {
        var list = backingOff.takeAll()
        while let slot = list.popFirst(slots) {
            let index = Int(slot)
            if phase == .deposed || phase == .recovering {
                dispatch(slot)
            } else if now < slots[index].resumeAt {
                backingOff.append(slot, slots)
            } else if slots[index].kind == .read || slots[index].compares {
                dispatchRead(slot)
            } else {
                slots[index].wantsRetry = false
                settle(slot)
            }
        }
        for index in 0..<pool.capacity {
            let waits = slots[index].state == .issued || slots[index].state == .backingOff
            guard waits || slots[index].pending != [] else { continue }
            if now.nanoseconds(since: slots[index].issuedAt) > configuration.commandTimeout {
                for member in slots[index].pending where isUsable(member) {
                    loseMember(member, .timedOut)
                }
            }
            // A member that has been too busy for a write for that long is as good as lost.
            if slots[index].state == .backingOff, slots[index].kind.isWrite || slots[index].kind == .flush,
                now.nanoseconds(since: slots[index].firstIssuedAt) > configuration.commandTimeout
            {
                let missing = active.subtracting(slots[index].done).subtracting(slots[index].excused)
                slots[index].firstIssuedAt = now
                for member in missing where missing != active {
                    loseMember(member, .timedOut)
                }
            }
        }
    }
}
