import Base
import BlockInterface
import CLinux
import Glibc
import NBDProtocol

/// The input of a session: headers and payloads.
extension ClientConnection {
    /// Calls to the system that receive, in one round: others are served too.
    private static let callsPerRound = 4
    /// Payloads that are no longer are received together with their headers, and copied: that costs less than a call of their own.
    private static let shortPayload: UInt64 = 16 << 10

    /// Takes up what has arrived; returns how much that was.
    @inline(__always)
    func receive(_ now: MonotonicTime) -> Int {
        var work = 0
        intake.isStalled = false
        for _ in 0..<Self.callsPerRound {
            if isLeaving, isBetweenRequests { return work }
            if staging.count > 0 || intake.piece.isNone && !intake.request.isNone {
                work += takeUp()
                if stage != .session || intake.isStalled { return work }
            }
            guard socket.isReadable else { return work }
            let count = receiveOnce()
            if count < 0 { return work }
            socket.receivedAt = now
            work += 1
            if !intake.piece.isNone { payloadArrived() }
            if stage != .session || intake.isStalled { return work }
        }
        if staging.count > 0 { work += takeUp() }
        return work
    }

    /// One call: the rest of a payload goes straight to its piece's memory, and what follows it is staged. Returns -1 where
    /// nothing has come.
    private func receiveOnce() -> Int {
        var vectors = (iovec(), iovec())
        var vectorCount: Int32 = 0
        var wanted = 0
        var direct = 0
        if let piece = intake.piece.ifAny, let data = pieces[piece].data {
            direct = Int(pieces[piece].length) - pieces[piece].moved
            vectors.0 = iovec(iov_base: data + pieces[piece].moved, iov_len: direct)
            vectorCount = 1
        }
        staging.makeRoom(for: Staging.capacity / 2)
        let (place, room) = staging.room
        // Behind a long payload there may come another one, whose header is received alone.
        let staged = intake.isBulky ? max(1, min(room, NBDRequest.size(session.form) - staging.count)) : room
        let vector = iovec(iov_base: place, iov_len: staged)
        if vectorCount == 0 { vectors.0 = vector } else { vectors.1 = vector }
        vectorCount += 1
        wanted = direct + staged
        let count = withUnsafePointer(to: &vectors) {
            $0.withMemoryRebound(to: iovec.self, capacity: 2) { readv(descriptor, $0, vectorCount) }
        }
        if count <= 0 {
            ended(count)
            return -1
        }
        // A stream that gives less than was asked for is empty: epoll tells when more comes.
        if count < wanted { socket.isReadable = false }
        let toPiece = min(count, direct)
        if let piece = intake.piece.ifAny { pieces[piece].moved += toPiece }
        staging.received(count - toPiece)
        return count
    }

    private func ended(_ count: Int) {
        if count == 0 {
            let isWithin = !intake.request.isNone || intake.skipLeft > 0 || staging.count > 0
            return isWithin ? end("the client closed the connection in the middle of a request") : drain("closed")
        }
        if errno == EINTR { return }
        if errno == EAGAIN {
            socket.isReadable = false
        } else {
            end("receiving: \(String(cString: strerror(errno)))")
        }
    }

    /// Takes up staged bytes as far as they go.
    private func takeUp() -> Int {
        var taken = 0
        while stage == .session {
            if intake.skipLeft > 0 {
                guard skip() else { return taken }
            } else if let piece = intake.piece.ifAny {
                let count = min(Int(pieces[piece].length) - pieces[piece].moved, staging.count)
                if count == 0 { return taken }
                if let data = pieces[piece].data {
                    (data + pieces[piece].moved).copyMemory(from: staging.first, byteCount: count)
                }
                pieces[piece].moved += count
                staging.take(count)
                payloadArrived()
            } else if let request = intake.request.ifAny {
                guard cutWrite(request) else {
                    intake.isStalled = true
                    return taken
                }
            } else {
                if isLeaving { return taken }
                let size = NBDRequest.size(session.form)
                guard staging.count >= size else { return taken }
                // A block status may need two pieces.
                guard requests.available > 0, pieces.available > 1 else {
                    intake.isStalled = true
                    return taken
                }
                guard let request = NBDRequest(decoding: staging.first, form: session.form) else {
                    end("the client broke the protocol: no request where one is due")
                    return taken
                }
                staging.take(size)
                accept(request)
            }
            taken += 1
        }
        return taken
    }

    /// Has a piece written once its payload is complete; the rest of the request's payload follows.
    private func payloadArrived() {
        guard let piece = intake.piece.ifAny, pieces[piece].moved == Int(pieces[piece].length) else { return }
        intake.piece = .none
        let request = pieces[piece].request
        if requests[request].cut == requests[request].request.length { intake.request = .none }
        pieces[piece].moved = 0
        pieces[piece].phase = .device
        // The rest of a write that has failed is received and dropped.
        if requests[request].error != .none { return over(piece, .none) }
        begin(piece)
    }

    private func skip() -> Bool {
        let count = Int(min(intake.skipLeft, UInt64(staging.count)))
        staging.take(count)
        intake.skipLeft -= UInt64(count)
        guard intake.skipLeft == 0 else { return false }
        let refusal = intake.refusal
        intake.refusal = .none
        answer(refusal)
        return true
    }

    // MARK: Requests

    /// Begins a request whose header has arrived. A request and two pieces are free.
    private func accept(_ request: NBDRequest) {
        let verdict = session.judge(request)
        switch verdict {
        case .disconnect: return drain("the client has disconnected")
        case .breach: return end("the client broke the protocol: a payload of \(request.length) bytes")
        case .refuse, .perform: break
        }
        guard let index = requests.take() else { invariantViolated("a request is free") }
        requests[index] = RequestSlot(request: request)
        if case .refuse(let error) = verdict {
            requests[index].error = error
            return answerBehind(request.payloadLength(session.form), index)
        }
        guard case .perform(let command) = verdict else { return }
        requests[index].command = command
        if request.length == 0, command != .flush { return answerBehind(0, index) }
        switch command {
        case .write:
            intake.request = index
            intake.isBulky = request.length > Self.shortPayload
        case .read, .writeZeroes, .trim, .flush:
            if command != .read { intake.isBulky = false }
            cutting.append(index, in: requests)
            cut()
        case .cache: answerBehind(0, index)
        case .blockStatus: queueBlockStatus(index)
        case .disconnect: invariantViolated("a disconnect is no request")
        }
    }

    /// Answers a request that needs no device, once so much payload has been dropped.
    private func answerBehind(_ payload: UInt64, _ request: RequestIndex) {
        guard let piece = pieces.take() else { invariantViolated("a piece is free") }
        pieces[piece] = PieceSlot(request: request)
        requests[request].cut = requests[request].request.length
        if payload == 0 { return answer(piece) }
        intake.skipLeft = payload
        intake.refusal = piece
    }
}
