import Base
import FabricInterface
import NVMeSpec

/// From operations to command capsules.
extension DeviceGroup {
    /// Issues commands of the operations that wait, as far as the submission queue takes them.
    func issue(_ slot: UInt32) {
        let queuePair = queuePairs + Int(slot)
        let table = queuePair.pointee.table!
        guard table.pointee.isLive, queuePair.pointee.state == .live, !queuePair.pointee.hasFailed else { return }
        while !table.pointee.pending.isEmpty {
            let index = table.pointee.pending.head
            let operation = table.pointee.slots + Int(index)
            if !operation.pointee.hasFailed {
                let isFused = operation.pointee.kind == .compareAndWrite && !operation.pointee.isCommand
                guard queuePair.pointee.freeCount >= (isFused ? 2 : 1) else { return }
                issueNext(index, slot, isFused: isFused)
            }
            if operation.pointee.isIssued || operation.pointee.hasFailed {
                table.pointee.pending.removeFirst(table.pointee.slots)
                operation.pointee.state.move(to: .issued)
                if operation.pointee.commands == 0 { table.pointee.conclude(index, now: now) }
            }
        }
    }

    /// Issues an operation of one command past all that wait: Connect, before the queue is live.
    func issueAtOnce(_ index: UInt32, _ slot: UInt32) {
        let queuePair = queuePairs + Int(slot)
        issueNext(index, slot, isFused: false)
        queuePair.pointee.table.pointee.slots[Int(index)].state.move(to: .issued)
    }

    /// Issues the next command of an operation.
    @inline(__always)
    private func issueNext(_ index: UInt32, _ slot: UInt32, isFused: Bool) {
        let queuePair = queuePairs + Int(slot)
        let table = queuePair.pointee.table!
        let operation = table.pointee.slots + Int(index)
        if operation.pointee.isCommand || operation.pointee.kind == .flush || operation.pointee.kind == .deallocate {
            issueWhole(index, slot, operation.pointee.template, operation.pointee.data)
            operation.pointee.blocksLeft = 0
        } else if isFused {
            var entry = operation.pointee.template
            setRange(&entry, operation.pointee.startingLBA, operation.pointee.blockCount)
            entry.opcode = NVMOpcode.compare.rawValue
            entry.flags = SubmissionEntry.sglFlags | FusedOperation.first.rawValue
            issueWhole(index, slot, entry, operation.pointee.data)
            entry.opcode = NVMOpcode.write.rawValue
            entry.flags = SubmissionEntry.sglFlags | FusedOperation.second.rawValue
            entry.cdw12 |= operation.pointee.template.cdw12
            issueWhole(index, slot, entry, operation.pointee.second)
            operation.pointee.blocksLeft = 0
        } else {
            issuePart(index, slot)
        }
    }

    @inline(__always)
    private func setRange(_ entry: inout SubmissionEntry, _ startingLBA: UInt64, _ blocks: UInt64) {
        entry.startingLBA = startingLBA
        entry.cdw12 = entry.cdw12 & 0xFFFF_0000 | UInt32(truncatingIfNeeded: blocks &- 1) & 0xFFFF
    }

    /// A command whose data is one piece of memory, or none.
    @inline(__always)
    private func issueWhole(_ index: UInt32, _ slot: UInt32, _ entry: SubmissionEntry, _ data: IOSegment?) {
        var entry = entry
        let queuePair = queuePairs + Int(slot)
        let (request, capsule) = takeRequest(index, queuePair, &entry)
        var second: ScatterGatherElement?
        if let data, data.length > 0 {
            second = describe(data, data.length, isWhole: true, request, queuePair, &entry)
        } else {
            entry.dataPointer = SGLDescriptor.none.bytes
        }
        entry.store(to: capsule)
        send(request, slot, capsule, length: SubmissionEntry.byteCount, second)
    }

