import Base
import BlockInterface

/// Takes hosts' I/O, and the engine's own flushes, from their arrival to their end.
struct HostIO: ~Copyable {
    /// All operations that run; copies and scrubs have slots here too, so that they are in order with the host's.
    var operations: Operations

    init(_ configuration: VolumeConfiguration, rules: Rules) {
        operations = Operations(
            hostSlots: configuration.queueDepth, own: configuration.copyConcurrency + 4, rules: rules)
    }

    // MARK: Beginning

    /// Starts a host's I/O. False when as many run as may.
    mutating func submit(
        _ request: HostRequest, _ volume: inout VolumeState, _ background: inout Background
    ) -> Bool {
        guard let slot = operations.takeForHost() else { return false }
        operations[slot].forceUnitAccess = request.forceUnitAccess
        operations[slot].buffer = request.buffer
        operations[slot].cookie = request.cookie
        switch request.operation {
        case .read, .verify: operations[slot].kind = .read
        case .write: operations[slot].kind = .write
        case .writeZeroes, .deallocate: operations[slot].kind = .writeZeroes
        case .flush: operations[slot].kind = .flush
        case .compareAndWrite:
            operations[slot].kind = .write
            operations[slot].isConditional = true
            operations[slot].compares = true
            operations[slot].replacement =
                request.replacement == 0
                ? request.buffer &+ request.count &* UInt64(volume.configuration.blockSize) : request.replacement
        case .compare:
            operations[slot].kind = .read
            operations[slot].compares = true
        }
        if let refusal = refusal(volume) {
            operations.finish(slot, refusal, &volume)
        } else if operations[slot].kind == .flush {
            dispatch(slot, &volume, &background)
        } else if isWithin(volume, request) {
            operations[slot].start = request.start
            operations[slot].count = request.count
            place(slot, &volume, &background)
        } else {
            operations.finish(slot, .outOfRange, &volume)
        }
        return true
    }

    /// How a host's I/O ends where it cannot even wait.
    private func refusal(_ volume: borrowing VolumeState) -> BlockStatus? {
        switch volume.phase {
        case .detached, .attaching, .detaching: .deviceGone
        case .deposed: .fenced
        case .suspended, .recovering: volume.configuration.suspendPolicy == .fail ? .unavailable : nil
        case .serving: nil
        }
    }

    private func isWithin(_ volume: borrowing VolumeState, _ request: HostRequest) -> Bool {
        let (end, overflow) = request.start.addingReportingOverflow(request.count)
        return !overflow && request.count > 0 && end <= volume.maps.geometry.dataBlocks
            && request.count <= volume.maximumTransferBlocks
    }

    /// Puts an operation's range in order with those that overlap it, and dispatches it when nothing is before it.
    private mutating func place(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        let (start, count) = (operations[slot].start, operations[slot].count)
        if operations.place(slot, start: start, count: count, volume.maps.geometry) {
            dispatch(slot, &volume, &background)
        } else {
            volume.outbox.statistics.overlapsHeld += 1
        }
    }

    // MARK: Dispatching

    /// Does an operation whose turn has come.
    mutating func dispatch(_ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background) {
        invariant(
            operations[slot].order.blockers == 0, "invariant 4: nothing is sent before what it overlaps has ended")
        guard volume.life.isServing else { return dispatchUnserved(slot, &volume, &background) }
        if operations[slot].compares, !operations[slot].order.isPlaced { return place(slot, &volume, &background) }
        switch operations[slot].kind {
        case .read: dispatchRead(slot, &volume, &background)
        case .write, .writeZeroes: dispatchWrite(slot, &volume, &background)
        case .flush: dispatchFlush(slot, &volume, &background)
        case .copy, .scrub: invariantViolated("copies and scrubs have their own parts")
        }
    }

    private mutating func dispatchUnserved(
        _ slot: OperationIndex, _ volume: inout VolumeState, _ background: inout Background
    ) {
        if volume.phase == .deposed { return operations.finish(slot, .fenced, &volume) }
        if volume.configuration.suspendPolicy == .fail, !operations[slot].isInternal {
            if operations[slot].kind.isWrite, operations[slot].times.firstIssuedAt != nil {
                background.copies.noteDifference(operations[slot].regions, &volume)
            }
            return operations.finish(slot, .unavailable, &volume)
        }
        hold(slot)
    }

