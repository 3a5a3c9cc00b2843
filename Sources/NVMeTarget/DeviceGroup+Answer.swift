import Base
import FabricInterface
import Memory
import NVMeSpec

/// The answer to a command, and the end of a request.
extension DeviceGroup {
    /// Ends a command with `status`. Data goes to the host only with a successful one.
    func answer(_ index: UInt32, _ status: Status) {
        guard _slowPath(requests[index].pointee.command.isFused) else { return answerAlone(index, status) }
        let partner = separate(index)
        answerAlone(index, status)
        if partner != noSlot { otherHalfFailed(partner) }
    }

    @inline(__always)
    private func answerAlone(_ index: UInt32, _ status: Status) {
        let request = requests[index]
        request.pointee.status = status
        request.pointee.failed = !status.isSuccess
        let slot = request.pointee.queuePair
        let queuePair = queuePairs[slot]
        guard queuePair.pointee.state == .live else { return end(index) }
        if queuePair.pointee.awaitingSend.isEmpty, postAnswer(index) { return }
        countWait(index, \.waitsForSendQueue)
        request.pointee.state.move(to: .awaitingSend)
        queuePair.pointee.awaitingSend.append(index, requests.slots)
    }

    /// Posts the data, if there is any, and the completion queue entry; `false` when the send queue is too full.
    func postAnswer(_ index: UInt32) -> Bool {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        let sendsData = !request.pointee.failed && !request.pointee.command.sendsData && request.pointee.dataLength > 0
        let writes = sendsData ? Int32(request.pointee.descriptorCount) : 0
        guard queuePair.pointee.sendsAvailable > writes else { return false }
        guard sendBudget > writes else {
            awaitsBudget = true
            return false
        }
        if writes > 0 { postWrites(request, index, to: queuePair.pointee.handle) }

        let entry = responses[index]
        queuePair.pointee.sqHead = nextHead(queuePair)
        CompletionEntry(
            result: request.pointee.result,
            sqHead: queuePair.pointee.flowControlDisabled ? request.pointee.headOverride : queuePair.pointee.sqHead,
            sqID: queuePair.pointee.queueID, commandID: request.pointee.command.commandID,
            status: request.pointee.status
        ).store(to: entry)
        let invalidate = request.pointee.descriptor.invalidate && queuePair.pointee.remoteInvalidate
        post(
            WorkRequest(
                id: WorkKind.response.id(index), queuePair: queuePair.pointee.handle,
                opcode: invalidate ? .sendWithInvalidate : .send,
                flags: queuePair.pointee.answerFlags,
                segment: ScatterGatherElement(entry, length: CompletionEntry.byteCount, localKey: responseKey),
                remoteKey: invalidate ? request.pointee.descriptor.key : 0))
        queuePair.pointee.sendsAvailable -= writes + 1
        sendBudget -= writes + 1
        request.pointee.heldSends = UInt16(writes + 1)
        request.pointee.state.move(to: .responding)
        queuePair.pointee.unanswered -= 1
        // The buffer goes back before the answer leaves: the two lists are posted in that order.
        returnReceive(request)
        count(request, queuePair)
        return true
    }

    /// RDMA WRITEs of the data to the host's descriptors; unsignaled, the SEND behind them reports for all.
    private func postWrites(
        _ request: UnsafeMutablePointer<RequestSlot>, _ index: UInt32, to handle: QueuePairHandle
    ) {
        var local = UInt64(UInt(bitPattern: request.pointee.data))
        var remaining = request.pointee.dataLength
        for position in 0..<Int(request.pointee.descriptorCount) {
            let descriptor = descriptor(UInt8(position), of: request)
            let length = min(descriptor.length, remaining)
            post(
                WorkRequest(
                    id: WorkKind.unsignaled.id(index), queuePair: handle, opcode: .rdmaWrite, flags: [],
                    segment: ScatterGatherElement(address: local, length: length, localKey: request.pointee.dataKey),
                    remoteAddress: descriptor.address, remoteKey: descriptor.key))
            local += UInt64(length)
            remaining -= length
        }
    }

    @inline(__always)
    private func nextHead(_ queuePair: UnsafeMutablePointer<QueuePairSlot>) -> UInt16 {
        let next = UInt32(queuePair.pointee.sqHead) + 1
        return next >= queuePair.pointee.entries ? 0 : UInt16(truncatingIfNeeded: next)
    }