    /// The next part of a Read, Write, Compare, Write Zeroes or Verify: as many blocks as one command may have.
    @inline(__always)
    private func issuePart(_ index: UInt32, _ slot: UInt32) {
        let queuePair = queuePairs + Int(slot)
        let table = queuePair.pointee.table!
        let operation = table.pointee.slots + Int(index)
        let shift = UInt64(operation.pointee.blockShift)
        let hasData = operation.pointee.data != nil || operation.pointee.segments != nil
        var blocks = min(operation.pointee.blocksLeft, 65536)
        if hasData {
            blocks = min(blocks, table.pointee.limits.maxBytes >> shift)
        } else {
            let isVerify = operation.pointee.kind == .verify
            let most = isVerify ? table.pointee.limits.maxVerifyBytes : table.pointee.limits.maxZeroesBytes
            blocks = min(blocks, table.pointee.limits.maxBlocks, most >> shift)
        }
        if operation.pointee.boundary > 0, hasData {
            let boundary = UInt64(operation.pointee.boundary)
            blocks = min(blocks, boundary - operation.pointee.nextLBA % boundary)
        }
        if hasData { blocks = min(blocks, gatherable(operation, blocks << shift, table) >> shift) }
        guard blocks > 0 else {
            // The controller that we reconnected to takes less than the one that the operation was checked against.
            operation.pointee.status = .dataSGLLengthInvalid
            operation.pointee.hasFailed = true
            return
        }
        var entry = operation.pointee.template
        setRange(&entry, operation.pointee.nextLBA, blocks)
        let (request, capsule) = takeRequest(index, queuePair, &entry)
        var length = SubmissionEntry.byteCount
        var second: ScatterGatherElement?
        if hasData {
            let isWhole = blocks == operation.pointee.blockCount
            let bytes = Int(blocks << shift)
            var piece = current(operation)
            if piece.length >= bytes {
                piece.length = bytes
                second = describe(piece, bytes, isWhole: isWhole, request, queuePair, &entry)
                advance(operation, bytes)
            } else {
                let count = gather(operation, bytes, capsule + SubmissionEntry.byteCount)
                length += count * SGLDescriptor.byteCount
                entry.dataPointer =
                    SGLDescriptor.lastSegmentInCapsule(
                        offset: 0, length: UInt32(count * SGLDescriptor.byteCount)
                    ).bytes
            }
        } else {
            entry.dataPointer = SGLDescriptor.none.bytes
        }
        entry.store(to: capsule)
        operation.pointee.nextLBA &+= blocks
        operation.pointee.blocksLeft -= blocks
        send(request, slot, capsule, length: length, second)
    }

    /// Takes a free request for a command of the operation and gives the command its identifier.
    @inline(__always)
    private func takeRequest(
        _ index: UInt32, _ queuePair: UnsafeMutablePointer<QueuePairSlot>, _ entry: inout SubmissionEntry
    ) -> (request: UInt32, capsule: UnsafeMutableRawPointer) {
        invariant(queuePair.pointee.freeCount > 0, "a command is issued into a free entry")
        queuePair.pointee.freeCount -= 1
        let position = queuePair.pointee.freeRequests[Int(queuePair.pointee.freeCount)]
        let request = queuePair.pointee.requests + Int(position)
        request.pointee.state.move(to: .posted)
        request.pointee.generation &+= 1
        request.pointee.operation = index
        request.pointee.invalidates = false
        let operation = queuePair.pointee.table.pointee.slots + Int(index)
        operation.pointee.commands += 1
        operation.pointee.mayHaveEffect = true
        entry.commandID = CommandIdentifier.make(index: position, generation: request.pointee.generation)
        return (position, queuePair.pointee.capsules + Int(position) * DeviceGroup.capsuleStride)
    }