    /// Keeps an operation until the volume is served.
    private mutating func hold(_ slot: OperationIndex) {
        invariant(
            operations[slot].progress.pending == [], "an operation is held only when nothing of it is under way")
        operations[slot].become(.held)
        operations[slot].progress.startAnew()
        // The time for which it waits is not the members'.
        operations[slot].times.firstIssuedAt = nil
        operations.wait(slot, for: .service)
    }

    /// Dispatches all that wait for something, in order.
    mutating func dispatchAll(
        _ waiting: Waiting, _ volume: inout VolumeState, _ background: inout Background
    ) {
        var list = operations.takeAll(waiting)
        while let slot = operations.popFirst(&list) { dispatch(slot, &volume, &background) }
    }

    /// Dispatches what was held, in order.
    mutating func releaseHeld(_ volume: inout VolumeState, _ background: inout Background) {
        dispatchAll(.service, &volume, &background)
        volume.agenda.insert(.acknowledgements)
    }

    // MARK: Completions

    /// A member has completed a command of a host's I/O or a flush.
    @inline(__always)
    mutating func completed(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ volume: inout VolumeState,
        _ background: inout Background
    ) {
        if operations[slot].compares { return compareCompleted(slot, member, status, &volume, &background) }
        switch operations[slot].kind {
        case .read: readCompleted(slot, member, status, &volume, &background)
        case .write, .writeZeroes: writeCompleted(slot, member, status, &volume, &background)
        case .flush: flushCompleted(slot, member, status, &volume, &background)
        case .copy, .scrub: invariantViolated("copies and scrubs have their own parts")
        }
    }

    // MARK: Time

    /// Sends an operation again after a pause.
    mutating func backOff(_ slot: OperationIndex, _ volume: inout VolumeState) {
        operations[slot].become(.backingOff)
        operations[slot].times.resumeAt = volume.now.advanced(byNanoseconds: volume.configuration.retryDelay)
        operations.wait(slot, for: .pause)
        volume.outbox.statistics.retries += 1
    }

    /// Looks for pauses that are over.
    mutating func tick(_ volume: inout VolumeState, _ background: inout Background) {
        var list = operations.takeAll(.pause)
        while let slot = operations.popFirst(&list) {
            if volume.phase == .deposed || volume.phase == .recovering {
                dispatch(slot, &volume, &background)
            } else if volume.now < operations[slot].times.resumeAt {
                operations.wait(slot, for: .pause)
            } else if operations[slot].kind == .read || operations[slot].compares {
                dispatchRead(slot, &volume, &background)
            } else {
                operations[slot].progress.wantsRetry = false
                settle(slot, &volume, &background)
            }
        }
    }

    /// Members that have not answered a command of an operation for longer than they may.
    func late(_ slot: OperationIndex, _ volume: borrowing VolumeState) -> MemberSet {
        let operation = operations[slot]
        guard operation.progress.pending != [],
            volume.now.nanoseconds(since: operation.times.issuedAt) > volume.configuration.commandTimeout
        else { return [] }
        return operation.progress.pending.intersection(volume.members.active)
    }

    /// Members that have been too busy for a write or flush for so long that they are as good as lost, unless all have.
    mutating func refusing(_ slot: OperationIndex, _ volume: borrowing VolumeState) -> MemberSet {
        let operation = operations[slot]
        guard operation.state == .backingOff, operation.kind.isWrite || operation.kind == .flush,
            let first = operation.times.firstIssuedAt,
            volume.now.nanoseconds(since: first) > volume.configuration.commandTimeout
        else { return [] }
        operations[slot].times.firstIssuedAt = volume.now
        let missing = volume.members.active.subtracting(operation.progress.done)
            .subtracting(operation.progress.excused)
        return missing == volume.members.active ? [] : missing
    }
}

extension VolumeState {
    /// The longest host I/O, in blocks.
    var maximumTransferBlocks: UInt64 {
        UInt64(
            min(configuration.maximumTransfer, Int(maps.geometry.regionSize)) / Int(configuration.blockSize))
    }
}
