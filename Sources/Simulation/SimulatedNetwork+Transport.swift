import Base
import FabricInterface

/// The reliable connection: how work gets from a send queue to the peer and its answer back.
extension SimulatedNetwork {
    /// Puts on its way what may start: a fenced request waits for the READs before it, a READ for its turn.
    func launch(_ queuePair: SimulatedQueuePair) {
        guard queuePair.state == .ready, let destination = queuePair.peerDevice else { return }
        while queuePair.launched < queuePair.sends.tail {
            let request = queuePair.sends[queuePair.launched].pointee.request
            if request.flags.contains(.fence) && queuePair.readsRunning > 0 { return }
            if request.opcode == .rdmaRead {
                if queuePair.readsRunning >= queuePair.readDepth {
                    counters.readsHeldBack += 1
                    return
                }
                queuePair.readsRunning += 1
            }
            let kind: SimulatedMessage.Kind =
                switch request.opcode {
                case .send, .sendWithInvalidate: .send
                case .rdmaWrite: .rdmaWrite
                case .rdmaRead: .rdmaRead
                }
            guard
                let transit = transit(
                    kind, from: queuePair.device, to: destination, delays.transit)
            else {
                // The transport sends it again and again until its patience ends; nothing behind it gets through.
                queuePair.launched = queuePair.sends.tail
                // Its patience counts from the first loss.
                if !queuePair.isStalled || queuePair.waitsForReceive { waitForTransport(queuePair) }
                return
            }
            if transit.isRefused { queuePair.sends[queuePair.launched].pointee.status = .remoteAccessError }
            queuePair.launched += 1
            queuePair.lastArrival = max(queuePair.lastArrival, now.nanoseconds + transit.time)
            insert(.arrival, queuePair.reference, at: queuePair.lastArrival)
        }
    }

    func arrived(_ reference: QueuePairReference) {
        guard let queuePair = queuePairs[reference], queuePair.state == .ready else { return }
        queuePair.arrived += 1
        execute(queuePair)
    }

    func resumed(_ reference: QueuePairReference, waiting number: UInt64) {
        guard let queuePair = queuePairs[reference], queuePair.state == .ready, queuePair.isStalled,
            queuePair.waitNumber == number
        else { return }
        queuePair.isStalled = false
        execute(queuePair)
    }

    /// The transport's patience ended: the work that waits fails, and with it the queue pair.
    func timedOut(_ reference: QueuePairReference, waiting number: UInt64) {
        guard let queuePair = queuePairs[reference], queuePair.state == .ready, queuePair.waitNumber == number,
            queuePair.isStalled
        else { return }
        queuePair.fail(first: queuePair.waitsForReceive ? .receiverNotReady : .retryExceeded)
    }

    private func waitForTransport(_ queuePair: SimulatedQueuePair) {
        queuePair.isStalled = true
        queuePair.waitsForReceive = false
        queuePair.waitNumber += 1
        insert(
            .timeout, queuePair.reference, afterNanoseconds: delays.transportTimeoutNanoseconds,
            value: queuePair.waitNumber)
    }

    /// Does at the peer what has arrived there, in order.
    private func execute(_ queuePair: SimulatedQueuePair) {
        while queuePair.executed < queuePair.arrived, !queuePair.isStalled, queuePair.state == .ready {
            let position = queuePair.executed
            guard let peer = queuePairs[queuePair.peer], peer.state == .ready, peer.device.isReachable,
                queuePair.device.isReachable
            else { return waitForTransport(queuePair) }
            let request = queuePair.sends[position].pointee.request
            var status = queuePair.sends[position].pointee.status
            switch request.opcode {
            case _ where status != .success: break
            case .send, .sendWithInvalidate:
                guard peer.hasReceive else { return waitForReceive(queuePair, at: peer) }
                status = deliver(request, position, from: queuePair, to: peer)
            case .rdmaWrite: status = write(request, from: queuePair, to: peer)
            case .rdmaRead: status = read(request, from: peer, to: queuePair)
            }
            queuePair.executed += 1
            queuePair.sends[position].pointee.status = status
            if status != .success {
                // Nothing behind failed work is executed.
                queuePair.isStalled = true
                queuePair.waitNumber += 1
            }
            if status == .remoteAccessError {
                counters.remoteAccessErrors += 1
                peer.fail()
            }
            guard let transit = acknowledgementTime(from: peer.device, to: queuePair.device) else {
                return waitForTransport(queuePair)
            }
            queuePair.lastAcknowledgement = max(queuePair.lastAcknowledgement, now.nanoseconds + transit)
            insert(.acknowledgement, queuePair.reference, at: queuePair.lastAcknowledgement)
        }
    }

