import Base
import FabricInterface
import Memory
import NVMeSpec
import TargetTransport

/// Answers to hosts: RDMA WRITEs of the data, and one SEND behind them.
extension RDMATargetPort {
    @inline(__always)
    func answer(_ order: Answer) {
        let request = order.request
        requests[request].connection = order.connection
        guard connections[order.connection].state == .live else {
            if !order.buffer.isNone { giveBack(order.buffer) }
            return lose(request, .lostAnswer)
        }
        if connections[order.connection].awaitingSend.isEmpty, postAnswer(order) { return }
        requests[request].order = .answer(order)
        requests[request].work = .awaitingSend
        requests[request].hasWaited = true
        connections[order.connection].awaitingSend.append(request, in: requests)
    }

    /// Posts the data, if there is any, and the completion queue entry; `false` when the send queue is too full.
    @inline(__always)
    func postAnswer(_ order: Answer) -> Bool {
        let request = order.request
        let connection = order.connection
        let writes = order.byteCount > 0 ? Int32(order.shape.pieceCount) : 0
        guard connections[connection].sendsAvailable > writes else { return false }
        guard budget.available > writes else {
            budget.want()
            return false
        }
        let handle = connections[connection].handle
        if writes > 0 { postWrites(order, to: handle) }
        let entry = responses[request.position]
        order.entry.store(to: entry)
        let key = connections[connection].invalidatesKeys ? order.shape.keyToInvalidate : nil
        work.post(
            WorkRequest(
                id: WorkKind.answer.id(request), queuePair: handle,
                opcode: key == nil ? .send : .sendWithInvalidate, flags: connections[connection].answerFlags,
                segment: ScatterGatherElement(entry, length: CompletionEntry.byteCount, localKey: responses.key),
                remoteKey: key ?? 0))
        connections[connection].sendsAvailable -= writes + 1
        connections[connection].postedRequests += 1
        budget.take(writes + 1)
        requests[request].heldSends = UInt16(truncatingIfNeeded: writes + 1)
        requests[request].work = .sending
        // The buffer goes back before the answer leaves: the two lists are posted in that order.
        if !order.buffer.isNone { giveBack(order.buffer) }
        return true
    }

    /// RDMA WRITEs of the data to the host's memory; unsignaled, the SEND behind them reports for all.
    private func postWrites(_ order: Answer, to handle: QueuePairHandle) {
        var local = UInt64(UInt(bitPattern: order.source))
        var remaining = order.byteCount
        let key = requests[order.request].loan.map(\.localKey) ?? dataKey
        for position in 0..<order.shape.pieceCount {
            let piece = order.shape.piece(position, in: order.capsule)
            let length = min(piece.length, remaining)
            work.post(
                WorkRequest(
                    id: WorkKind.unsignaled.id(order.request), queuePair: handle, opcode: .rdmaWrite, flags: [],
                    segment: ScatterGatherElement(address: local, length: length, localKey: key),
                    remoteAddress: piece.address, remoteKey: piece.key))
            local += UInt64(length)
            remaining -= length
        }
    }

    /// The answer has left, or never will.
    @inline(__always)
    func answered(_ completion: WorkCompletion, _ batch: inout EventBatch) {
        let request = requests.index(at: UInt32(truncatingIfNeeded: completion.id))
        let connection = workEnded(request)
        if completion.status != .success { broke(connection, completion, &batch) }
        requests[request].work = .none
        endLoan(request)
        batch.append(.answered(request, hasWaited: takeWait(request)))
        sendQueueMoved(connection)
    }

    // MARK: Lent memory

    func lend(_ loans: UnsafeMutableBufferPointer<Loan>, now: MonotonicTime) {
        for position in loans.indices {
            let loan = loans[position]
            do throws(TercetError) {
                // The memory stays where it is for as long as it is lent: there are no changes to wait for.
                requests[loan.request].loan = try lending.acquire(loan.start, loan.byteCount)
                loans[position].isTaken = true
            } catch {
                // The device has no room, or the system no memory to pin.
                loans[position].isTaken = false
            }
        }
    }

    @inline(__always)
    func endLoan(_ request: RequestIndex) {
        guard _slowPath(requests[request].loan != nil), let loan = requests[request].loan else { return }
        requests[request].loan = nil
        lending.release(loan)
    }

    func lendsAtALoss() -> Bool { lending.recentEvictions() > Limits.lendingEvictions }

    var keptLoans: Int { lending.count }
}
