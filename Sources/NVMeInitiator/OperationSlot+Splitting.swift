import InitiatorTransport
import NVMeSpec

/// One command's share of an operation.
struct OperationPart: BitwiseCopyable {
    var blocks: BlockCommand
    var data: CommandData
}

/// How an operation is divided into commands.
extension OperationSlot {
    @inline(__always) private var hasData: Bool { memory.data != nil || memory.pieces != nil }

    /// Takes the next part: as many blocks as one command may have. `nil` where the limits do not even allow one block.
    @inline(__always)
    mutating func takePart(_ terms: QueueTerms) -> OperationPart? {
        let hasData = hasData
        let shift = UInt64(blockShift)
        var blocks = min(range.blocksLeft, 65536)
        if hasData {
            blocks = min(blocks, terms.limits.maxBytes >> shift)
        } else {
            let most = kind == .verify ? terms.maxVerifyBytes : terms.maxZeroesBytes
            blocks = min(blocks, min(terms.limits.maxBlocks, most >> shift))
        }
        if boundary > 0, hasData {
            blocks = min(blocks, UInt64(boundary) - range.nextLBA % UInt64(boundary))
        }
        if memory.pieces != nil { blocks = min(blocks, gatherable(blocks << shift, terms.limits.maxPieces) >> shift) }
        guard blocks > 0 else { return nil }
        var part = OperationPart(
            blocks: BlockCommand(
                startingLBA: range.nextLBA, blockCount: UInt32(truncatingIfNeeded: blocks), flags: blockFlags),
            data: CommandData())
        if hasData { part.data = takeMemory(Int(blocks << shift), isWhole: blocks == range.blockCount) }
        range.nextLBA &+= blocks
        range.blocksLeft -= blocks
        return part
    }

    /// The flags of its commands (NVM Command Set, "Write", "Write Zeroes").
    @inline(__always) var blockFlags: BlockCommandFlags {
        var result: BlockCommandFlags = []
        if flags.contains(.forceUnitAccess) { result.insert(.forceUnitAccess) }
        if flags.contains(.mayDeallocate), kind == .writeZeroes { result.insert(.deallocate) }
        return result
    }

    @inline(__always)
    private mutating func takeMemory(_ bytes: Int, isWhole: Bool) -> CommandData {
        guard let pieces = memory.pieces else {
            // Its one piece is there where there is no list.
            var piece = memory.data.unsafelyUnwrapped
            piece.address += memory.offset
            piece.length -= memory.offset
            memory.offset += bytes
            return CommandData(bytes, first: piece, isWhole: isWhole)
        }
        var piece = pieces[Int(memory.piece)]
        piece.address += memory.offset
        piece.length -= memory.offset
        let data = CommandData(bytes, first: piece, further: pieces + Int(memory.piece) + 1, isWhole: isWhole)
        var left = bytes
        while left > 0 {
            let length = min(pieces[Int(memory.piece)].length - memory.offset, left)
            memory.offset += length
            left -= length
            if memory.offset == pieces[Int(memory.piece)].length {
                memory.piece += 1
                memory.offset = 0
            }
        }
        return data
    }

    /// How many of `bytes` one command can describe with so many pieces: whole blocks.
    private func gatherable(_ bytes: UInt64, _ maxPieces: Int) -> UInt64 {
        guard let pieces = memory.pieces else { return bytes }
        var described: UInt64 = 0
        var piece = memory.piece
        var offset = memory.offset
        var count = 0
        while described < bytes, count < maxPieces, piece < memory.pieceCount {
            described += UInt64(pieces[Int(piece)].length - offset)
            offset = 0
            piece += 1
            count += 1
        }
        let blockMask = (UInt64(1) << UInt64(blockShift)) - 1
        return min(described, bytes) & ~blockMask
    }
}