    /// The answer has left, or never will: the request is over.
    func responded(_ completion: WorkCompletion) {
        let index = UInt32(truncatingIfNeeded: completion.id)
        let slot = requests[index].pointee.queuePair
        let queuePair = queuePairs[slot]
        queuePair.pointee.sendsAvailable += Int32(requests[index].pointee.heldSends)
        sendBudget += Int32(requests[index].pointee.heldSends)
        queuePair.pointee.endedWork &+= 1
        if completion.status != .success { connectionBroke(slot, completion) }
        end(index)
        sendQueueMoved(slot)
    }

    /// Gives back all that a request holds. Only when neither the fabric nor a device can still touch its memory.
    func end(_ index: UInt32) {
        let request = requests[index]
        let slot = request.pointee.queuePair
        let queuePair = queuePairs[slot]
        if request.pointee.state != .responding {
            returnReceive(request)
            queuePair.pointee.unanswered -= 1
        }
        giveBuffer(request)
        giveBackLoan(request)
        let partner = _slowPath(request.pointee.command.isFused) ? separate(index) : noSlot
        request.pointee.state.move(to: .free)
        requests.give(index)
        queuePair.pointee.requests -= 1
        if _slowPath(partner != noSlot) { otherHalfEnded(partner) }
        if queuePair.pointee.requests == 0, queuePair.pointee.state == .closing { drained(slot) }
    }

    /// A closing queue pair has no request any more.
    private func drained(_ slot: UInt32) {
        guard !queuePairs[slot].pointee.isDrained else { return }
        queuePairs[slot].pointee.isDrained = true
        owner.queuePairDrained(slot, in: self)
    }

    @inline(__always)
    private func count(_ request: UnsafeMutablePointer<RequestSlot>, _ queuePair: UnsafeMutablePointer<QueuePairSlot>) {
        guard queuePair.pointee.role == .io, let statistics = queuePair.pointee.statistics else { return }
        statistics.pointee.serviceNanoseconds &+= now.nanoseconds(since: request.pointee.arrival)
        if request.pointee.failed {
            statistics.pointee.failedCommands &+= 1
        } else if request.pointee.command.opcode == NVMOpcode.read.rawValue {
            statistics.pointee.readCommands &+= 1
            statistics.pointee.bytesRead &+= UInt64(request.pointee.dataLength)
        } else if request.pointee.command.opcode == NVMOpcode.write.rawValue {
            statistics.pointee.writeCommands &+= 1
            statistics.pointee.bytesWritten &+= UInt64(request.pointee.dataLength)
        } else {
            statistics.pointee.otherCommands &+= 1
        }
    }

    /// Takes a queue pair to its end: no more answers; what waits ends now, what runs ends when it comes back. The
    /// poll group frees the slot when no request refers to it.
    func close(_ slot: UInt32, now: MonotonicTime) {
        let queuePair = queuePairs[slot]
        guard queuePair.pointee.state == .accepted || queuePair.pointee.state == .live else { return }
        queuePair.pointee.state.move(to: .closing)
        queuePair.pointee.closingSince = now
        context.fail(queuePair.pointee.handle)
        dropLateCapsules(of: queuePair.pointee.handle)
        if queuePair.pointee.firstHalf != noSlot { end(queuePair.pointee.firstHalf) }
        while let index = queuePair.pointee.early.removeFirst(requests.slots) { end(index) }
        while let index = queuePair.pointee.awaitingSend.removeFirst(requests.slots) { end(index) }
        while let index = queuePair.pointee.awaitingRead.removeFirst(requests.slots) { end(index) }
        for index in 0..<UInt32(requests.usedCount) where requests[index].pointee.queuePair == slot {
            switch requests[index].pointee.state {
            case .held: end(index)
            case .awaitingBuffer where awaitingBuffer.remove(index, requests.slots): end(index)
            case .executing where awaitingBlock.remove(index, requests.slots): end(index)
            default: break
            }
        }
        if queuePair.pointee.requests == 0 { drained(slot) }
    }

    /// Ends the requests whose work is posted. The queue pair has been destroyed: nothing of it completes any more.
    func endPosted(of slot: UInt32) {
        for index in 0..<UInt32(requests.usedCount) where requests[index].pointee.queuePair == slot {
            switch requests[index].pointee.state {
            case .transferring, .responding:
                sendBudget += Int32(requests[index].pointee.heldSends)
                end(index)
            default: break
            }
        }
    }
}

extension WorkFlags {
    /// Those of the SEND that carries an answer. Not a literal of two, which allocates in unoptimised builds.
    static var answer: WorkFlags {
        WorkFlags(rawValue: WorkFlags.signaled.rawValue | WorkFlags.solicited.rawValue)
    }
}
