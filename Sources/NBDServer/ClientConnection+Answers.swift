import Base
import BlockInterface
import CLinux
import Glibc
import NBDProtocol

/// Answers, from the moment at which they are known until they are sent.
extension ClientConnection {
    private func header(_ piece: PieceIndex) -> UnsafeMutableRawPointer {
        headers + piece.offset * NBDReply.longestHeader
    }

    /// Sends the last answer of a request, which has no data.
    @inline(__always)
    func answer(_ piece: PieceIndex) {
        let slot = requests[pieces[piece].request]
        pieces[piece].headerLength = NBDReply.end(
            slot.request, slot.error, form: session.form, into: header(piece))
        pieces[piece].dataLength = 0
        pieces[piece].endsRequest = true
        queue(piece)
    }

    /// Sends the data of a piece that was read.
    ///
    /// - Parameter isLast: nothing of the request follows. Of a request whose data is in order it is the last chunk in any case.
    @inline(__always)
    func queueData(_ piece: PieceIndex, isLast: Bool) {
        let index = pieces[piece].request
        let slot = requests[index]
        pieces[piece].dataLength = Int(pieces[piece].length)
        if isOrdered(slot) {
            pieces[piece].endsRequest = slot.cut == slot.request.length
            pieces[piece].headerLength = 0
            if !slot.isHeaderSent {
                requests[index].isHeaderSent = true
                pieces[piece].headerLength = NBDReply.data(
                    slot.request, offset: slot.request.offset, length: Int(slot.request.length), isLast: true,
                    form: session.form, into: header(piece))
            }
        } else {
            pieces[piece].endsRequest = isLast
            pieces[piece].headerLength = NBDReply.data(
                slot.request, offset: pieces[piece].offset, length: Int(pieces[piece].length), isLast: isLast,
                form: session.form, into: header(piece))
        }
        queue(piece)
    }

    /// Tells the device's knowledge of the first bytes of the range, for each context that the client has chosen. Two pieces are free.
    func queueBlockStatus(_ index: RequestIndex) {
        guard let export else { return }
        let request = requests[index].request
        let extent = export.device.extent(at: request.offset, length: request.length)
        let both: NBDContexts = [.allocation, .dirty]
        if session.contexts.contains(.allocation) {
            queueExtent(
                index, .allocation, extent.length, state: (extent.isHole ? 1 : 0) | (extent.isZero ? 2 : 0),
                isLast: session.contexts != both)
        }
        if session.contexts.contains(.dirty) {
            queueExtent(index, .dirty, extent.length, state: extent.isChanged ? 1 : 0, isLast: true)
        }
    }

    private func queueExtent(
        _ index: RequestIndex, _ context: NBDContexts, _ length: UInt64, state: UInt32, isLast: Bool
    ) {
        guard let piece = pieces.take() else { invariantViolated("a piece is free") }
        pieces[piece] = PieceSlot(request: index)
        pieces[piece].headerLength = NBDReply.blockStatus(
            requests[index].request, context, length: length, state: state, isLast: isLast, form: session.form,
            into: header(piece))
        pieces[piece].endsRequest = isLast
        queue(piece)
    }

    /// Puts a piece behind what is to be sent; nothing comes between the pieces of data that has one header.
    @inline(__always)
    private func queue(_ piece: PieceIndex) {
        pieces[piece].phase = .sending
        pieces[piece].moved = 0
        let index = pieces[piece].request
        if _slowPath(!streaming.isNone && streaming != index) { return held.append(piece, in: pieces) }
        if !pieces[piece].endsRequest, isOrdered(requests[index]) { streaming = index }
        outgoing.append(piece, in: pieces)
    }

    private func endStreaming() {
        streaming = .none
        var waiting = held
        held = SlotList()
        while let piece = waiting.removeFirst(in: pieces) { queue(piece) }
    }

    // MARK: Sending

    /// Sends as much as the socket takes; returns how many calls were made.
    @inline(__always)
    func send(_ now: MonotonicTime) -> Int {
        if _slowPath(!greeting.isEmpty) {
            guard sendGreeting(now) else { return 1 }
        }
        var calls = 0
        while !outgoing.isEmpty, socket.isWritable {
            let (count, wanted) = gather()
            let sent = writev(descriptor, self.calls.vectors, count)
            calls += 1
            guard sent >= 0 else {
                if errno == EINTR { continue }
                if errno == EAGAIN { stopSending(now) } else { end("sending: \(String(cString: strerror(errno)))") }
                return calls
            }
            if sent > 0 { socket.sentAt = now }
            advance(sent)
            // A stream that takes less than was offered is full: epoll tells when there is room.
            if sent < wanted { stopSending(now) }
        }
        return calls
    }

    private func stopSending(_ now: MonotonicTime) {
        socket.isWritable = false
        socket.sentAt = now
    }

    /// Bytes of the handshake that are left. Returns whether all are sent.
    func sendGreeting(_ now: MonotonicTime) -> Bool {
        let sent = greeting.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if sent > 0 {
            socket.sentAt = now
            greeting.removeFirst(sent)
        } else if sent < 0, errno != EAGAIN, errno != EINTR {
            end("sending: \(String(cString: strerror(errno)))")
            return false
        }
        if !greeting.isEmpty { socket.isWritable = false }
        return greeting.isEmpty
    }

    /// Lists memory for one call; returns how many places, and how many bytes.
    @inline(__always)
    private func gather() -> (Int32, Int) {
        var count = 0
        var bytes = 0
        var next = outgoing.first ?? .none
        while !next.isNone, count + 2 <= 2 * CallMemory.capacity {
            let slot = pieces[next]
            let headerLeft = max(0, slot.headerLength - slot.moved)
            if headerLeft > 0 {
                calls.vectors[count] = iovec(
                    iov_base: header(next) + (slot.headerLength - headerLeft), iov_len: headerLeft)
                count += 1
            }
            let dataDone = max(0, slot.moved - slot.headerLength)
            if slot.dataLength > dataDone, let data = slot.data {
                calls.vectors[count] = iovec(iov_base: data + dataDone, iov_len: slot.dataLength - dataDone)
                count += 1
            }
            bytes += slot.headerLength + slot.dataLength - slot.moved
            next = slot.next
        }
        return (Int32(count), bytes)
    }

    /// So many bytes have been sent: pieces that are sent are over.
    @inline(__always)
    private func advance(_ sent: Int) {
        var left = sent
        while let piece = outgoing.first {
            let rest = pieces[piece].headerLength + pieces[piece].dataLength - pieces[piece].moved
            guard left >= rest else {
                pieces[piece].moved += left
                return
            }
            left -= rest
            _ = outgoing.removeFirst(in: pieces)
            pieceSent(piece)
        }
    }

    @inline(__always)
    private func pieceSent(_ piece: PieceIndex) {
        let slot = pieces[piece]
        if !slot.endsRequest, isOrdered(requests[slot.request]) { return continueReading(piece) }
        release(piece)
        pieces.give(piece)
        guard slot.endsRequest else { return }
        requests.give(slot.request)
        if _slowPath(streaming == slot.request) { endStreaming() }
    }
}
