import Base
import BlockInterface
import NBDProtocol

/// The device's part of a request.
extension ClientConnection {
    /// Has a piece done, as soon as its range is free.
    @inline(__always)
    func begin(_ piece: PieceIndex) {
        guard lock(piece) else { return blocked.append(piece, in: pieces) }
        if _slowPath(pieces[piece].isPartial) { pieces[piece].phase = firstEdge(pieces[piece]) }
        unsubmitted.append(piece, in: pieces)
    }

    /// Gives the device what is ready for it; returns how much that was.
    @inline(__always)
    func submit(_ channel: BlockChannel) -> Int {
        var submitted = 0
        while !unsubmitted.isEmpty {
            var count = 0
            var next = unsubmitted.first ?? .none
            while !next.isNone, count < CallMemory.capacity {
                (calls.requests + count).initialize(to: deviceRequest(next))
                count += 1
                next = pieces[next].next
            }
            let taken = channel.submit(UnsafeBufferPointer(start: calls.requests, count: count))
            for _ in 0..<taken { _ = unsubmitted.removeFirst(in: pieces) }
            deviceCount += taken
            submitted += taken
            if taken < count { break }
        }
        return submitted
    }

    @inline(__always)
    private func deviceRequest(_ piece: PieceIndex) -> BlockRequest {
        let slot = pieces[piece]
        let tag = UInt64(piece.position)
        let block = blockMask + 1
        switch slot.phase {
        case .readingHead:
            return BlockRequest(
                tag: tag, operation: .read, offset: slot.blockOffset, length: block, buffer: slot.edges)
        case .readingTail:
            return BlockRequest(
                tag: tag, operation: .read, offset: slot.blockOffset + slot.blockLength - block, length: block,
                buffer: slot.edges.map { $0 + Int(block) })
        case .flushing: return BlockRequest(tag: tag, operation: .flush)
        case .receiving, .device, .sending:
            return BlockRequest(
                tag: tag, operation: slot.operation, flags: slot.flags, offset: slot.blockOffset,
                length: slot.blockLength, buffer: slot.buffer)
        }
    }

    /// Takes the ends of device requests; returns how many.
    @inline(__always)
    func collect(_ channel: BlockChannel) -> Int {
        var found = 0
        while true {
            let count = channel.poll(
                into: UnsafeMutableBufferPointer(start: calls.completions, count: CallMemory.capacity))
            deviceCount -= count
            for index in 0..<count {
                let completion = calls.completions[index]
                completed(pieces.index(at: UInt32(truncatingIfNeeded: completion.tag)), completion.status)
            }
            found += count
            if count < CallMemory.capacity { return found }
        }
    }

    private func completed(_ piece: PieceIndex, _ status: BlockStatus) {
        if _slowPath(stage == .dead) { return release(piece) }
        let error = NBDError(status)
        switch pieces[piece].phase {
        case .readingHead, .readingTail:
            if error != .none { return over(piece, error) }
            proceed(piece)
        case .flushing:
            note(error, pieces[piece].request)
            answer(piece)
        case .device:
            if pieces[piece].operation == .read {
                readEnded(piece, error)
            } else {
                over(piece, error)
            }
        case .receiving, .sending: invariantViolated("the device has pieces that it was given")
        }
    }

    // MARK: Parts of blocks

    /// The first block to be read around a change of parts of blocks.
    private func firstEdge(_ slot: PieceSlot) -> PieceSlot.Phase {
        slot.offset > slot.blockOffset ? .readingHead : .readingTail
    }

    /// A block around a change has been read: reads the other one, or completes the data and writes it.
    private func proceed(_ piece: PieceIndex) {
        let slot = pieces[piece]
        let block = Int(blockMask) + 1
        let isOneBlock = slot.blockLength == UInt64(block)
        let before = Int(slot.offset - slot.blockOffset)
        let behind = Int(slot.blockOffset + slot.blockLength - slot.offset - slot.length)
        guard let buffer = slot.buffer, let edges = slot.edges else {
            invariantViolated("a change of a part of a block has memory")
        }
        let tail = isOneBlock && before > 0 ? edges : edges + block
        if slot.phase == .readingHead {
            buffer.copyMemory(from: edges, byteCount: before)
            if behind > 0, !isOneBlock {
                pieces[piece].phase = .readingTail
                return unsubmitted.append(piece, in: pieces)
            }
        }
        if behind > 0 {
            let end = Int(slot.blockLength) - behind
            (buffer + end).copyMemory(from: tail + (block - behind), byteCount: behind)
        }
        pieces[piece].phase = .device
        unsubmitted.append(piece, in: pieces)
    }

    // MARK: Ends

    func note(_ error: NBDError, _ request: RequestIndex) {
        if error != .none, requests[request].error == .none { requests[request].error = error }
    }

    /// A piece that is not read is over: the last one of a request answers it.
    @inline(__always)
    func over(_ piece: PieceIndex, _ error: NBDError) {
        release(piece)
        let index = pieces[piece].request
        note(error, index)
        requests[index].pieces -= 1
        let slot = requests[index]
        guard slot.pieces == 0, slot.cut == slot.request.length else { return pieces.give(piece) }
        if _slowPath(slot.command == .disconnect) {
            requests.give(index)
            return pieces.give(piece)
        }
        // Of writes the device keeps the promise itself.
        let needsFlush = slot.command == .writeZeroes || slot.command == .trim
        if needsFlush, slot.request.flags.contains(.fua), slot.error == .none, pieces[piece].phase != .flushing {
            pieces[piece].phase = .flushing
            pieces[piece].operation = .flush
            return unsubmitted.append(piece, in: pieces)
        }
        answer(piece)
    }

    func readEnded(_ piece: PieceIndex, _ error: NBDError) {
        let index = pieces[piece].request
        note(error, index)
        let slot = requests[index]
        if isOrdered(slot) {
            guard error != .none else { return queueData(piece, isLast: true) }
            release(piece)
            guard !slot.isHeaderSent else { return end("the device failed in the middle of an answer: \(error)") }
            requests[index].cut = slot.request.length
            requests[index].pieces -= 1
            return answer(piece)
        }
        requests[index].pieces -= 1
        if slot.error == .none {
            return queueData(piece, isLast: slot.pieces == 1 && slot.cut == slot.request.length)
        }
        release(piece)
        // The rest of a read that has failed need not be read.
        if slot.cut < slot.request.length {
            requests[index].cut = slot.request.length
            _ = cutting.remove(index, in: requests)
        }
        if requests[index].pieces > 0 { return pieces.give(piece) }
        answer(piece)
    }
}

extension NBDError {
    /// The error that tells a client how a device's request ended ("Error values").
    init(_ status: BlockStatus) {
        self =
            switch status {
            case .success: .none
            case .capacityExceeded: .noSpace
            case .writeProtected: .notPermitted
            case .unsupported: .notSupported
            case .outOfRange: .invalid
            // Of no more use here, while the connection is.
            case .fenced: .shutdown
            case .unrecoveredReadError, .writeFault, .compareFailure, .deviceGone, .unavailable, .aborted,
                .internalError:
                .ioError
            }
    }
}
