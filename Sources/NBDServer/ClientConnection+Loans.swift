import Base
import BlockInterface

/// Loans of a connection: reads whose data goes out of the device's own memory, without a copy.
struct Loans {
    /// The device lends memory with its data.
    var arePossible = false
    /// Loans that have not ended.
    var count = 0
    /// The next look whether one is in the way.
    var lookAt = MonotonicTime(nanoseconds: 0)

    /// How long a client may take for an answer while a change of the same place waits, in milliseconds.
    static let lookMilliseconds: UInt64 = 10
}

/// A device in memory lends the range of a read until the socket has taken the data: nothing changes it meanwhile.
extension ClientConnection {
    /// Has a part of a read go out of the device's memory; `false` where it has to be copied.
    @inline(__always)
    func lend(_ part: inout PieceSlot) -> Bool {
        // It counts as memory of the connection's, so that there is some to copy it to.
        let bytes = Self.rounded(Int(part.blockLength))
        guard loans.arePossible, let channel, mayHold(bytes),
            let lent = channel.borrow(offset: part.blockOffset, length: part.blockLength)
        else { return false }
        part.buffer = lent.start
        part.isLent = true
        part.heldBytes = bytes
        heldBytes += bytes
        loans.count += 1
        return true
    }

    func endLoan(_ piece: PieceIndex) {
        if let lent = pieces[piece].buffer { channel?.giveBack(lent, length: pieces[piece].blockLength) }
        pieces[piece].isLent = false
        pieces[piece].buffer = nil
        heldBytes -= pieces[piece].heldBytes
        pieces[piece].heldBytes = 0
        loans.count -= 1
    }

    /// A client that does not take its answers keeps nobody from changing what it reads: the data is copied, as soon as there is
    /// memory for that.
    func endLoansInTheWay(_ now: MonotonicTime) {
        loans.lookAt = now.advanced(byMilliseconds: Loans.lookMilliseconds)
        for list in [outgoing, held] {
            var next = list.first ?? .none
            while !next.isNone {
                if pieces[next].isLent, isInTheWay(pieces[next]) { replaceLoan(next) }
                next = pieces[next].next
            }
        }
    }

    private func isInTheWay(_ slot: PieceSlot) -> Bool {
        guard let lent = slot.buffer else { return false }
        return channel?.isWanted(lent, length: slot.blockLength) == true
    }

    private func replaceLoan(_ piece: PieceIndex) {
        let length = Int(pieces[piece].blockLength)
        let held = pieces[piece].heldBytes
        guard let lent = pieces[piece].buffer, let buffer = memory.allocate(held) else { return }
        buffer.copyMemory(from: lent, byteCount: length)
        endLoan(piece)
        pieces[piece].buffer = buffer
        pieces[piece].heldBytes = held
        heldBytes += held
    }
}
