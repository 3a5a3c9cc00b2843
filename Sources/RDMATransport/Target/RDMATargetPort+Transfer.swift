import Base
import FabricInterface
import NVMeSpec
import TargetTransport

/// RDMA READs of the hosts' data.
extension RDMATargetPort {
    /// Posts RDMA READs for as many pieces as READ depth and send queue allow; waits its turn for the rest.
    @inline(__always)
    func fetch(_ order: Fetch) {
        let request = order.request
        requests[request].connection = order.connection
        requests[request].nextPiece = 0
        guard connections[order.connection].state == .live else { return lose(request, .lostFetch) }
        if _slowPath(order.shape.pieceCount > 1) { requests[request].order = .fetch(order) }
        if connections[order.connection].awaitingRead.isEmpty, postReads(order) { return }
        awaitRead(order)
    }

    private func awaitRead(_ order: Fetch) {
        requests[order.request].order = .fetch(order)
        requests[order.request].work = .awaitingRead
        requests[order.request].hasWaited = true
        connections[order.connection].awaitingRead.append(order.request, in: requests)
    }

    /// Posts what fits; `false` when nothing does. Only the last READ of a batch is signaled: they end in order.
    private func postReads(_ order: Fetch) -> Bool {
        let request = order.request
        let connection = order.connection
        let first = requests[request].nextPiece
        let remaining = Int32(order.shape.pieceCount - first)
        // Two by two: more arguments are an array, which unoptimised builds allocate.
        let entries = min(connections[connection].sendsAvailable, budget.available)
        let count = min(remaining, min(connections[connection].readsAvailable, entries))
        guard count > 0 else {
            if budget.available == 0 { budget.want() }
            return false
        }
        var local = UInt64(UInt(bitPattern: order.destination)) + bytes(before: first, of: order)
        let handle = connections[connection].handle
        for step in 0..<count {
            let piece = order.shape.piece(first + UInt8(truncatingIfNeeded: step), in: order.capsule)
            let isLast = step == count - 1
            work.post(
                WorkRequest(
                    id: (isLast ? WorkKind.read : .unsignaled).id(request), queuePair: handle, opcode: .rdmaRead,
                    flags: isLast ? .signaled : [],
                    segment: ScatterGatherElement(address: local, length: piece.length, localKey: dataKey),
                    remoteAddress: piece.address, remoteKey: piece.key))
            local += UInt64(piece.length)
        }
        requests[request].nextPiece = first + UInt8(truncatingIfNeeded: count)
        requests[request].heldReads = UInt16(truncatingIfNeeded: count)
        requests[request].heldSends = UInt16(truncatingIfNeeded: count)
        requests[request].work = .reading
        connections[connection].readsAvailable -= count
        connections[connection].sendsAvailable -= count
        connections[connection].postedRequests += 1
        budget.take(count)
        return true
    }

    @inline(__always)
    private func bytes(before piece: UInt8, of order: Fetch) -> UInt64 {
        var bytes: UInt64 = 0
        for position in 0..<piece { bytes += UInt64(order.shape.piece(position, in: order.capsule).length) }
        return bytes
    }

    /// The READs of a request ended.
    @inline(__always)
    func fetched(_ completion: WorkCompletion, _ batch: inout EventBatch) {
        let request = requests.index(at: UInt32(truncatingIfNeeded: completion.id))
        let connection = workEnded(request)
        if completion.status != .success { broke(connection, completion, &batch) }
        if _slowPath(completion.status != .success || connections[connection].state == .closing) {
            requests[request].order = .none
            report(request, isComplete: false, &batch)
        } else if case .fetch(let order) = requests[request].order {
            if requests[request].nextPiece < order.shape.pieceCount {
                // From one batch of READs to the next, behind those that wait already.
                if !connections[connection].awaitingRead.isEmpty || !postReads(order) { awaitRead(order) }
            } else {
                requests[request].order = .none
                report(request, isComplete: true, &batch)
            }
        } else {
            report(request, isComplete: true, &batch)
        }
        sendQueueMoved(connection)
    }

    @inline(__always)
    private func report(_ request: RequestIndex, isComplete: Bool, _ batch: inout EventBatch) {
        requests[request].work = .none
        batch.append(.fetched(request, isComplete: isComplete, hasWaited: takeWait(request)))
    }

    /// Whether a request had to wait; it has not, from here on.
    @inline(__always)
    func takeWait(_ request: RequestIndex) -> Bool {
        let hasWaited = requests[request].hasWaited
        if _slowPath(hasWaited) { requests[request].hasWaited = false }
        return hasWaited
    }

    /// Gives back what a request's posted work held; returns the connection.
    @inline(__always)
    func workEnded(_ request: RequestIndex) -> ConnectionIndex {
        let connection = requests[request].connection
        let sends = Int32(requests[request].heldSends)
        connections[connection].readsAvailable += Int32(requests[request].heldReads)
        connections[connection].sendsAvailable += sends
        connections[connection].postedRequests -= 1
        connections[connection].progress.workEnded()
        budget.give(sends)
        requests[request].heldReads = 0
        requests[request].heldSends = 0
        return connection
    }

    /// Send queue entries or READ depth came free: go on with those who wait, answers first.
    func sendQueueMoved(_ connection: ConnectionIndex) {
        guard connections[connection].state == .live else { return }
        while let request = connections[connection].awaitingSend.removeFirst(in: requests) {
            guard case .answer(let order) = requests[request].order, postAnswer(order) else {
                return connections[connection].awaitingSend.prepend(request, in: requests)
            }
            requests[request].order = .none
        }
        while let request = connections[connection].awaitingRead.removeFirst(in: requests) {
            guard case .fetch(let order) = requests[request].order, postReads(order) else {
                return connections[connection].awaitingRead.prepend(request, in: requests)
            }
        }
    }

    /// Goes on with all who wait for the budget.
    func retryPosting() {
        budget.serve()
        for connection in bound { sendQueueMoved(connection) }
    }

    /// Takes back a fetch that waits.
    func withdraw(_ request: RequestIndex) -> Bool {
        guard requests[request].work == .awaitingRead else { return false }
        // One of whose pieces some have been fetched is not withdrawn: the next batch ends it.
        guard requests[request].nextPiece == 0,
            connections[requests[request].connection].awaitingRead.remove(request, in: requests)
        else { return false }
        requests[request].work = .none
        requests[request].order = .none
        return true
    }
}