    private func waitForReceive(_ queuePair: SimulatedQueuePair, at peer: SimulatedQueuePair) {
        counters.receiverNotReady += 1
        queuePair.isStalled = true
        queuePair.waitsForReceive = true
        queuePair.waitNumber += 1
        peer.addWaiter(queuePair.reference)
        guard queuePair.receiverNotReadyRetries < 7 else { return }
        let patience = delays.receiverNotReady * (UInt64(queuePair.receiverNotReadyRetries) + 1)
        insert(.timeout, queuePair.reference, afterNanoseconds: patience, value: queuePair.waitNumber)
    }

    /// Receive buffers were posted: those who waited for one try again.
    func wake(_ waiters: inout [QueuePairReference]) {
        for waiter in waiters {
            // One that has lost a message since waits for the transport, and for nothing else.
            guard let queuePair = queuePairs[waiter], queuePair.waitsForReceive else { continue }
            insert(
                .resume, waiter, afterNanoseconds: delays.receiverNotReady, value: queuePair.waitNumber)
        }
        waiters.removeAll(keepingCapacity: true)
    }

    func acknowledged(_ reference: QueuePairReference) {
        guard let queuePair = queuePairs[reference], queuePair.state == .ready,
            let entry = queuePair.sends.removeFirst()
        else { return }
        if entry.request.opcode == .rdmaRead { queuePair.readsRunning -= 1 }
        queuePair.report(entry.request, entry.status)
        if entry.status == .success { launch(queuePair) } else { queuePair.fail() }
    }

    // MARK: Operations

    /// Copies a message into a receive buffer of the peer.
    private func deliver(
        _ request: WorkRequest, _ position: UInt64, from queuePair: SimulatedQueuePair, to peer: SimulatedQueuePair
    ) -> CompletionStatus {
        let isInline = request.flags.contains(.inline)
        let length = request.byteCount
        guard isInline || queuePair.canReach(request, []) else { return .localError }
        if request.opcode == .sendWithInvalidate {
            guard peer.device.regions.invalidate(request.remoteKey) else { return .remoteAccessError }
        }
        guard let receive = peer.takeReceive() else { invariantViolated("a receive buffer was seen") }
        guard length <= receive.segment.length,
            let target = peer.device.regions.local(receive.segment, .localWrite)
        else {
            peer.complete(receive, status: .localError, byteCount: 0)
            peer.fail()
            return .otherError
        }
        if isInline {
            if let payload = queuePair.inlineSlot(position), length > 0 {
                target.copyMemory(from: payload, byteCount: Int(length))
            }
        } else {
            queuePair.gather(request, to: target)
        }
        counters.bytes += UInt64(length)
        peer.complete(
            receive, status: .success, byteCount: length,
            invalidatedKey: request.opcode == .sendWithInvalidate ? request.remoteKey : nil)
        return .success
    }

    private func write(
        _ request: WorkRequest, from queuePair: SimulatedQueuePair, to peer: SimulatedQueuePair
    ) -> CompletionStatus {
        guard queuePair.canReach(request, []) else { return .localError }
        let length = request.byteCount
        if length == 0 { return .success }
        guard
            let target = peer.device.regions.remote(
                request.remoteKey, request.remoteAddress, length, [.remoteWrite, .localWrite])
        else { return .remoteAccessError }
        queuePair.gather(request, to: target)
        counters.bytes += UInt64(length)
        return .success
    }

    private func read(
        _ request: WorkRequest, from peer: SimulatedQueuePair, to queuePair: SimulatedQueuePair
    ) -> CompletionStatus {
        let device = queuePair.device
        let access: MemoryAccess = device.limits.isIWARP ? [.localWrite, .remoteWrite] : .localWrite
        guard queuePair.canReach(request, access), Int(request.segmentCount) <= device.limits.maxScatterGatherPerRead
        else { return .localError }
        let length = request.byteCount
        if length == 0 { return .success }
        guard
            let source = peer.device.regions.remote(
                request.remoteKey, request.remoteAddress, length, .remoteRead)
        else { return .remoteAccessError }
        queuePair.scatter(source, request)
        counters.bytes += UInt64(length)
        return .success
    }
}

