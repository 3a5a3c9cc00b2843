import Base
import FabricInterface
import NVMeSpec
import TargetInterface
import TargetTransport

/// Queue pairs: from their acceptance to the moment when the device has done with them.
extension RDMATargetPort {
    /// Sizes of a queue pair that is about to be accepted.
    struct QueuePairSizes {
        var sendEntries: Int
        var readDepth: Int
    }

    /// Fills a slot for a queue pair that is about to be accepted.
    func bind(
        _ index: ConnectionIndex, _ handle: QueuePairHandle, _ connection: ConnectionHandle, _ sizes: QueuePairSizes,
        now: MonotonicTime
    ) {
        var slot = ConnectionSlot()
        slot.state.move(to: .accepted)
        slot.since = now
        slot.progress = SendProgress(entries: Int32(sizes.sendEntries), now: now)
        slot.handle = handle
        slot.connection = connection
        slot.sendsAvailable = Int32(sizes.sendEntries)
        slot.readsAvailable = Int32(sizes.readDepth)
        if context.inlineDataLimit(of: handle) >= CompletionEntry.byteCount { slot.answerFlags.insert(.inline) }
        slot.invalidatesKeys = options.sendWithInvalidate && context.limits.supportsSendWithInvalidate
        connections[index] = slot
        handles[handle] = index
        bound.append(index)
    }

    /// Frees a slot. Its queue pair is destroyed by the caller.
    func unbind(_ index: ConnectionIndex) {
        if !connections[index].isDestroyed { handles[connections[index].handle] = .none }
        if connections[index].state != .closing { connections[index].state.move(to: .closing) }
        connections[index].state.move(to: .free)
        failures.forget(index)
        bound.removeAll { $0 == index }
        connections.give(index)
    }

    /// The connection is established: what came before is looked at now.
    func established(_ index: ConnectionIndex, now: MonotonicTime) {
        connections[index].state.move(to: .live)
        while let capsule = connections[index].early.removeFirst(in: receives) { ready.append(capsule, in: receives) }
    }

    /// Takes a queue pair to its end: nothing is posted any more, and what is under way is reported as it ends.
    func close(_ index: ConnectionIndex, now: MonotonicTime) {
        guard connections[index].state == .accepted || connections[index].state == .live else { return }
        connections[index].state.move(to: .closing)
        connections[index].since = now
        // This round's work for it goes before it fails.
        work.flush()
        context.fail(connections[index].handle)
        fabric.disconnect(connections[index].connection)
        while let capsule = connections[index].early.removeFirst(in: receives) { giveBack(capsule) }
        while let request = connections[index].awaitingSend.removeFirst(in: requests) {
            if case .answer(let order) = requests[request].order, !order.buffer.isNone { giveBack(order.buffer) }
            lose(request, .lostAnswer)
        }
        while let request = connections[index].awaitingRead.removeFirst(in: requests) { lose(request, .lostFetch) }
    }

    /// The next poll says that a request's work has ended.
    func lose(_ request: RequestIndex, _ work: RequestWork) {
        requests[request].order = .none
        requests[request].work = work
        if work == .lostAnswer { endLoan(request) }
        lost.append(request, in: requests)
    }

    /// Ends a connection on which work failed. Work that was flushed says nothing new.
    func broke(_ connection: ConnectionIndex, _ completion: WorkCompletion, _ batch: inout EventBatch) {
        guard connections[connection].state != .closing else { return }
        fail(
            connection, "work on the queue pair failed: \(completion.status) (\(completion.vendorStatus))", &batch)
    }

    /// Tells the engine, once, that a connection is of no use any more.
    func fail(_ connection: ConnectionIndex, _ reason: @autoclosure () -> String, _ batch: inout EventBatch) {
        guard !connections[connection].isReported else { return }
        connections[connection].isReported = true
        failures.record(connection, reason())
        batch.append(.failed(connection))
    }

    func failure(of connection: ConnectionIndex) -> String { failures.reason(of: connection) }

    // MARK: Timers

    /// Looks at each queue pair: gives hosts up that take no answers, and frees what has ended. `destroy` frees a queue pair
    /// and its connection.
    func inspect(now: MonotonicTime, destroy: (ConnectionHandle) -> Void) {
        for index in bound {
            switch connections[index].state {
            case .free: break
            case .accepted:
                if now >= connections[index].since.advanced(byMilliseconds: Limits.establishMilliseconds) {
                    abandon(index, now: now)
                }
            case .live:
                let available = connections[index].sendsAvailable
                if connections[index].progress.isStalled(available: available, now: now),
                    !connections[index].isReported
                {
                    connections[index].isReported = true
                    failures.record(index, "the host takes no answers")
                    failures.report(index)
                }
            case .closing: release(index, now: now, destroy)
            }
        }
    }

    /// Ends a connection that the engine has never heard of.
    func abandon(_ index: ConnectionIndex, now: MonotonicTime) {
        close(index, now: now)
        connections[index].isReleased = true
    }

    /// Frees a closing queue pair when its requests have ended; destroys it when its work has not completed for so long
    /// that it never will.
    private func release(_ index: ConnectionIndex, now: MonotonicTime, _ destroy: (ConnectionHandle) -> Void) {
        let closed = now.nanoseconds(since: connections[index].since) / 1_000_000
        if connections[index].postedRequests > 0, closed >= Limits.flushMilliseconds, !connections[index].isDestroyed {
            destroy(connections[index].connection)
            handles[connections[index].handle] = .none
            connections[index].isDestroyed = true
            losePosted(of: index)
        }
        guard connections[index].postedRequests == 0, connections[index].isReleased,
            closed >= Limits.closingGraceMilliseconds
        else { return }
        let connection = connections[index].connection
        let isDestroyed = connections[index].isDestroyed
        unbind(index)
        if !isDestroyed { destroy(connection) }
    }

    /// Reports the requests whose work was posted. The queue pair has been destroyed: nothing of it completes any more.
    private func losePosted(of connection: ConnectionIndex) {
        for request in RequestIndices(count: UInt32(traits.requests))
        where requests[request].connection == connection {
            let work = requests[request].work
            guard work == .reading || work == .sending else { continue }
            _ = workEnded(request)
            lose(request, work == .reading ? .lostFetch : .lostAnswer)
        }
    }

    private typealias RequestIndices = SlotIndices<RequestIndex>

    // MARK: Pools

    var use: PortUse {
        var use = PortUse()
        use.freeConnections = connections.available
        use.boundConnections = bound.count
        for connection in bound { use.earlyCapsules += connections[connection].early.count(in: receives) }
        for request in RequestIndices(count: UInt32(traits.requests)) {
            switch requests[request].work {
            case .none, .lostFetch, .lostAnswer: break
            case .awaitingRead: use.waitingFetches += 1
            case .reading: use.runningFetches += 1
            case .awaitingSend: use.waitingAnswers += 1
            case .sending: use.runningAnswers += 1
            }
        }
        return use
    }
}
