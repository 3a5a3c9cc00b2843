import Base
import BlockInterface
import NBDProtocol

/// Requests are cut into pieces, as memory is there for them.
extension ClientConnection {
    /// Makes pieces of reads and ranges, one of each in turn.
    func cut() {
        while let index = cutting.first {
            guard pieces.available > 0, cutOne(index) else { return }
            _ = cutting.removeFirst(in: requests)
            let slot = requests[index]
            if slot.cut < slot.request.length, !isOrdered(slot) { cutting.append(index, in: requests) }
        }
    }

    /// The data of a read goes out in order behind one header.
    @inline(__always)
    func isOrdered(_ slot: RequestSlot) -> Bool {
        slot.command == .read && (session.form == .simple || slot.request.flags.contains(.df))
    }

    private func cutOne(_ index: RequestIndex) -> Bool {
        switch requests[index].command {
        case .read: cutRead(index)
        case .writeZeroes: cutZeroes(index)
        case .trim: cutTrim(index)
        default: cutFlush(index)
        }
    }

    /// The next part of a request's range: no longer than a piece, and within one.
    @inline(__always)
    private func nextPart(_ index: RequestIndex) -> PieceSlot {
        let slot = requests[index]
        let offset = slot.request.offset + slot.cut
        let piece = UInt64(Self.pieceBytes)
        let length = min(slot.request.length - slot.cut, piece - offset % piece)
        return part(index, offset, length)
    }

    @inline(__always)
    private func part(_ index: RequestIndex, _ offset: UInt64, _ length: UInt64) -> PieceSlot {
        var part = PieceSlot(request: index)
        part.offset = offset
        part.length = length
        part.blockOffset = offset & ~blockMask
        part.blockLength = (offset + length + blockMask) & ~blockMask - part.blockOffset
        return part
    }

    /// Takes a slot for a part.
    @inline(__always)
    private func add(_ part: PieceSlot) -> PieceIndex {
        guard let piece = pieces.take() else { invariantViolated("a piece is free") }
        pieces[piece] = part
        requests[part.request].cut += part.length
        requests[part.request].pieces += 1
        return piece
    }

    private func cutRead(_ index: RequestIndex) -> Bool {
        var part = nextPart(index)
        part.operation = .read
        // The memory of a read in order is used again and again.
        let isAlone = part.length == requests[index].request.length || !isOrdered(requests[index])
        if isAlone, lend(&part) {
            readEnded(add(part), .none)
            return true
        }
        let bytes = isAlone ? Int(part.blockLength) : Self.pieceBytes
        guard let (buffer, held) = allocate(bytes) else { return false }
        part.buffer = buffer
        part.heldBytes = held
        begin(add(part))
        return true
    }

    /// The data of a piece has been sent, and more is to be read behind the same header.
    func continueReading(_ piece: PieceIndex) {
        let index = pieces[piece].request
        var part = nextPart(index)
        part.operation = .read
        part.buffer = pieces[piece].buffer
        part.heldBytes = pieces[piece].heldBytes
        pieces[piece] = part
        requests[index].cut += part.length
        begin(piece)
    }

    /// Makes the piece that the next payload of a write is received into; `false` where there is no memory for it.
    func cutWrite(_ index: RequestIndex) -> Bool {
        guard pieces.available > 0 else { return false }
        var part = nextPart(index)
        part.operation = .write
        part.phase = .receiving
        if requests[index].request.flags.contains(.fua) { part.flags = .forceUnitAccess }
        guard addMemory(&part) else { return false }
        intake.piece = add(part)
        return true
    }

    /// Memory for data that is to be written, and for what lies around it in its blocks.
    @inline(__always)
    private func addMemory(_ part: inout PieceSlot) -> Bool {
        part.isPartial = (part.offset | part.length) & blockMask != 0
        guard let (buffer, held) = allocate(Int(part.blockLength)) else { return false }
        part.buffer = buffer
        part.heldBytes = held
        guard part.isPartial else { return true }
        // These few bytes need no share: with them at the most as much again is held.
        guard let edges = memory.allocate(2 * Int(blockMask + 1)) else {
            memory.free(buffer)
            heldBytes -= held
            return false
        }
        part.edges = edges
        return true
    }

    private func cutZeroes(_ index: RequestIndex) -> Bool {
        let request = requests[index].request
        let offset = request.offset + requests[index].cut
        let left = request.length - requests[index].cut
        let block = blockMask + 1
        guard offset & blockMask == 0, left >= block else {
            // A part of one block.
            var part = part(index, offset, min(left, block - offset & blockMask))
            part.operation = .write
            guard addMemory(&part) else { return false }
            part.data?.initializeMemory(as: UInt8.self, repeating: 0, count: Int(part.length))
            begin(add(part))
            return true
        }
        var part = part(index, offset, left & ~blockMask)
        part.operation = .writeZeroes
        if !request.flags.contains(.noHole) { part.flags = .mayDeallocate }
        begin(add(part))
        return true
    }

    /// A trim is rounded inwards: qemu sends ones smaller than a block.
    private func cutTrim(_ index: RequestIndex) -> Bool {
        let request = requests[index].request
        var part = part(index, request.offset, request.length)
        let first = (request.offset + blockMask) & ~blockMask
        let end = (request.offset + request.length) & ~blockMask
        part.operation = .deallocate
        part.blockOffset = first
        part.blockLength = end > first ? end - first : 0
        let piece = add(part)
        if part.blockLength == 0 || export?.device.geometry.canDeallocate != true {
            over(piece, .none)
        } else {
            begin(piece)
        }
        return true
    }

    private func cutFlush(_ index: RequestIndex) -> Bool {
        var part = PieceSlot(request: index)
        part.operation = .flush
        let piece = add(part)
        requests[index].cut = requests[index].request.length
        unsubmitted.append(piece, in: pieces)
        return true
    }
}