extension WorkRequest {
    /// Bytes of the local pieces.
    var byteCount: UInt32 {
        switch segmentCount {
        case 0: 0
        case 1: segments.0.length
        default: segments.0.length + segments.1.length
        }
    }
}

extension SimulatedQueuePair {
    /// Whether the local keys of a request allow `access` to all its pieces.
    func canReach(_ request: WorkRequest, _ access: MemoryAccess) -> Bool {
        if request.segmentCount > 0, request.segments.0.length > 0,
            device.regions.local(request.segments.0, access) == nil
        {
            return false
        }
        return request.segmentCount < 2 || request.segments.1.length == 0
            || device.regions.local(request.segments.1, access) != nil
    }

    /// Copies the local pieces of a checked request to `target`.
    func gather(_ request: WorkRequest, to target: UnsafeMutableRawPointer) {
        var position = target
        for number in 0..<Int(request.segmentCount) {
            let piece = number == 0 ? request.segments.0 : request.segments.1
            guard piece.length > 0, let source = UnsafeRawPointer(bitPattern: UInt(piece.address)) else { continue }
            // Source and target may be the same memory where both ends are in one process.
            position.copyMemory(from: source, byteCount: Int(piece.length))
            position += Int(piece.length)
        }
    }

    /// Copies from `source` to the local pieces of a checked request.
    func scatter(_ source: UnsafeMutableRawPointer, _ request: WorkRequest) {
        var position = UnsafeRawPointer(source)
        for number in 0..<Int(request.segmentCount) {
            let piece = number == 0 ? request.segments.0 : request.segments.1
            guard piece.length > 0, let target = UnsafeMutableRawPointer(bitPattern: UInt(piece.address)) else {
                continue
            }
            target.copyMemory(from: position, byteCount: Int(piece.length))
            position += Int(piece.length)
        }
    }

    // MARK: Receives

    var hasReceive: Bool { options.usesSharedReceiveQueue ? context.hasSharedReceive : receives.count > 0 }

    func takeReceive() -> ReceiveRequest? {
        options.usesSharedReceiveQueue ? context.takeSharedReceive() : receives.removeFirst()
    }

    func addWaiter(_ reference: QueuePairReference) {
        if options.usesSharedReceiveQueue {
            context.sharedWaiters.append(reference)
        } else {
            waiters.append(reference)
        }
    }

    func complete(
        _ receive: ReceiveRequest, status: CompletionStatus, byteCount: UInt32, invalidatedKey: UInt32? = nil
    ) {
        context.push(
            WorkCompletion(
                id: receive.id, queuePair: handle, status: status, kind: .receive, byteCount: byteCount,
                invalidated: invalidatedKey != nil, invalidatedKey: invalidatedKey ?? 0), releases: 0,
            sharedReceive: options.usesSharedReceiveQueue ? receive : nil)
    }

    // MARK: Ends

    /// Counts an entry of the send queue as ended; completes it where that is wanted or it failed.
    func report(_ request: WorkRequest, _ status: CompletionStatus) {
        unreported += 1
        guard request.flags.contains(.signaled) || status != .success else { return }
        context.push(
            WorkCompletion(
                id: request.id, queuePair: handle, status: status, kind: CompletionKind(request.opcode),
                byteCount: request.byteCount), releases: unreported, sharedReceive: nil)
        unreported = 0
    }

    /// Takes the queue pair to the error state: what has not ended completes as flushed, in order.
    ///
    /// - Parameter first: how the oldest work that has not ended failed, where it is the cause.
    func fail(first: CompletionStatus = .flushed) {
        guard state != .error else { return }
        state = .error
        var status = first
        while let entry = sends.removeFirst() {
            if !device.withholdsFlushes { report(entry.request, status) }
            status = .flushed
        }
        readsRunning = 0
        while let receive = receives.removeFirst() { complete(receive, status: .flushed, byteCount: 0) }
    }
}

extension CompletionKind {
    init(_ opcode: WorkOpcode) {
        switch opcode {
        case .send, .sendWithInvalidate: self = .send
        case .rdmaWrite: self = .rdmaWrite
        case .rdmaRead: self = .rdmaRead
        }
    }
}