    /// Points a command to one piece of memory: in the capsule where it fits, by key where not. Returns what travels
    /// behind the command.
    @inline(__always)
    private func describe(
        _ piece: IOSegment, _ bytes: Int, isWhole: Bool, _ position: UInt32,
        _ queuePair: UnsafeMutablePointer<QueuePairSlot>, _ entry: inout SubmissionEntry
    ) -> ScatterGatherElement? {
        if entry.sendsData, bytes <= queuePair.pointee.table.pointee.limits.inCapsuleBytes {
            entry.dataPointer = SGLDescriptor.inCapsule(offset: 0, length: UInt32(truncatingIfNeeded: bytes)).bytes
            return ScatterGatherElement(piece.address, length: bytes, localKey: piece.localKey)
        }
        let invalidates = piece.invalidatesKey && isWhole
        if invalidates {
            queuePair.pointee.requests[Int(position)].invalidates = true
            queuePair.pointee.requests[Int(position)].key = piece.remoteKey
        }
        entry.dataPointer =
            SGLDescriptor.keyed(
                address: UInt64(UInt(bitPattern: piece.address)), length: UInt32(truncatingIfNeeded: bytes),
                key: piece.remoteKey, invalidate: invalidates
            ).bytes
        return nil
    }

    @inline(__always)
    private func send(
        _ request: UInt32, _ slot: UInt32, _ capsule: UnsafeMutableRawPointer, length: Int,
        _ second: ScatterGatherElement?
    ) {
        let queuePair = queuePairs + Int(slot)
        queuePair.pointee.sends += 1
        var flags: WorkFlags = .signaled
        if second == nil, length <= queuePair.pointee.inlineBytes { flags.insert(.inline) }
        post(
            WorkRequest(
                id: WorkKind.send.id(slot, request), queuePair: queuePair.pointee.handle, opcode: .send, flags: flags,
                segment: ScatterGatherElement(capsule, length: length, localKey: queuePair.pointee.capsuleKey),
                second: second))
    }

    // MARK: Scattered memory

    /// The piece of memory where the next command's data begins, without what has been issued of it.
    @inline(__always)
    private func current(_ operation: UnsafeMutablePointer<OperationSlot>) -> IOSegment {
        var piece =
            operation.pointee.segments.map { $0[Int(operation.pointee.segment)] }
            ?? operation.pointee.data.unsafelyUnwrapped
        piece.address += operation.pointee.segmentOffset
        piece.length -= operation.pointee.segmentOffset
        return piece
    }

    @inline(__always)
    private func advance(_ operation: UnsafeMutablePointer<OperationSlot>, _ bytes: Int) {
        let length = operation.pointee.segments.map { $0[Int(operation.pointee.segment)].length }
        operation.pointee.segmentOffset += bytes
        if let length, operation.pointee.segmentOffset == length {
            operation.pointee.segment += 1
            operation.pointee.segmentOffset = 0
        }
    }

    /// How many of `bytes` one command can describe: whole blocks.
    private func gatherable(
        _ operation: UnsafeMutablePointer<OperationSlot>, _ bytes: UInt64,
        _ table: UnsafeMutablePointer<OperationTable>
    ) -> UInt64 {
        guard let segments = operation.pointee.segments else { return bytes }
        var described: UInt64 = 0
        var position = operation.pointee.segment
        var offset = operation.pointee.segmentOffset
        var descriptors = 0
        while described < bytes, descriptors < table.pointee.limits.maxDescriptors,
            position < operation.pointee.segmentCount
        {
            described += UInt64(segments[Int(position)].length - offset)
            offset = 0
            position += 1
            descriptors += 1
        }
        let blockMask = (UInt64(1) << UInt64(operation.pointee.blockShift)) - 1
        return min(described, bytes) & ~blockMask
    }

    /// Writes the descriptors of the next `bytes` to `list`; returns how many.
    private func gather(
        _ operation: UnsafeMutablePointer<OperationSlot>, _ bytes: Int, _ list: UnsafeMutableRawPointer
    ) -> Int {
        var left = bytes
        var count = 0
        while left > 0 {
            let piece = current(operation)
            let length = min(piece.length, left)
            SGLDescriptor.keyed(
                address: UInt64(UInt(bitPattern: piece.address)), length: UInt32(truncatingIfNeeded: length),
                key: piece.remoteKey, invalidate: false
            ).store(to: list + count * SGLDescriptor.byteCount)
            advance(operation, length)
            left -= length
            count += 1
        }
        return count
    }
}
